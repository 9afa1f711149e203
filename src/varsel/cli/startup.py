"""What every command does first: read the settings, refuse the unsafe ones, find the database, take the port."""

import errno
import gc
import ipaddress
import os
import secrets
import socket
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import MappingProxyType
from typing import Final

import click
import pydantic

from varsel import settings
from varsel.cli.refused import Refused as Refused  # noqa: PLC0414 - commands that load settings find it here
from varsel.domain.errors import Unavailable
from varsel.embedded.place import default_home, make_folder, running_address, running_dsn
from varsel.settings import Settings

SUPPRESSION_KEY: Final = "suppression.key"
"""The file of a home that holds the key of the suppression list, where the settings have none."""


def load_settings(given: Mapping[str, object] = MappingProxyType({})) -> Settings:
    """The settings, after what the command line gave: names of variables, with None for what it did not.

    Wrong settings are named; their values, which may be secrets, are not shown.
    """
    try:
        return settings.load(environment(given))
    except pydantic.ValidationError as e:
        wrong = "\n".join(f"  {_variable(error['loc'])}: {error['msg']}" for error in e.errors(include_input=False))
        raise Refused(f"wrong settings:\n{wrong}") from None
    except (OSError, tomllib.TOMLDecodeError) as e:
        raise Refused(f"the file that VARSEL_CONFIG names cannot be read: {e}") from None


def environment(given: Mapping[str, object]) -> dict[str, str]:
    """Our environment with these variables in it."""
    return {**os.environ, **{name: str(value) for name, value in given.items() if value is not None}}


def _variable(location: tuple[int | str, ...]) -> str:
    if not location:
        return "VARSEL_ENVIRONMENT"  # the only setting that judges the others
    section, *rest = (str(part) for part in location)
    return "__".join([f"VARSEL_{section.upper()}", *([".".join(rest).upper()] if rest else [])])


def home_of(chosen: Settings) -> Path:
    return (chosen.home or default_home()).absolute()


def with_database(chosen: Settings) -> Settings:
    """The settings with the address of a database in them: the given one, or the running embedded one of the home."""
    if chosen.database_url:
        return chosen
    dsn = running_dsn(home_of(chosen))
    if not dsn:
        raise Refused(
            f"no database: no `varsel up` is running with the home {home_of(chosen)}. "
            f"Start one, name its --home, or set VARSEL_DATABASE_URL"
        )
    return chosen.model_copy(update={"database_url": pydantic.SecretStr(dsn)})


def own_address(chosen: Settings) -> str:
    """Where people reach the service: as the settings say, else where the `varsel up` of the home answers."""
    known = "base_url" in chosen.server.model_fields_set
    return chosen.server.base_url if known else running_address(home_of(chosen)) or chosen.server.base_url


def with_suppression_key(chosen: Settings) -> Settings:
    """The settings with a key of the suppression list in them: the given one, or the home's, made when there is none.

    In production every process needs the same one, which nobody but the operator can see to.
    """
    if chosen.suppression.key:
        return chosen
    if chosen.environment == "production":
        raise Refused("production needs suppression.key: a long random text, the same for all processes, for ever")
    key = pydantic.SecretStr(_kept_key(home_of(chosen) / SUPPRESSION_KEY))
    return chosen.model_copy(update={"suppression": chosen.suppression.model_copy(update={"key": key})})


def _kept_key(file: Path) -> str:
    """Made by whichever process comes first, for its owner alone, and never replaced: it stands in the database."""
    if not file.exists():
        make_folder(file.parent)
        with NamedTemporaryFile("w", dir=file.parent) as draft:  # of mode 0600
            draft.write(secrets.token_urlsafe(32))
            draft.flush()
            with suppress(FileExistsError):
                os.link(draft.name, file)
    return file.read_text()


def database_url(chosen: Settings) -> str:
    assert chosen.database_url, "with_database() comes first"
    return chosen.database_url.get_secret_value()


@contextmanager
def saying_what_is_missing() -> Iterator[None]:
    """One line for a person when the other side is missing; whoever supervises us starts us again."""
    try:
        yield
    except Unavailable as e:
        raise click.ClickException(str(e)) from e


def spare_collector() -> None:
    """For a process that serves: what is loaded by now stays, so the garbage collector passes it over.

    It also comes more seldom: a batch of rows is a thousand objects that are gone before it would find anything. That
    took a fifth of the CPU time of resolving, and an eighth of sending.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def refuse_unsafe(chosen: Settings, *, expose: bool) -> None:
    """Outside production we stay on this machine unless --expose says otherwise."""
    if chosen.environment != "production" and not expose and not is_loopback(chosen.server.host):
        raise Refused(
            f"{chosen.server.host} can be reached from other machines. Only VARSEL_ENVIRONMENT=production listens "
            f"there; add --expose if you mean it"
        )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int, *, patience: float = 0.0) -> socket.socket:
    """A listening socket; port 0 takes a free one. Says so when the port is still taken after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            return socket.create_server(address[:2], family=family, backlog=2048)
        except OSError as e:
            if e.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                taken = f"cannot listen on {host} port {port} ({e.strerror}): choose another with --port"
                raise Refused(taken) from None
            time.sleep(0.05)


def free_port(host: str) -> int:
    """A port that nobody listens on at this moment."""
    with listen(host, 0) as sock:
        found: int = sock.getsockname()[1]
        return found
