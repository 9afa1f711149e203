"""`varsel api`: one API process. SIGTERM lets the requests that are under way finish."""

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path

import click
import uvloop

from varsel import log
from varsel.api.app import create_app
from varsel.api.auth import Authenticator
from varsel.api.parts import ApiParts
from varsel.api.requests import Intake
from varsel.api.server import Timeouts, serve
from varsel.cli.startup import (
    Refused,
    database_url,
    home_of,
    load_settings,
    refuse_unsafe,
    saying_what_is_missing,
    with_database,
)
from varsel.heartbeat import beat as heartbeat
from varsel.issuer import DevelopmentIssuer
from varsel.settings import Settings
from varsel.timeshift.follow import follow_clock, take_clock
from varsel.wiring import Parts, open_parts


@click.command()
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="The home of the running `varsel up`.")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one.  [default: 5090]")
@click.option("--expose", is_flag=True, help="Listen on an address that other machines reach, outside production.")
def api(home: Path | None, host: str | None, port: int | None, expose: bool) -> None:
    """Run one API process."""
    chosen = load_settings({"VARSEL_HOME": home, "VARSEL_SERVER__HOST": host, "VARSEL_SERVER__PORT": port})
    refuse_unsafe(chosen, expose=expose)
    chosen = with_database(chosen)
    log.configure(chosen.log_level)
    try:
        with saying_what_is_missing(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(chosen))
    except OSError as e:
        raise Refused(f"{e}: choose another port with --port") from e


async def _run(chosen: Settings) -> None:
    """Serve until SIGTERM, or until our own row is lost: then the supervisor starts us again."""
    stop = asyncio.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sig, stop.set)
    url, lease = database_url(chosen), chosen.delivery.lease
    parts = await open_parts(chosen, url, name="varsel api", connections=chosen.database.api_connections)
    try:
        await take_clock(parts.db, parts.clock)
        row = await heartbeat.begin(parts.db, kind="api", lease=lease, clock_version=parts.clock.version)
        beside: list[Coroutine[None, None, None]] = [heartbeat.beat(parts.db, row, lease=lease)]
        if chosen.sandbox.enabled:
            beside.append(follow_clock(parts.db, parts.clock, row))
        await _serve(parts, stop, [asyncio.create_task(work) for work in beside])
        await heartbeat.end(parts.db, row)
    finally:
        await parts.close()


async def _serve(parts: Parts, stop: asyncio.Event, beside: list[asyncio.Task[None]]) -> None:
    """Until `stop`, or until a task beside it ends; then with the error of that task."""
    server = parts.settings.server
    for task in beside:
        task.add_done_callback(lambda _task: stop.set())
    try:
        timeouts = Timeouts(server.header_timeout, server.body_chunk_timeout)
        await serve(create_app(_api_parts(parts)), server.host, server.port, stop, timeouts=timeouts)
    finally:
        for task in beside:
            task.cancel()
        ended = await asyncio.gather(*beside, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error


def _api_parts(parts: Parts) -> ApiParts:
    chosen = parts.settings
    issuer = DevelopmentIssuer(home_of(chosen)) if chosen.auth.development_issuer else None
    return ApiParts(
        settings=chosen,
        clock=parts.clock,
        database=parts.db,
        authenticator=Authenticator.from_settings(chosen.auth, issuer),
        intake=Intake(
            parts.clock,
            max_body_bytes=chosen.server.max_body_bytes,
            max_waiting_bytes=chosen.server.max_waiting_body_bytes,
        ),
        register=parts.register().register_order,
        issuer=issuer,
    )
