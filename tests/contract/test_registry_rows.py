"""The upsert API: a directory of one's own, a few rows at a time (registries 7.5)."""

import ast
import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profile_data import O5, P1, personas
from serving import ORDERS, Api, Client, Reply, make_parts, serving
from varsel.api.app import create_app
from varsel.api.registry_rows import SENTENCES
from varsel.clock import ManualClock
from varsel.db import Database, execute, fetch
from varsel.domain.identifiers import check_digits, pseudonym
from varsel.issuer import REGISTRY_SCOPE, SUPPORT_SCOPE
from varsel.recipients.load.batch import read_batch
from varsel.recipients.load.export_store import export
from varsel.recipients.load.rows import COLUMNS, Kind
from varsel.recipients.load.values import Rules
from varsel.recipients.local import LocalDirectory
from varsel.recipients.ports import PersonContact
from varsel.settings import RegistrySettings, Settings

PATH = "/registry/api/v1/rows"
NOTHING = {"inserted": 0, "updated": 0, "unchanged": 0, "deleted": 0, "ofOthers": 0}
PERSON = {"id": P1, "email": "a@example.com", "mobile": "99999501", "email_updated": "2026-11-01", "first_name": "Eva"}
ROWS: dict[Kind, dict[str, Any]] = {
    Kind.ORGANISATIONS: {"org_no": "310001007", "name": "Fjord AS", "party_id": 7},
    Kind.ORG_ADDRESSES: {"org_no": "310001007", "kind": "email", "address": "post@example.com"},
    Kind.PERSONS: PERSON,
    Kind.USERS: {"user_id": 7, "person_id": P1},
    Kind.USER_ADDRESSES: {
        "user_id": 7,
        "org_no": "310001007",
        "email": "a@example.com",
        "resources": ["demo-resource"],
    },
    Kind.RULES: {"resource_id": "*", "action": "read", "role": "daglig-leder"},
    Kind.ROLES: {"user_id": 7, "org_no": "310001007", "role": "daglig-leder", "valid_from": "2026-01-01"},
    Kind.DELEGATIONS: {"user_id": 7, "org_no": "310001007", "resource_id": "demo-resource", "action": "read"},
    Kind.EXTERNAL_IDENTITIES: {"username": "Eva", "phone": "+4799999502"},
}


@dataclass(frozen=True)
class Rows:
    client: Client
    database: Database

    async def post(self, kind: str, **body: object) -> Reply:
        return await self.client.apost(f"{PATH}/{kind}", body, scopes=(REGISTRY_SCOPE,), org=None)

    async def change(self, kind: str, **body: object) -> dict[str, int]:
        """What has changed, without zeros."""
        reply = await self.post(kind, **body)
        assert reply.status == 200, reply.content
        assert reply.json.keys() == NOTHING.keys()
        return {name: count for name, count in reply.json.items() if count}

    async def count(self, kind: Kind) -> int:
        tables = {Kind.PERSONS: "person", Kind.ORGANISATIONS: "organisation", Kind.ORG_ADDRESSES: "org_address"}
        async with self.database.reading() as conn:
            (found,) = await fetch(conn, f"SELECT count(*) FROM registry.{tables[kind]}", {}, int)
        return found


@pytest.fixture
def rows(api: Api) -> Rows:
    return Rows(api.client, api.road.db)


async def test_only_who_may_write_the_directory_writes_it(rows: Rows) -> None:
    path = f"{PATH}/persons"
    for scopes, status in (((), 403), ((SUPPORT_SCOPE,), 403), ((REGISTRY_SCOPE,), 200)):
        assert (await rows.client.apost(path, {}, scopes=scopes)).status == status
    assert (await rows.client.apost(path, {}, headers={"Authorization": None})).status == 401
    assert (await rows.post("people")).status == 404


async def test_every_kind_of_row_comes_stays_and_goes(rows: Rows) -> None:
    for kind, row in ROWS.items():
        assert await rows.change(kind, upsert=[row]) == {"inserted": 1}, kind
        assert await rows.change(kind, upsert=[row]) == {"unchanged": 1}, kind
    for kind, row in ROWS.items():
        assert await rows.change(kind, delete=[row]) == {"deleted": 1}, kind
        assert await rows.change(kind, delete=[row]) == {}, kind


async def test_the_key_is_enough_to_delete(rows: Rows) -> None:
    await rows.change("user_addresses", upsert=[ROWS[Kind.USER_ADDRESSES]])
    assert await rows.change("user_addresses", delete=[{"user_id": 7, "org_no": "310001007"}]) == {"deleted": 1}
    await rows.change("org_addresses", upsert=[{**ROWS[Kind.ORG_ADDRESSES], "registry_id": "r1"}])
    assert await rows.change("org_addresses", delete=[{"registry_id": "r1"}]) == {"deleted": 1}
    await rows.change("persons", upsert=[PERSON])
    assert await rows.change("persons", delete=[{"id": P1}]) == {"deleted": 1}
    assert list((await rows.post("persons", delete=[{"email": "a@example.com"}])).errors) == ["Delete[0].id"]


