"""`python -m bench [names…]`: run benchmarks on two cores, print their table, write `.bench/results.json`."""

import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import click
import uvloop

from bench import accept, failover, fairness, instant, mail, overview, registries, road, stages, volume
from bench.figures import Figure, save, show
from bench.ground import Ground, Size
from bench.processes import temporary_home
from bench.to_many import run as send_to_many
from varsel import log
from varsel.cli.startup import spare_collector
from varsel.embedded import Embedded

Benchmark = Callable[[Ground], Awaitable[list[Figure]]]

BENCHMARKS: Final[Mapping[str, Benchmark]] = {
    "accept": accept.run,
    "stages": stages.run,
    "email": mail.run,
    "road": road.run,
    "pick-up": road.pick_up,
    "instant": instant.run,
    "volume": volume.run,
    "bulk": send_to_many,
    "failover": failover.run,
    "fairness": fairness.run,
    "registries": registries.run,
    "overview": overview.run,
}
_CORES: Final = 2
_QUIET: Final = 0.7
_PERSONS: Final = 100_000
_SETTINGS: Final = {"shared_buffers": "512MB", "max_wal_size": "4GB"}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*BENCHMARKS]))
@click.option("--quick", is_flag=True, help="A tenth of the work: shows that it runs, and little about speed.")
@click.option("--full", is_flag=True, help="Registers of 6 000 000 persons and 1 200 000 organisations, not a tenth.")
def main(names: Sequence[str], quick: bool, full: bool) -> None:
    """Measure Varsel on two cores of this machine; by default with every benchmark."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_CORES])
    load, _, _ = os.getloadavg()
    if load > _QUIET:
        click.echo(f"The machine is busy with other things (load {load:.1f}): the figures will be too low.", err=True)
    log.configure("WARNING")
    spare_collector()
    with temporary_home("varsel-bench-") as home, Embedded(home, settings=_SETTINGS) as server:
        figures = uvloop.run(_run(Ground(home, server, Size(quick, full)), names or list(BENCHMARKS)))
    show(figures)
    save(
        figures,
        _SETTINGS
        | {
            "fsync": "on",
            "synchronous_commit": "on",
            "quick": str(quick),
            "full": str(full),
            "load before": f"{load:.1f}",
        },
    )
    if not all(figure.holds for figure in figures):
        click.echo("A figure is on the wrong side of its floor.", err=True)


async def _run(ground: Ground, names: Sequence[str]) -> list[Figure]:
    figures: list[Figure] = []
    await _timed("preparing", ground.prepare(ground.size.of(_PERSONS)))
    for name in names:
        await _timed(name, _measured(BENCHMARKS[name](ground), figures))
    return figures


async def _measured(benchmark: Awaitable[list[Figure]], figures: list[Figure]) -> None:
    figures += await benchmark


async def _timed(name: str, work: Awaitable[None]) -> None:
    began = time.monotonic()
    click.echo(f"{name} …", err=True, nl=False)
    await work
    click.echo(f" {time.monotonic() - began:.1f} s", err=True)


if __name__ == "__main__":
    main()
