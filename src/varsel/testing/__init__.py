"""A sandbox for integrators' own tests (docs/testing.md): start it, order, read what was sent, move the clock."""

from varsel.testing import magic
from varsel.testing.sandbox import Captured, NoMessage, Sandbox, SandboxError, running_sandbox

__all__ = ["Captured", "NoMessage", "Sandbox", "SandboxError", "magic", "running_sandbox"]
