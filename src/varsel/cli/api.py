"""`varsel api`: one API process. SIGTERM lets the requests that are under way finish."""

import asyncio
import contextlib
import socket
from pathlib import Path

import click
import uvloop

from varsel import log
from varsel.cli.serve import serve_api
from varsel.cli.startup import (
    listen,
    load_settings,
    refuse_unsafe,
    saying_what_is_missing,
    spare_collector,
    with_database,
    with_suppression_key,
)


@click.command()
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="The home of the running `varsel up`.")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one.  [default: 5090]")
@click.option("--expose", is_flag=True, help="Listen on an address that other machines reach, outside production.")
@click.option("--fd", type=int, hidden=True, help="A listening socket that we inherited.")
def api(home: Path | None, host: str | None, port: int | None, expose: bool, fd: int | None) -> None:
    """Run one API process."""
    chosen = load_settings({"VARSEL_HOME": home, "VARSEL_SERVER__HOST": host, "VARSEL_SERVER__PORT": port})
    refuse_unsafe(chosen, expose=expose)
    chosen = with_suppression_key(with_database(chosen))
    log.configure(chosen.log_level)
    spare_collector()
    sock = listen(chosen.server.host, chosen.server.port) if fd is None else socket.socket(fileno=fd)
    with (
        contextlib.closing(sock),
        saying_what_is_missing(),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(serve_api(chosen, sock))
