"""What the registers know of somebody, for a support desk, over HTTP and by `varsel lookup`."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

from fakes import FakeDirectory
from profile_data import O1, O2, O5, P1, personas
from serving import HOUR, Api, Client, Reply
from varsel.cli.main import cli
from varsel.clock import Clock
from varsel.db import Database, fetch
from varsel.domain.external_identity import parse_external_identity
from varsel.domain.identifiers import pseudonym
from varsel.issuer import CREATE_SCOPE, REGISTRY_SCOPE, SUPPORT_SCOPE
from varsel.recipients.local import LocalDirectory
from varsel.recipients.personas import PERSONS
from varsel.recipients.profile.access import log_key
from varsel.settings import RegistrySettings, Settings

PATH: Final = "/registry/api/v1/lookup"
GUEST: Final = "urn:altinn:person:idporten-email:guest%40example.test"
OLD_USER: Final = "urn:altinn:party:username:OldUser1"
KEY: Final = log_key(Settings()) or b""


@dataclass(frozen=True)
class Desk:
    client: Client
    database: Database
    directory: FakeDirectory

    async def ask(self, *identifiers: str, **more: object) -> Reply:
        body = {"identifiers": list(identifiers), **more}
        return await self.client.apost(PATH, body, scopes=(SUPPORT_SCOPE,))

    async def known(self, *identifiers: str, **more: object) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.ask(*identifiers, **more)).json["known"]
        return found

    async def log(self) -> list[tuple[Any, ...]]:
        sql = """SELECT kind, asked, found, revealed, reason, subject FROM registry.lookup_log
                  WHERE purpose = 'support' ORDER BY id, subject NULLS FIRST"""
        async with self.database.reading() as conn:
            return await fetch(conn, sql, {}, lambda *row: row)


@pytest.fixture
async def desk(api: Api) -> Desk:
    """The API asks what the local copies would answer."""
    await _remember(api.road.db, api.road.clock, api.road.directory)
    return Desk(api.client, api.road.db, api.road.directory)


async def _remember(database: Database, clock: Clock, fake: FakeDirectory) -> None:
    await personas(database, clock)
    local = LocalDirectory(database, RegistrySettings())
    fake.people |= await local.persons(PERSONS.values(), allow_stale=True, now=clock.now())
    fake.official |= await local.organisations([O1, O2, O5])
    fake.externals |= await local.external_identities([GUEST, OLD_USER])
    fake.users |= await local.user_addresses([O5], "demo-resource")
    fake.known_names |= await local.names([P1, O1, O2])


async def test_support_alone_may_ask(desk: Desk) -> None:
    for scopes in ((), (CREATE_SCOPE,), (REGISTRY_SCOPE,)):
        assert (await desk.client.apost(PATH, {"identifiers": [P1]}, scopes=scopes)).status == 403
    assert await desk.log() == []


@pytest.mark.assertion("registries", 91)
async def test_what_is_known_is_masked(desk: Desk) -> None:
    person, main_unit, guest, user = await desk.known(P1, O2, GUEST, OLD_USER)
    assert person["identifier"] == "148385*****"
    assert person["emails"] == ["ro***@example.com"]
    assert person["mobiles"][0].startswith("+47******")
    assert (person["kind"], person["found"], person["isReserved"], person["emailIsStale"]) == (
        "person",
        True,
        False,
        False,
    )
    assert {"source", "changedAt", "emailConfirmedAt", "mobileConfirmedAt"} <= person.keys()
    assert "name" not in person
    assert (main_unit["identifier"], main_unit["addressOrigin"], main_unit["kind"]) == (O2, O1, "organisation")
    assert main_unit["name"]
    assert set(main_unit["emails"]) == {"po***@example.com", "va***@example.com"}
    assert guest["identifier"] == "urn:altinn:person:idporten-email:gu***@example.test"
    assert user["identifier"] == "urn:altinn:party:username:OldU****"
    assert (user["kind"], user["isReserved"], user["emails"]) == ("externalIdentity", False, ["ga***@example.com"])


async def test_who_gives_a_reason_sees_everything_and_that_is_written_down(desk: Desk) -> None:
    assert list((await desk.ask(P1, reveal=True)).errors) == ["Reason"]
    assert list((await desk.ask(P1, reveal=True, reason=" ")).errors) == ["Reason"]
    assert list((await desk.ask(P1, reason="x" * 201)).errors) == ["Reason"]
    (person,) = await desk.known(P1, reveal=True, reason="case 17")
    assert person["identifier"] == P1
    assert person["emails"] == ["rolig.fjord@example.com"]
    assert person["name"]
    assert await desk.log() == [
        ("lookup", 1, 1, True, "case 17", None),
        ("lookup", 1, 1, True, "case 17", pseudonym(P1, KEY)),
    ]


async def test_who_is_not_known_is_told_in_the_order_of_the_question(desk: Desk) -> None:
    unknown = [PERSONS["P10"], "310001082", "urn:altinn:username:nobody", "not-an-id"]
    found = await desk.known(unknown[0], P1, *unknown[1:])
    assert [(entry["kind"], entry["found"]) for entry in found] == [
        ("person", False),
        ("person", True),
        ("organisation", False),
        ("externalIdentity", False),
        ("unknown", False),
    ]
    assert found[0]["identifier"] == "318180*****"
    assert found[4]["identifier"] == "not-*****"
    subjects = {row[5] for row in await desk.log()}
    told = {pseudonym(value, KEY) for value in (P1, *unknown) if value != "310001082"}
    assert subjects == {None, *told}


async def test_with_a_resource_the_users_of_an_organisation_are_told(desk: Desk) -> None:
    (organisation,) = await desk.known(O5, resourceId="urn:altinn:resource:demo-resource")
    assert [user["userId"] for user in organisation["users"]] == [101, 102, 103]
    assert organisation["users"][1] == {"userId": 102, "email": "gl***@example.com"}
    (without,) = await desk.known(O5)
    assert "users" not in without


async def test_a_register_that_is_down_is_no_answer(desk: Desk) -> None:
    desk.directory.down = True
    assert (await desk.ask(P1)).status == 503
    assert await desk.log() == []


async def test_too_many_or_no_identifiers_are_refused(desk: Desk) -> None:
    assert list((await desk.ask()).errors) == ["Identifiers"]
    assert list((await desk.ask(*[P1] * 101)).errors) == ["Identifiers"]
    assert len(await desk.known(*[P1] * 100)) == 100


def test_every_external_identity_of_these_tests_can_be_read() -> None:
    assert parse_external_identity(GUEST)
    assert parse_external_identity(OLD_USER)


# The command


async def varsel(desk: Desk, *args: str, token: str | None = None, given: str = "", home: Path | None = None) -> Result:
    variables = {
        "VARSEL_URL": f"http://127.0.0.1:{desk.client.port}",
        "VARSEL_TOKEN": token,
        "VARSEL_HOME": str(home) if home else None,
        "VARSEL_CONFIG": None,
        "COLUMNS": "200",
    }
    return await asyncio.to_thread(CliRunner().invoke, cli, ["lookup", *args], env=variables, input=given)


def support_token(desk: Desk) -> str:
    return desk.client.issuer.mint("desk", (SUPPORT_SCOPE,), HOUR)


async def test_the_command_shows_a_table_and_hides_what_is_personal(desk: Desk) -> None:
    shown = await varsel(desk, P1, O2, PERSONS["P7"], PERSONS["P10"], token=support_token(desk))
    assert shown.exit_code == 0, shown.output
    assert "148385*****" in shown.output
    assert "ro***@example.com" in shown.output
    assert f"addresses of the main unit, {O1}" in shown.output
    assert "too old" in shown.output
    assert "not known" in shown.output
    assert P1 not in shown.output
    assert "rolig.fjord@" not in shown.output


async def test_the_command_reveals_for_a_reason(desk: Desk) -> None:
    token = support_token(desk)
    refused = await varsel(desk, P1, "--reveal", token=token)
    assert (refused.exit_code, "--reason" in refused.output) == (2, True)
    shown = await varsel(desk, P1, "--reveal", "--reason", "case 17", token=token)
    assert "rolig.fjord@example.com" in shown.output
    assert (await desk.log())[0][3:5] == (True, "case 17")


async def test_the_command_reads_from_standard_input_and_writes_json(desk: Desk) -> None:
    lines = "\n".join([P1, "", *[O1] * 120])
    shown = await varsel(desk, "-", "--json", token=support_token(desk), given=lines)
    found = json.loads(shown.stdout)
    assert len(found) == 121
    assert found[0]["kind"] == "person"


async def test_the_command_says_who_must_act(desk: Desk, tmp_path: Path) -> None:
    no_token = await varsel(desk, P1, home=tmp_path / "nowhere")
    assert (no_token.exit_code, "no token" in no_token.output) == (2, True)
    assert not (tmp_path / "nowhere").exists()
    wrong = await varsel(desk, P1, token=desk.client.issuer.mint("desk", (CREATE_SCOPE,), HOUR))
    assert (wrong.exit_code, "token" in wrong.output) == (2, True)
    refused = await varsel(desk, P1, "--reason", "x" * 201, token=support_token(desk))
    assert (refused.exit_code, "Reason" in refused.output) == (2, True)
    desk.directory.down = True
    down = await varsel(desk, P1, token=support_token(desk))
    assert (down.exit_code, "try again" in down.output) == (1, True)
    nobody = await varsel(desk, P1, "--url", "http://127.0.0.1:1", token="x")
    assert (nobody.exit_code, "does not answer" in nobody.output) == (1, True)


async def test_the_token_of_a_user_is_made_by_hand(desk: Desk, tmp_path: Path) -> None:
    def token(*args: str) -> Result:
        return CliRunner().invoke(cli, ["token", "--home", str(tmp_path), *args], env={"VARSEL_CONFIG": None})

    made = await asyncio.to_thread(token, "--user", "101")  # in the home of the API
    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    path = "/profile/api/v1/users/current/notificationsettings/parties"
    assert (await desk.client.aget(path, headers=headers)).status == 200
    for wrong in ([], ["--org", "ttd", "--user", "1"], ["--user", "1", "--platform"], ["--user", "0"]):
        assert (await asyncio.to_thread(token, *wrong)).exit_code == 2
