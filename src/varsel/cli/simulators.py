"""`varsel simulators`: the sandbox's mail server and SMS gateway, as a process of `varsel up --sandbox`."""

import asyncio
import signal
from pathlib import Path

import click
import uvloop

from varsel import log
from varsel.cli.startup import (
    Refused,
    database_url,
    load_settings,
    refuse_unsafe,
    saying_what_is_missing,
    with_database,
)
from varsel.db import Database
from varsel.settings import Settings
from varsel.simulators.sandbox import NotLoopback, run_simulators


@click.command(hidden=True)
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="The home of the running `varsel up`.")
def simulators(home: Path | None) -> None:
    """Run the sandbox's mail server and SMS gateway."""
    chosen = load_settings({"VARSEL_HOME": home})
    log.configure(chosen.log_level)
    if not chosen.sandbox.enabled:
        raise Refused("the simulators run in the sandbox alone: set VARSEL_SANDBOX__ENABLED")
    refuse_unsafe(chosen, expose=True)  # they listen on loopback alone
    chosen = with_database(chosen)
    with saying_what_is_missing(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_simulate(chosen))
        except NotLoopback as e:
            raise Refused(str(e)) from e


async def _simulate(chosen: Settings) -> None:
    stop = asyncio.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sig, stop.set)
    database = Database(database_url(chosen), size=chosen.database.worker_connections, name="varsel simulators")
    await database.open()
    try:
        async with run_simulators(chosen, database):
            await stop.wait()
    finally:
        await database.close()