async def test_what_was_written_is_where_messages_go(rows: Rows, api: Api) -> None:
    await rows.change("persons", upsert=[PERSON])
    directory = LocalDirectory(rows.database, RegistrySettings())
    known = await directory.persons([P1], allow_stale=False, now=api.road.clock.now())
    assert known == {P1: PersonContact(False, "a@example.com", None, mobile_stale=True)}
    await rows.change("persons", upsert=[{**PERSON, "email": None, "email_updated": None}], assumeFresh=True)
    known = await directory.persons([P1], allow_stale=False, now=api.road.clock.now())
    assert known == {P1: PersonContact(False, None, "+4799999501")}
    assert await directory.names([P1]) == {P1: "Eva Navn"}


async def test_a_request_is_taken_whole_or_not_at_all(rows: Rows) -> None:
    bad = [PERSON, {"id": "1"}, {**PERSON, "id": "17902349936", "email": "nobody", "nickname": "x"}, {"id": [1]}]
    refused = await rows.post("persons", upsert=bad, delete=[{"id": 5}])
    assert refused.errors == {
        "Upsert[1].id": [SENTENCES["identity-number"]],
        "Upsert[2]": [SENTENCES["unknown-column"]],
        "Upsert[3].id": [SENTENCES["json-type"]],
        "Delete[0].id": [SENTENCES["identity-number"]],
    }
    assert await rows.count(Kind.PERSONS) == 0
    same_party = [{"org_no": "310001007", "party_id": 7}, {"org_no": "310001015", "party_id": 7}]
    conflict = await rows.post("organisations", upsert=same_party)
    assert (conflict.status, "party_id" in conflict.json["detail"]) == (409, True)
    assert await rows.count(Kind.ORGANISATIONS) == 0


async def test_of_one_key_the_last_row_counts_and_deleting_comes_first(rows: Rows) -> None:
    twice = [{**PERSON, "first_name": "Ada"}, PERSON]
    assert await rows.change("persons", upsert=twice) == {"inserted": 1}
    assert await rows.change("persons", upsert=[PERSON]) == {"unchanged": 1}
    assert await rows.change("persons", upsert=[PERSON], delete=[{"id": P1}]) == {"deleted": 1, "inserted": 1}


async def test_rows_of_feeds_and_users_stay_as_they_are(rows: Rows, api: Api) -> None:
    await personas(rows.database, api.road.clock)
    async with rows.database.autocommit() as conn:
        await execute(conn, "UPDATE registry.person SET source = 'krr' WHERE subject_key = %(id)s", {"id": P1})
        await execute(conn, "UPDATE registry.user_org_contact SET source = 'user' WHERE user_id = 101", {})
    assert await rows.change("persons", upsert=[PERSON]) == {"ofOthers": 1}
    assert await rows.change("persons", delete=[{"id": P1}]) == {"ofOthers": 1}
    assert await rows.change("user_addresses", delete=[{"user_id": 101, "org_no": O5}]) == {"ofOthers": 1}


async def test_more_than_a_thousand_rows_are_too_many(rows: Rows) -> None:
    many = [{"id": P1}] * 1_000
    assert await rows.change("persons", upsert=many) == {"inserted": 1}
    assert list((await rows.post("persons", upsert=many, delete=[{"id": P1}])).errors) == ["Upsert"]


async def test_requests_at_once_over_the_same_rows_all_end_well(rows: Rows) -> None:
    persons = [{"id": P1}, {"id": "17902349936"}, {"id": "20914695016"}]
    changes = [
        rows.post("persons", upsert=persons if n % 2 else persons[::-1], delete=persons[n % 3 : n % 3 + 1])
        for n in range(12)
    ]
    assert {reply.status for reply in await asyncio.gather(*changes)} == {200}
    assert await rows.count(Kind.PERSONS) == 3


async def test_a_real_identity_number_is_refused_outside_production(rows: Rows) -> None:
    real = f"010107501{check_digits('010107501')}"
    refused = await rows.post("persons", upsert=[PERSON, {"id": real}])
    assert refused.errors == {"Upsert[1]": [SENTENCES["real-identity"]]}
    assert real.encode() not in refused.content


