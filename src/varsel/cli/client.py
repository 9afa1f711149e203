"""How client commands speak to an API: over HTTP, with a token (design 4), through the Python client.

Settings and the local issuer are loaded only when neither options nor variables say where and who: they take their
time.
"""

import functools
import logging
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import click

from varsel.cli.refused import Refused
from varsel.client import Forbidden, Unauthorised, Unavailable, Unexpected, Varsel, VarselError
from varsel.client import Refused as No

_DEFAULT_URL: Final = "http://localhost:5090"

_LIFETIME: Final = timedelta(hours=1)
_PATIENCE: Final = timedelta(seconds=5)
_WAYS: Final = """\
  in a sandbox: --org NAME, or VARSEL_ORG, orders as that creator with a token of the local issuer
  elsewhere: --token, or VARSEL_TOKEN, with a token of the service's issuer (Maskinporten, say)"""


@dataclass(frozen=True, slots=True)
class Where:
    """What was said of the service, and of who we are there."""

    url: str | None
    token: str | None
    org: str | None
    home: Path | None


def client_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--url`, `--token`, `--org` and `--home`, handed on as `where`."""

    @functools.wraps(function)
    def command(*args: Any, url: str | None, token: str | None, org: str | None, home: Path | None, **more: Any) -> Any:
        return function(*args, where=Where(url, token, org, home), **more)

    options = (
        click.option("--url", envvar="VARSEL_URL", help="Of the service.  [default: the running `varsel up`]"),
        click.option("--token", envvar="VARSEL_TOKEN", help="A bearer token.  [default: one of the local issuer]"),
        click.option("--org", envvar="VARSEL_ORG", help="The creator that a token of the local issuer is for."),
        click.option("--home", type=click.Path(file_okay=False, path_type=Path), help="Of the local issuer."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@contextmanager
def service(where: Where, scopes: Collection[str] = (), *, within: timedelta = _PATIENCE) -> Iterator[Varsel]:
    """The service; what it refuses, or does not answer, ends the command with what to do.

    `scopes`: of a token that the local issuer makes; none: those of a creator.
    """
    token = where.token or _local_token(where, scopes)
    try:
        client = Varsel(_own_url(where), token, within=within)
    except ValueError as e:
        raise Refused(f"--url: {e}") from None
    with client, _telling_repeats(), saying_who_must_act():
        yield client


@contextmanager
def saying_who_must_act() -> Iterator[None]:
    try:
        yield
    except Unauthorised as e:
        raise Refused(f"{e}: it may have ended. Get another one:\n{_WAYS}") from None
    except Forbidden as e:
        raise Refused(f"{e}: it lacks a scope, or names no creator. Another one:\n{_WAYS}") from None
    except No as e:
        raise Refused(str(e)) from None
    except Unexpected as e:
        raise Refused(f"{e}\n  Is --url, or VARSEL_URL, right?") from None
    except Unavailable as e:
        raise click.ClickException(f"{e}\n  {_what_to_do(e)}") from None
    except VarselError as e:
        raise click.ClickException(str(e)) from None


def _what_to_do(error: Unavailable) -> str:
    if error.idempotency_id and error.outcome_unknown:
        return (
            f"Nobody knows whether the order stands. Give it again with --idempotency-id {error.idempotency_id}: "
            f"it is stored once"
        )
    return "Nothing was stored: try again. Is the service running (`varsel up`), and is --url right?"


class _Teller(logging.Handler):
    """Says on standard error that a command still tries."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(record.getMessage(), err=True)


@contextmanager
def _telling_repeats() -> Iterator[None]:
    teller, logger = _Teller(), logging.getLogger("varsel.client")
    logger.addHandler(teller)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(teller)


def _own_url(where: Where) -> str:
    """Settings stand in variables, or in the file that VARSEL_CONFIG names: without it none need be loaded."""
    if where.url:
        return where.url
    if "VARSEL_CONFIG" in os.environ:
        from varsel.cli.startup import load_settings, own_address  # noqa: PLC0415 - see above

        return own_address(load_settings({"VARSEL_HOME": where.home}))
    if named := os.environ.get("VARSEL_SERVER__BASE_URL"):
        return named
    from varsel.cli.homes import home_of_client  # noqa: PLC0415 - see above
    from varsel.embedded.place import running_address  # noqa: PLC0415

    return running_address(home_of_client(where.home)) or _DEFAULT_URL


def _local_token(where: Where, scopes: Collection[str]) -> str:
    from varsel.cli.homes import home_of_client  # noqa: PLC0415 - see above
    from varsel.issuer import CREATOR_SCOPES, DevelopmentIssuer  # noqa: PLC0415

    home = home_of_client(where.home)
    if not DevelopmentIssuer.exists(home):
        raise Refused(f"no token, and no local issuer in {home}. One gets a token\n{_WAYS}")
    if not where.org and not scopes:
        raise Refused(f"no token: say who you are\n{_WAYS}")
    return DevelopmentIssuer(home).mint(where.org, scopes or CREATOR_SCOPES, _LIFETIME)


def address(where: Where, scopes: Collection[str] = ()) -> tuple[str, str]:
    """Of the service, and a token for it; `scopes` as for `service`. For what the Python client does not do."""
    return _own_url(where), where.token or _local_token(where, scopes)
