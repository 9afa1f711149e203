"""`varsel deadletters`: an operator looks at reports that matched nothing, tries them again, and puts them away."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from road import Road
from varsel.cli.main import cli
from varsel.clock import ManualClock
from varsel.db import Database, execute, fetch
from varsel.delivery.ports import Verdict
from varsel.domain.ids import uuid7
from varsel.domain.notification import Channel, State
from varsel.domain.order import OrderChannel, Recipient


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    yield road
    await road.waker.close()


async def varsel(road: Road, *words: str, code: int = 0) -> Result:
    variables = {"VARSEL_DATABASE_URL": road.db.dsn, "VARSEL_CONFIG": None, "VARSEL_HOME": None}
    run = await asyncio.to_thread(CliRunner().invoke, cli, ["deadletters", *words], env=variables)
    assert run.exit_code == code, (run.output, run.exception)
    return run


async def dead(road: Road, reference: str = "ref-1") -> None:
    """A report about a message that nobody knows, tried until it is given up."""
    payload = {"reference": reference, "receiver": "4740000417"}
    await road.report(
        None, Verdict.DELIVERED, provider="sms", channel=Channel.SMS, reference=reference, payload=payload
    )
    for _ in range(9):
        road.clock.advance(timedelta(days=1))
        await road.run()


async def listed(road: Road, *, code: int = 1) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((await varsel(road, "list", "--json", code=code)).stdout)
    return found


async def states(road: Road) -> list[str]:
    async with road.db.reading() as conn:
        return await fetch(conn, "SELECT state FROM delivery_report ORDER BY id", {}, str)


async def audited(road: Road) -> list[tuple[str, str]]:
    async with road.db.reading() as conn:
        return await fetch(conn, "SELECT action, case_no FROM audit ORDER BY id", {}, lambda *row: row)


async def test_dead_letters_are_listed_without_who_they_are_about(road: Road) -> None:
    assert "0 dead, 0 waiting" in (await varsel(road, "list")).output
    await dead(road)
    shown = (await varsel(road, "list", code=1)).output
    assert "ref-1" in shown
    assert "1 dead, 0 waiting" in shown
    (one,) = await listed(road)
    assert one["why"] == "RETRY_THRESHOLD_EXCEEDED"
    content = json.loads((await varsel(road, "show", one["id"])).stdout)["payload"]
    assert content == {"reference": "ref-1", "receiver": "•••••"}
    assert await audited(road) == []
    revealed = await varsel(road, "show", one["id"], "--reveal", "--reason", "case 17")
    assert json.loads(revealed.stdout)["payload"]["receiver"] == "4740000417"
    assert await audited(road) == [("report shown", "case 17")]
    assert "--reason" in (await varsel(road, "show", one["id"], "--reveal", code=2)).output


async def test_a_replay_is_applied_once_what_hindered_it_is_mended(road: Road) -> None:
    await dead(road, "late-ref")
    order = (await road.place(channel=OrderChannel.SMS, recipients=(Recipient(mobile="+4799999501"),))).order_id
    await road.run()
    async with road.db.autocommit() as conn:  # the message that it was about is known after all
        await execute(conn, "UPDATE notification SET provider = 'sms', provider_ref = 'late-ref'", {})
    (one,) = await listed(road)
    assert (await varsel(road, "replay", one["id"])).output.startswith("1 tried again")
    await road.run()
    assert (await states(road), (await road.rows(order))[0].state) == (["applied"], State.DELIVERED)
    assert "none of them is dead" in (await varsel(road, "replay", one["id"], code=2)).output
    assert await audited(road) == [("report replay", "")]


async def test_all_can_be_put_away_for_good(road: Road) -> None:
    for reference in ("a", "b", "c"):
        await dead(road, reference)
    assert len(await listed(road)) == 3
    assert (await varsel(road, "resolve", "--all", "--why", "the gateway's test")).output == "3 put away\n"
    assert await states(road) == ["rejected"] * 3
    assert await listed(road, code=0) == []
    assert await audited(road) == [("report put away", "the gateway's test")]


async def test_which_ones_must_be_said_and_exist(road: Road) -> None:
    for words in (("replay",), ("replay", str(uuid7()), "--all"), ("resolve",)):
        assert "--all" in (await varsel(road, *words, code=2)).output
    for name in ("show", "replay", "resolve"):
        assert "varsel deadletters list" in (await varsel(road, name, str(uuid7()), code=2)).output
