"""Health and metrics tell how well our copies follow their registers (registries 2.5)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from feeds import Feeds, person, running_feeds
from serving import Client, Orders, Reply, make_parts, serving
from varsel.api.app import create_app
from varsel.api.parts import ApiParts
from varsel.clock import SystemClock
from varsel.db import Database, execute
from varsel.settings import Settings

KRR = Settings.model_validate(
    {
        "registry": {
            "krr_sync_enabled": True,
            "krr_changes_url": "https://krr.example/",
            "maskinporten_issuer": "https://maskinporten.example/",
            "maskinporten_token_url": "https://maskinporten.example/token",
            "maskinporten_client_id": "varsel",
            "maskinporten_jwk": "secret",
        }
    }
)


@dataclass
class Watched:
    feeds: Feeds
    parts: ApiParts

    async def warnings(self) -> list[str]:
        """Of registers."""
        reply = await self._get("/health/ready")
        assert reply.status == 200
        return [warning for warning in reply.json["warnings"] if "krr" in warning or "business" in warning]

    async def figures(self) -> dict[str, float]:
        lines = (await self._get("/metrics")).content.decode().splitlines()
        told = (line.rpartition(" ") for line in lines if line.startswith("varsel_registry_"))
        return {name: float(value) for name, _, value in told}

    async def since(self, age: timedelta) -> None:
        """The last good run was so long ago."""
        async with self.feeds.db.autocommit() as conn:
            sql = "UPDATE registry.sync_cursor SET last_success_at = statement_timestamp() - %(age)s WHERE feed = 'krr'"
            await execute(conn, sql, {"age": age})

    async def _get(self, path: str) -> Reply:
        async with serving(create_app(self.parts)) as port:  # a fresh one: nothing is remembered from before
            assert self.parts.issuer
            return await Client(port, self.parts.issuer).aget(path, headers={"Authorization": None})


@pytest.fixture
async def watched(database: Database, tmp_path: Path) -> AsyncIterator[Watched]:
    parts = make_parts(tmp_path, SystemClock(), database, Orders().register, KRR)
    async with running_feeds(database) as feeds:
        yield Watched(feeds, parts)


async def test_a_copy_that_is_late_is_told_before_it_answers_nothing(watched: Watched) -> None:
    assert await watched.warnings() == ["the copy of krr was never whole: it answers nothing"]
    await watched.feeds.persons().run()
    assert await watched.warnings() == []
    await watched.since(timedelta(minutes=59))
    assert await watched.warnings() == []
    await watched.since(timedelta(minutes=90))
    assert await watched.warnings() == ["the copy of krr was last as its register 1.5 h ago"]
    rarely = KRR.registry.model_copy(update={"krr_sync_interval": timedelta(hours=1)})
    watched.parts = replace(watched.parts, settings=KRR.model_copy(update={"registry": rarely}))
    assert await watched.warnings() == []


async def test_what_wants_a_person_is_told_with_its_command(watched: Watched) -> None:
    for index in range(2):
        watched.feeds.krr.change(person(index))
    watched.feeds.krr.fail("bad-row")
    await watched.feeds.persons().run()
    assert await watched.warnings() == [
        "krr: 1 record is set aside: `varsel registry quarantine list --feed krr`",
    ]
    watched.feeds.krr.fail("reset-log")
    await watched.feeds.persons().run()
    assert [warning for warning in await watched.warnings() if "new beginning" in warning]


async def test_figures_are_told_of_feeds_that_were_followed(watched: Watched) -> None:
    assert await watched.figures() == {}
    for index in range(5):
        watched.feeds.krr.change(person(index))
    watched.feeds.krr.page_size = 2
    watched.feeds.krr.fail("status", first=3, times=9, status=503)
    await watched.feeds.persons().run()
    told = await watched.figures()
    expected = {"behind": 1, "failures": 1, "set_aside": 0, "held_back": 0, "pages_total": 2, "records_total": 4}
    assert told == {f'varsel_registry_{name}{{feed="krr"}}': value for name, value in expected.items()}
    watched.feeds.krr._faults.clear()
    await watched.feeds.persons().run()
    told = await watched.figures()
    assert 0 <= told['varsel_registry_age_seconds{feed="krr"}'] < 60
    assert told['varsel_registry_behind{feed="krr"}'] == 0
