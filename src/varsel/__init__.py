"""Varsel: from a notification order to the fate of every message. Start reading at docs/flow.md."""

__version__ = "0.1.0"
