"""Asking KRR each time, for who may not keep a copy: sizes, faults and what is left out (registries 2.8)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from feeds import NOW, SCOPES, Feeds, person, running_feeds
from registers import ManualSeconds
from varsel.db import Database
from varsel.domain.errors import RegistryProtocolError, RegistryRejected, RegistryUnavailable
from varsel.domain.identifiers import synthetic_person_id
from varsel.providers.krr import KrrDirect, LookupTokens
from varsel.providers.registry_http import Limits, RegistryClient
from varsel.recipients.ports import Record
from varsel.recipients.staleness import cut_off
from varsel.settings import RegistrySettings
from varsel.simulators.krr import LOOKUP
from varsel.simulators.maskinporten import TOKEN

QUICK = Limits(pauses=(timedelta(milliseconds=1), timedelta(milliseconds=2)))


@dataclass
class Direct:
    feeds: Feeds
    krr: KrrDirect
    client: RegistryClient

    async def ask(self, *indices: int, **options: Any) -> dict[str, Any]:
        numbers = [synthetic_person_id(1, index) for index in indices]
        return dict(await self.krr.persons(numbers, **{"allow_stale": False, "now": NOW, **options}))


@pytest.fixture
async def direct(database: Database) -> AsyncIterator[Direct]:
    async with running_feeds(database) as feeds:
        path = LOOKUP.rpartition("/")
        client = RegistryClient(
            "krr", feeds.krr.url.rstrip("/") + path[0], QUICK, LookupTokens(feeds.tokens.scope(SCOPES))
        )
        yield Direct(feeds, KrrDirect(client, path[2], stale_after_months=18), client)
        await client.close()


@pytest.mark.assertion("registries", 42)
async def test_thousands_are_asked_for_in_parts_of_a_thousand(direct: Direct) -> None:
    for index in range(3):
        direct.feeds.krr.change(person(index))
    found = await direct.ask(*range(2_500), 1, 2)
    assert len(found) == 3
    sizes = sorted(len(request.body["personidentifikatorer"]) for request in direct.feeds.krr.asked(LOOKUP))
    assert sizes == [500, 1_000, 1_000]


@pytest.mark.assertion("registries", 42)
async def test_one_part_that_fails_fails_all(direct: Direct) -> None:
    direct.feeds.krr.fail("status", first=2, times=99, status=503)
    with pytest.raises(RegistryUnavailable):
        await direct.ask(*range(2_500))


@pytest.mark.parametrize("kind", ["drop", "truncate", "not-json"])
async def test_what_may_pass_is_asked_again(direct: Direct, kind: str) -> None:
    direct.feeds.krr.change(person(1))
    direct.feeds.krr.fail(kind)
    assert len(await direct.ask(1)) == 1


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_what_a_person_must_mend_is_told_apart(direct: Direct, status: int) -> None:
    direct.feeds.krr.fail("status", status=status)
    with pytest.raises(RegistryRejected):
        await direct.ask(1)
    assert len(direct.feeds.krr.asked(LOOKUP)) == 1


async def test_an_answer_that_leaves_somebody_out_is_no_answer(direct: Direct) -> None:
    direct.feeds.krr.fail("short", times=9)
    with pytest.raises(RegistryProtocolError):
        await direct.ask(1, 2)


@pytest.mark.assertion("registries", 99)
async def test_a_token_that_is_refused_is_renewed_once(direct: Direct) -> None:
    direct.feeds.krr.change(person(1))
    await direct.ask(1)
    direct.feeds.maskinporten.expire_tokens()
    assert len(await direct.ask(1)) == 1
    assert [request.status for request in direct.feeds.krr.asked(LOOKUP)] == [200, 401, 200]
    assert len(direct.feeds.maskinporten.asked(TOKEN)) == 2


async def test_without_a_token_nobody_is_asked(direct: Direct) -> None:
    direct.feeds.maskinporten.clients["varsel-test"].scopes = []
    with pytest.raises(RegistryRejected):
        await direct.ask(1)
    assert direct.feeds.krr.asked(LOOKUP) == []


async def test_what_cannot_be_a_number_is_unknown_and_not_asked_for(direct: Direct) -> None:
    direct.feeds.krr.change(person(1))
    number = synthetic_person_id(1, 1)
    found = await direct.krr.persons([number, "123", "", f"{number} ", "12345678901"], allow_stale=False, now=NOW)
    assert set(found) == {number}
    [asked] = direct.feeds.krr.asked(LOOKUP)
    assert asked.body == {"personidentifikatorer": [number]}
    assert await direct.krr.persons([], allow_stale=False, now=NOW) == {}


async def test_a_person_who_cannot_be_read_is_reached_by_nobody_and_costs_no_neighbour(direct: Direct) -> None:
    direct.feeds.krr.change(person(1, email="x" * 500))
    direct.feeds.krr.change(person(2))
    assert set(await direct.ask(1, 2)) == {synthetic_person_id(1, 2)}


async def test_the_answer_tells_where_it_comes_from(direct: Direct) -> None:
    direct.feeds.krr.change(person(1))
    [contact] = (await direct.ask(1)).values()
    assert contact.record == Record("krr-direct", NOW, NOW - timedelta(days=30))


@pytest.mark.assertion("registries", 30, 31, 32)
@pytest.mark.parametrize(
    ("now", "oldest"),
    [
        ("2024-08-31 12:00", "2023-02-28 12:00"),
        ("2025-08-31 12:00", "2024-02-29 12:00"),
        ("2026-11-23 10:00", "2025-05-23 10:00"),
        ("2026-06-30 00:00", "2024-12-30 00:00"),
    ],
)
def test_eighteen_calendar_months_are_counted_back(now: str, oldest: str) -> None:
    def instant(text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    assert cut_off(instant(now), 18) == instant(oldest)
    assert cut_off(instant(now), 0) is None


async def test_an_answer_may_serve_again_for_a_short_while(direct: Direct) -> None:
    """Known and unknown people alike; the answer tells when KRR was asked."""
    seconds = ManualSeconds()
    path, minute = LOOKUP.rpartition("/")[2], timedelta(seconds=60)
    direct.krr = KrrDirect(direct.client, path, stale_after_months=18, kept_for=minute, monotonic=seconds)
    direct.feeds.krr.change(person(1))
    first = await direct.ask(1, 2)
    direct.feeds.krr.change(person(1, version=1))
    direct.feeds.krr.change(person(3))
    seconds.now += 59
    later = await direct.ask(1, 2, 3, now=NOW + timedelta(seconds=59))
    assert [asked.body["personidentifikatorer"] for asked in direct.feeds.krr.asked(LOOKUP)] == [
        [synthetic_person_id(1, 1), synthetic_person_id(1, 2)],
        [synthetic_person_id(1, 3)],
    ]
    one = synthetic_person_id(1, 1)
    assert later[one] == first[one]
    assert later[one].record.changed_at == NOW
    seconds.now += 1
    assert (await direct.ask(1))[one].email == "p1.v1@example.com"


async def test_nothing_is_remembered_unless_that_is_wanted(direct: Direct) -> None:
    direct.feeds.krr.change(person(1))
    for _ in range(2):
        await direct.ask(1)
    assert len(direct.feeds.krr.asked(LOOKUP)) == 2
    for wrong in (-1, 61):
        with pytest.raises(ValidationError):
            RegistrySettings(krr_lookup_memory=timedelta(seconds=wrong))
