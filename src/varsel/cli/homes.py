"""The home of a command that does not need all settings."""

import os
from pathlib import Path

from varsel.embedded.place import default_home


def home_of_client(given: Path | None) -> Path:
    """The given one, else that of the settings, else the usual one."""
    if given:
        return given.absolute()
    if "VARSEL_CONFIG" in os.environ:
        from varsel.cli.startup import home_of, load_settings  # noqa: PLC0415 - takes a quarter of a second

        return home_of(load_settings())
    named = os.environ.get("VARSEL_HOME")
    return (Path(named) if named else default_home()).absolute()