@pytest.fixture
async def abroad(database: Database, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Client]:
    schemes = [
        {"name": "se", "kind": "person", "pattern": "(?:19|20)?(?P<checked>[0-9]{6}-[0-9]{4})", "check": "luhn"},
        {"name": "dk", "kind": "organisation", "pattern": "[0-9]{8}", "check": "mod11"},
    ]
    settings = Settings.model_validate({"registry": {"schemes": schemes, "norwegian_identifiers": False}})
    directory = LocalDirectory(database, settings.registry)

    async def nothing(_order: object) -> Any:
        raise AssertionError

    parts = make_parts(tmp_path, clock, database, nothing, settings, directory=directory)
    async with serving(create_app(parts)) as port:
        assert parts.issuer
        yield Client(port, parts.issuer)
    await parts.feed.close()


async def test_a_directory_of_another_country_is_loaded_and_ordered_from(abroad: Client) -> None:
    person = {"id": "19811228-9874", "email": "eva@example.com", "email_updated": "2026-11-01"}
    organisation = {"org_no": "13585628", "name": "Fjord A/S"}
    for kind, row in (("persons", person), ("organisations", organisation)):
        reply = await abroad.apost(f"{PATH}/{kind}", {"upsert": [row]}, scopes=(REGISTRY_SCOPE,))
        assert reply.json["inserted"] == 1
    order = {"subject": "Hej", "body": "Hej", "recipients": [{"nationalIdentityNumber": "19811228-9874"}]}
    preview = await abroad.apost(
        "/notifications/api/v1/orders/preview",
        {
            "notificationChannel": "Email",
            "emailTemplate": {"subject": "Hej", "body": "Hej"},
            "recipients": order["recipients"],
        },
    )
    assert preview.status == 200, preview.content
    assert b"eva@example.com" in preview.content or b"***@example.com" in preview.content
    wrong = [{"nationalIdentityNumber": P1}, {"organizationNumber": "13585627"}]
    refused = await abroad.apost("/notifications/api/v1/orders/email", {**order, "recipients": wrong})
    assert list(refused.errors) == ["Recipients[0].NationalIdentityNumber", "Recipients[1].OrganizationNumber"]
    assert (await abroad.apost(f"{PATH}/persons", {"upsert": [{"id": P1}]}, scopes=(REGISTRY_SCOPE,))).status == 400


@pytest.mark.assertion("registries", 10)
async def test_a_leading_zero_survives_everywhere(rows: Rows, api: Api) -> None:
    person = "01916012086"
    await rows.change("persons", upsert=[{**PERSON, "id": person}])
    directory = LocalDirectory(rows.database, RegistrySettings())
    found = await directory.persons([person], allow_stale=True, now=api.road.clock.now())
    assert list(found) == [person]
    async with rows.database.reading() as conn:
        written = b"".join([part async for part in export(conn, Kind.PERSONS)]).decode()
    assert written.splitlines()[1].startswith(f"{person},")
    body = {"subject": "Hi", "body": "Hi", "recipients": [{"nationalIdentityNumber": person}]}
    order = (await rows.client.apost(f"{ORDERS}/email", body)).json["orderId"]
    read = (await rows.client.aget(f"{ORDERS}/{order}")).json
    assert read["recipients"] == [{"nationalIdentityNumber": person}]
    assert pseudonym(person, b"key") != pseudonym(person.lstrip("0"), b"key")


@settings(suppress_health_check=[HealthCheck.too_slow])  # any text: its alphabet is made once, on a busy machine
@given(
    kind=st.sampled_from(Kind),
    members=st.lists(
        st.dictionaries(
            st.sampled_from(sorted({c for columns in COLUMNS.values() for c in columns.required | columns.optional})),
            st.none()
            | st.booleans()
            | st.integers()
            | st.text(max_size=30)
            | st.lists(st.text(max_size=5), max_size=3)
            | st.floats()
            | st.sampled_from(["310001007", P1, "read", "true", "email", "a@example.com", "2026-01-01"]),
        ),
        max_size=4,
    ),
)
def test_whatever_comes_as_a_row_is_read_or_told_by_a_sentence(kind: Kind, members: list[dict[str, Any]]) -> None:
    batch = read_batch(kind, members, members, Rules(datetime(2026, 11, 23, tzinfo=UTC)))
    assert len(batch.upserted) + len(batch.wrong_upserts) == len(members)
    assert len(batch.deleted) + len(batch.wrong_deletes) == len(members)
    assert {wrong.code for wrong in (*batch.wrong_upserts, *batch.wrong_deletes)} <= SENTENCES.keys()


def test_there_is_a_sentence_for_each_code() -> None:
    folder = Path(__file__).parents[2] / "src/varsel/recipients/load"
    calls = [
        (node.func.id, [a.value for a in node.args if isinstance(a, ast.Constant)])
        for name in ("values", "rows")
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    codes = {words[0] for name, words in calls if name in ("BadValue", "Rejected") and words}
    codes |= {words[1] for name, words in calls if name == "BadLine" and len(words) > 1}
    assert len(codes) > 15
    assert codes <= SENTENCES.keys()
