"""`varsel providers`: an operator sees how each provider stands, and steers it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from road import Road
from varsel.cli.main import cli
from varsel.clock import ManualClock
from varsel.db import Database

SETTINGS = """
[[providers]]
type = "smtp"
name = "mail"
host = "127.0.0.1"
port = 1
tls = "none"
weight = 60
"""


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    yield road
    await road.waker.close()


async def varsel(road: Road, folder: Path, *words: str) -> Result:
    config = folder / "varsel.toml"
    config.write_text(SETTINGS)
    variables = {"VARSEL_DATABASE_URL": road.db.dsn, "VARSEL_CONFIG": str(config), "VARSEL_HOME": None}
    return await asyncio.to_thread(
        CliRunner().invoke, cli, ["providers", *words], env=variables, catch_exceptions=False
    )


async def listed(road: Road, folder: Path) -> dict[str, dict[str, Any]]:
    shown = await varsel(road, folder, "list", "--json")
    return {one["name"]: one for one in json.loads(shown.output)}


async def test_a_stopped_provider_gets_nothing_until_it_is_started(road: Road, tmp_path: Path) -> None:
    assert (await varsel(road, tmp_path, "stop", "mail", "--why", "moves house")).exit_code == 0
    await road.place()
    await road.run()
    assert await road.outcomes() == [("email", "new")]
    assert (await listed(road, tmp_path))["mail"]["standing"] == "stopped"
    assert (await varsel(road, tmp_path, "list")).exit_code == 1
    assert (await varsel(road, tmp_path, "start", "mail")).exit_code == 0
    await road.run()
    assert await road.outcomes() == [("email", "accepted")]
    told = await varsel(road, tmp_path, "history", "mail")
    assert "stopped  moves house" in told.output
    assert "started" in told.output


async def test_starting_a_provider_closes_its_breaker(road: Road, tmp_path: Path) -> None:
    async with road.db.autocommit() as conn:
        await conn.execute(
            """INSERT INTO provider (name, channel, breaker_until, failures, detail)
               VALUES ('mail', 'email', statement_timestamp() + interval '10 min', 5, 'login refused')"""
        )
    one = (await listed(road, tmp_path))["mail"]
    assert one["standing"].startswith("breaker open until")
    assert one["detail"] == "login refused"
    await varsel(road, tmp_path, "start", "mail")
    assert (await listed(road, tmp_path))["mail"]["standing"] == "takes messages"


async def test_a_weight_is_that_of_the_settings_until_somebody_gives_another(road: Road, tmp_path: Path) -> None:
    await varsel(road, tmp_path, "start", "mail")
    assert (await listed(road, tmp_path))["mail"]["weight"] == 60
    await varsel(road, tmp_path, "weight", "mail", "5")
    assert (await listed(road, tmp_path))["mail"]["weight"] == 5


async def test_an_unknown_provider_is_named(road: Road, tmp_path: Path) -> None:
    refused = await varsel(road, tmp_path, "stop", "male")
    assert refused.exit_code == 2
    assert "there is no provider 'male'; there are: mail" in refused.output
