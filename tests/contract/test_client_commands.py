"""The client commands against a running API: people and programs order, follow and read the feed over HTTP alone."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
from click.testing import CliRunner, Result

from client_world import stored
from proxying import Fault, Proxy, proxy_to
from serving import Api
from varsel.cli.main import cli
from varsel.delivery.ports import Verdict
from varsel.domain.ids import OrderId
from varsel.issuer import CREATOR_SCOPES
from varsel.recipients.ports import PersonContact

PERSON: Final = "01817012345"
EMAIL: Final = ("--email", "kari@example.com", "--subject", "New letter", "--text", "You have a new letter.")


@pytest.fixture(autouse=True)
def _people(api: Api) -> None:
    api.road.directory.people = {PERSON: PersonContact(reserved=False, email="per@example.com", mobile="+4799999502")}


@pytest.fixture
async def proxy(api: Api) -> AsyncIterator[Proxy]:
    async with proxy_to(api.client.port) as proxy:
        yield proxy


def variables(api: Api, url: str | None = None) -> dict[str, str]:
    token = api.client.token("ttd", CREATOR_SCOPES)
    return {"VARSEL_URL": url or f"http://127.0.0.1:{api.client.port}", "VARSEL_TOKEN": token}


async def varsel(api: Api, *words: str, given: str | None = None, url: str | None = None, code: int = 0) -> Result:
    run = await asyncio.to_thread(CliRunner().invoke, cli, words, env=variables(api, url), input=given)
    assert run.exit_code == code, (run.output, run.exception)
    return run


async def ordered(api: Api, *words: str, **how: Any) -> Any:
    """The answer to an order."""
    return json.loads((await varsel(api, "order", *words, "--json", **how)).stdout)


async def finish(api: Api, shipment: str, verdict: Verdict = Verdict.DELIVERED) -> None:
    await api.road.run()
    for row in await api.road.rows(OrderId(UUID(shipment))):
        await api.road.report(row.id, verdict)
    await api.road.run()


# Ordering


async def test_an_order_from_options_says_what_it_is_and_how_to_follow_it(api: Api) -> None:
    shown = await varsel(
        api,
        *("order", "--person", PERSON, "--channel", "EmailPreferred", "--subject", "A letter", "--text", "Hello."),
        *("--sms", "A letter.", "--reference", "case-1", "--fallback", "--anytime"),
        *("--remind-after", "7d", "--remind-text", "Unread."),
    )
    first, second, third = shown.output.splitlines()
    assert first.startswith("Ordered: shipment ")
    assert first.endswith("  case-1  an SMS of 1 part")
    assert second.startswith("Reminder: shipment ")
    shipment = first.split()[2]
    assert third == f"See what becomes of it: varsel status {shipment} --follow"
    assert json.loads((await varsel(api, "status", shipment, "--json")).stdout)["status"] == "Order_Registered"


async def test_an_order_comes_from_a_file_or_from_standard_input_too(api: Api, tmp_path: Path) -> None:
    sms = {"phoneNumber": "+4799999501", "smsSettings": {"body": "Blåbær."}}
    body = json.dumps({"recipient": {"recipientSms": sms}, "idempotencyId": "mine"})
    (tmp_path / "order.json").write_text(body)
    first = await ordered(api, str(tmp_path / "order.json"))
    assert await ordered(api, "-", given=body) == first
    assert (await ordered(api, "-", "--idempotency-id", "another", given=body)) != first
    assert await stored(api) == ["another", "mine"]


async def test_a_message_that_is_sent_now_has_left_when_the_command_ends(api: Api) -> None:
    done = await ordered(api, "--mobile", "+4799999501", "--text", "Your code is 1234", "--now", "--lives", "5m")
    shown = await varsel(api, "status", done["notification"]["shipmentId"])
    assert "+4799999501" in shown.output
    assert len(api.road.sms.sent) == 1
    await ordered(api, *EMAIL, "--now")
    assert len(api.road.mail.sent) == 1


async def test_whatever_the_network_loses_the_command_orders_once(api: Api, proxy: Proxy) -> None:
    await ordered(api, *EMAIL, url=proxy.client("a", [Fault.LOST, Fault.AWAY, Fault.GATEWAY]))
    assert len(await stored(api)) == 1


async def test_who_must_repeat_an_order_is_told_how(api: Api, proxy: Proxy) -> None:
    failed = await varsel(api, "order", *EMAIL, url=proxy.client("a", [Fault.LOST, Fault.GONE]), code=1)
    assert "Nobody knows whether the order stands" in failed.output
    id_ = failed.output.partition("--idempotency-id ")[2].partition(":")[0]
    again = await varsel(api, "order", *EMAIL, "--idempotency-id", id_)
    assert again.output.startswith("Was ordered before: ")
    assert await stored(api) == [id_]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "whom is it for?"),
        (("--person", PERSON, "--email", "a@example.com"), "whom is it for?"),
        (("--person", PERSON, "order.json"), "either a FILE or --person"),
        (("--email", "a@example.com", "--text", "x"), "--subject"),
        (("--mobile", "+4799999501"), "--text"),
        (("--mobile", "+4799999501", "--text", "x", "--at", "2030-01-01T10:00"), "no zone"),
        (("--mobile", "+4799999501", "--text", "x", "--at", "tomorrow"), "not a time"),
        (("--mobile", "+4799999501", "--text", "x", "--remind-text", "y"), "--remind-after"),
        (("--person", PERSON, "--text", "x", "--now"), "nobody is looked up"),
        (("nowhere.json",), "cannot be read"),
        (("--email", "kari", "--subject", "x", "--text", "y"), "Recipient.RecipientEmail.EmailAddress"),
        (("--person", "03817012345", "--text", "x"), "Missing contact information"),
    ],
)
async def test_what_is_wrong_is_named(api: Api, words: tuple[str, ...], told: str) -> None:
    refused = await varsel(api, "order", *words, code=2)
    assert told in refused.output
    assert await stored(api) == []


async def test_json_that_is_none_is_told(api: Api) -> None:
    for given in ("{", "[]"):
        assert "JSON" in (await varsel(api, "order", "-", given=given, code=2)).output


# Tokens and addresses


async def test_who_has_no_token_is_told_how_to_get_one(api: Api, tmp_path: Path) -> None:
    def run(*words: str, **more: str) -> Result:
        env = {"VARSEL_TOKEN": None, "VARSEL_ORG": None, "VARSEL_HOME": None, "VARSEL_CONFIG": None, **more}
        return CliRunner().invoke(cli, ["status", str(UUID(int=1)), *words], env=env)

    nobody = run("--home", str(tmp_path / "nowhere"))
    assert (nobody.exit_code, "no local issuer" in nobody.output, "--token" in nobody.output) == (2, True, True)
    unnamed = run("--home", str(tmp_path))  # the API's own, which has an issuer
    assert (unnamed.exit_code, "--org NAME" in unnamed.output) == (2, True)
    url = f"http://127.0.0.1:{api.client.port}"
    named = await asyncio.to_thread(run, "--org", "ttd", "--home", str(tmp_path), "--url", url)
    assert (named.exit_code, "Shipment not found (404)" in named.output) == (2, True)
    wrong = await asyncio.to_thread(run, "--token", "x", "--url", url)
    assert (wrong.exit_code, "VARSEL_TOKEN" in wrong.output) == (2, True)
    assert "--url" in run("--token", "x", "--url", "notify").output


async def test_a_service_that_is_not_there_is_told_with_what_to_do(api: Api) -> None:
    down = await varsel(api, "preview", *EMAIL, url="http://127.0.0.1:1", code=1)
    assert "varsel up" in down.output
    assert "trying again in" in down.output


# Following


@pytest.mark.parametrize(("verdict", "code"), [(Verdict.DELIVERED, 0), (Verdict.FAILED, 1)])
async def test_a_shipment_is_followed_until_its_fate(api: Api, verdict: Verdict, code: int) -> None:
    shipment = (await ordered(api, *EMAIL))["notification"]["shipmentId"]
    following = asyncio.ensure_future(varsel(api, "status", shipment, "--follow", code=code))
    await finish(api, shipment, verdict)
    lines = (await following).output.splitlines()
    assert "Order_Completed" in lines[-1] + lines[-2]
    assert len(set(lines)) == len(lines)
    told = await varsel(api, "status", shipment, "--follow", "--json", code=code)
    assert [json.loads(line)["status"] for line in told.stdout.splitlines()] == ["Order_Completed"]


async def test_an_order_can_be_followed_at_once_and_for_so_long(api: Api) -> None:
    late = await varsel(api, "order", *EMAIL, "--at", "2030-01-01T10:00+01:00")
    shipment = late.output.split()[2]
    over = await varsel(api, "status", shipment, "--follow", "--within", "1s", code=1)
    assert "the time is over" in over.output


# Previews


async def test_a_preview_shows_who_is_reached_and_what_it_says(api: Api) -> None:
    api.road.directory.known_names = {PERSON: "ROLIG FJORD"}
    shown = await varsel(api, "preview", "--person", PERSON, "--subject", "A letter", "--text", "For $recipientName$.")
    assert "per@example.com" in shown.output
    assert "For ROLIG FJORD." in shown.output
    assert "1 of 1 reached: 1 by email, 0 by SMS." in shown.output
    told = await varsel(api, "preview", "--person", "03817012345", "--text", "x", code=1)
    assert "The order would be refused: no address for 03817012345." in told.output
    assert json.loads((await varsel(api, "preview", *EMAIL, "--json")).stdout)["accepted"]
    assert await stored(api) == []


# The feed


async def test_the_feed_goes_on_where_it_stopped_also_after_a_kill(api: Api, tmp_path: Path) -> None:
    cursor = tmp_path / "cursor"
    shipments: list[str] = []

    async def end(count: int) -> None:
        for _ in range(count):
            shipments.append((await ordered(api, *EMAIL))["notification"]["shipmentId"])
            await finish(api, shipments[-1])

    command = [sys.executable, "-m", "varsel", "feed", "--follow", "--json", "--cursor", str(cursor)]

    def first(count: int) -> list[str]:
        env = {**os.environ, **variables(api)}
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            found = [process.stdout.readline() for _ in range(count)]
            process.send_signal(signal.SIGKILL)
            found += process.stdout.readlines()  # it may have been quicker than the kill
        return [json.loads(line)["shipmentId"] for line in found]

    await end(3)
    told = await asyncio.to_thread(first, 2)
    await end(2)
    told += await asyncio.to_thread(first, 1)
    rest = await varsel(api, "feed", "--cursor", str(cursor), "--json")
    told += [json.loads(line)["shipmentId"] for line in rest.stdout.splitlines()]
    assert list(dict.fromkeys(told)) == shipments  # one may come again, none is left out
    assert (await varsel(api, "feed", "--cursor", str(cursor))).output == ""
    lines = (await varsel(api, "feed", "--after", "0")).output.splitlines()
    assert [line.split()[3] for line in lines] == shipments
    assert all("Email_Delivered" in line for line in lines)


async def test_a_cursor_that_is_none_is_told_and_stays(api: Api, tmp_path: Path) -> None:
    cursor = tmp_path / "cursor"
    cursor.write_text("elsewhere")
    assert "holds no sequence number" in (await varsel(api, "feed", "--cursor", str(cursor), code=2)).output
    assert cursor.read_text() == "elsewhere"
