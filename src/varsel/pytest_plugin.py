"""The pytest plug-in `varsel`: fixtures that give a test a running sandbox (docs/testing.md).

It is loaded in every test run where Varsel is installed, so it imports nothing until a fixture is wanted.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from varsel.client import Varsel
    from varsel.testing.sandbox import Sandbox


@pytest.fixture(scope="session")
def varsel_sandbox_settings() -> Mapping[str, str]:
    """Settings of the sandbox, `VARSEL_…`. Override it in your conftest.py."""
    return {}


@pytest.fixture(scope="session")
def varsel_sandbox(varsel_sandbox_settings: Mapping[str, str]) -> "Iterator[Sandbox]":
    """A running sandbox, the same for all tests of a process; stopped and removed at the end."""
    from varsel.testing.sandbox import running_sandbox  # noqa: PLC0415 - see above

    with running_sandbox(varsel_sandbox_settings) as sandbox:
        yield sandbox


@pytest.fixture
def varsel_client(varsel_sandbox: "Sandbox") -> "Varsel":
    """The Python client as creator `ttd`, on a sandbox without messages of the tests before."""
    varsel_sandbox.clear()
    return varsel_sandbox.client()
