"""The published document of profile and registers against the service (registries 3.7, 4, 7.5)."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator

from profile_data import LEADER, O1, Users, personas
from serving import Client, Orders, make_parts, serving
from varsel.api.app import create_app
from varsel.api.frame import JsonRoute
from varsel.api.organisation_addresses import PATH as OFFICIAL
from varsel.api.profile_addresses import PATH as PARTIES
from varsel.api.profile_support import PATH as DASHBOARD
from varsel.api.row_shapes import deleted, upserted
from varsel.clock import ManualClock, SystemClock
from varsel.db import Database
from varsel.domain.errors import Rejected
from varsel.issuer import ENDUSER_SCOPE, SUPPORT_SCOPE
from varsel.recipients.load.batch import Wrong, read_batch
from varsel.recipients.load.formats import NUMBERS
from varsel.recipients.load.rows import COLUMNS, Kind
from varsel.recipients.load.values import BadValue, Rules, instant, uuid
from varsel.recipients.local import LocalDirectory
from varsel.settings import RegistrySettings

RULES: Final = Rules(datetime(2026, 11, 23, tzinfo=UTC))
UNSAYABLE: Final = {"ends-before-it-begins", "own-parent"}
VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, True, False, "true", "false", "", " ", "\t\x1c", 0, 1, 7.0, 2.5, 2**31, "2147483647", "07", "-1"),
        *("310001007", "14838510036", "a@example.com", " a@example.com ", "a@b", "+4799999501", "99999501"),
        *("2026-01-01", "2026-01-01T12:00:00Z", "2026-13-01", "0b2a7c1e-5d3f-4a86-9c1d-2e4f6a8b0c3d", "nb", "nob"),
        *("email", "sms", "person", "self-identified", "read", "daglig leder", "ærlig", "*", "demo-resource", "abc"),
        *("urn:altinn:resource:demo-resource", "demo-resource  other-one", [], [""], ["demo-resource"], ["a"], [1]),
        *("x" * 400, "x" * 401, "a\x00b", "a\nb", "w" * 128, "w" * 129, {}),
    ]
)


def rows(kind: Kind) -> st.SearchStrategy[dict[str, Any]]:
    """Rows of which much is right: the required columns mostly hold what they should."""
    right: dict[str, Any] = {
        "id": "14838510036",
        "org_no": "310001007",
        "user_id": 7,
        "kind": "email",
        "address": "a@example.com",
        "role": "leader",
        "action": "read",
        "resource_id": "demo-resource",
    }
    columns = COLUMNS[kind]
    required = {name: st.just(right[name]) | VALUES for name in columns.required}
    optional = dict.fromkeys(columns.optional, VALUES)
    return st.fixed_dictionaries(required, optional={**optional, "unheard_of": VALUES})


def taken(parse: Callable[[str], object]) -> Callable[[str], bool]:
    """One of our formats: what its column takes. Around it blanks do not count."""

    def fits(text: str) -> bool:
        try:
            return bool(text.strip()) and parse(text.strip()) is not None
        except (BadValue, Rejected):
            return False

    return fits


FORMATS: Final = {
    "identity-number": taken(RULES.person),
    "organisation-number": taken(RULES.organisation),
    "mobile-number": taken(RULES.mobile),
    "uuid": taken(uuid),  # more forms are taken than the standard has, of this and of these two
    "date": taken(instant),
    "date-time": taken(instant),
}


def wrongs(kind: Kind, member: dict[str, Any], *, delete: bool) -> list[Wrong]:
    batch = read_batch(kind, [] if delete else [member], [member] if delete else [], RULES)
    return [*batch.wrong_upserts, *batch.wrong_deletes]


@pytest.mark.parametrize("delete", [False, True], ids=["upsert", "delete"])
@pytest.mark.parametrize("kind", Kind)
def test_the_document_allows_the_rows_that_are_taken_and_no_others(kind: Kind, delete: bool) -> None:
    validator = Draft202012Validator(
        deleted(kind) if delete else upserted(kind), formats=FORMATS, validate_formats=True
    )

    @settings(max_examples=300)
    @given(rows(kind))
    def check(member: dict[str, Any]) -> None:
        found = wrongs(kind, member, delete=delete)
        if {wrong.code for wrong in found}.isdisjoint(UNSAYABLE):
            assert validator.is_valid(_texts(member)) == (not found), found

    check()


def _texts(member: dict[str, Any]) -> dict[str, Any]:
    """Identifiers and phone numbers are taken as numbers too, of which a format cannot speak."""
    numbers = NUMBERS - {"user_id", "party_id"}
    return {
        name: str(int(value)) if name in numbers and type(value) in (int, float) and value == int(value) else value
        for name, value in member.items()
    }


def test_every_route_of_profile_and_registers_is_in_the_document(tmp_path: Path) -> None:
    nowhere = Database("host=127.0.0.1 port=1", size=1, name="never opened")
    app = create_app(make_parts(tmp_path, SystemClock(), nowhere, Orders().register))
    routes = [route for route in app.routes if getattr(route, "path", "").startswith(("/profile/", "/registry/"))]
    assert len(routes) == 35
    assert all(isinstance(route, JsonRoute) for route in routes)


@pytest.fixture
async def users(database: Database, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Users]:
    await personas(database, clock)
    directory = LocalDirectory(database, RegistrySettings())
    parts = make_parts(tmp_path, clock, database, Orders().register, directory=directory)
    async with serving(create_app(parts)) as port:
        assert parts.issuer
        yield Users(Client(port, parts.issuer), database)
    await parts.feed.close()


@pytest.mark.parametrize("odd", ["\0", "31000100\x00", "x", "'", "3" * 5_000, "310001007\n", "æ", "-1", "0"])
async def test_what_is_no_identifier_in_a_path_is_refused_and_breaks_nothing(users: Users, odd: str) -> None:
    part = quote(odd, safe="")
    for path, status in (
        (OFFICIAL.format(organization_number=part), 403),
        (f"{OFFICIAL.format(organization_number=O1)}/{part}", 404),
        (f"{PARTIES}/byorgnumber/{part}", 403),
        (f"{PARTIES}/{part}", 400),
        (f"{DASHBOARD}/organizations/{part}/notificationaddresses", 404),
        (f"{DASHBOARD}/organizations/{part}/contactinformation", 404),
    ):
        reply = await users.call("GET", path, user=LEADER, scopes=(ENDUSER_SCOPE, SUPPORT_SCOPE))
        assert reply.status == status, path
