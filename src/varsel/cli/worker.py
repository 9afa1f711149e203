"""`varsel worker`: one worker process. SIGTERM stops it gently, within the grace of the settings."""

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
    saying_what_is_missing,
    spare_collector,
    with_database,
    with_suppression_key,
)
from varsel.settings import Settings
from varsel.wiring import open_parts
from varsel.worker.run import STAGES, run_worker


@click.command()
@click.option("--only", metavar="STAGE,…", help=f"Run these stages alone, of: {', '.join(STAGES)}.")
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="The home of the running `varsel up`.")
def worker(only: str | None, home: Path | None) -> None:
    """Run one worker process."""
    stages = tuple(only.split(",")) if only else STAGES
    if unknown := sorted(set(stages) - set(STAGES)):
        raise Refused(f"no such stage: {', '.join(unknown)}. There are: {', '.join(STAGES)}")
    chosen = with_suppression_key(with_database(load_settings({"VARSEL_HOME": home})))
    log.configure(chosen.log_level)
    spare_collector()
    with saying_what_is_missing(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(chosen, stages))


async def _work(chosen: Settings, stages: tuple[str, ...]) -> None:
    stop = asyncio.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sig, stop.set)
    parts = await open_parts(
        chosen, database_url(chosen), name="varsel worker", connections=chosen.database.worker_connections
    )
    try:
        await run_worker(parts, stop, stages)
    finally:
        await parts.close()
