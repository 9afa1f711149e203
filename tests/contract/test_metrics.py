"""The metrics page and the daily files (http-api 18; processing 9.1, 9.2)."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from pyarrow import parquet
from pydantic import SecretStr

from fakes import FakeProvider
from operations import KEY, anonymous, serving_with
from serving import ORDERS, Api, Reply
from varsel.db import execute
from varsel.delivery.ports import Confirms, Deferred, Verdict
from varsel.recipients.ports import PersonContact

PAGE: Final = "/notifications/api/v1/metrics"
MAIL: Final = {"subject": "Receipt", "body": "Thank you.", "recipients": [{"emailAddress": "kari@example.com"}]}
TEXT: Final = {"body": "Thank you, $recipientNumber$", "recipients": [{"mobileNumber": "+4799999501"}]}


# The metrics page


@pytest.mark.assertion("http-api", 147)
async def test_the_page_shows_a_form(api: Api) -> None:
    reply = await api.client.aget(PAGE, headers=anonymous())
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    text = reply.content.decode()
    assert re.findall(r"<option[^>]*>(20\d\d)</option>", text) == [str(year) for year in range(2026, 2020, -1)]
    assert "<option selected>11</option>" in text
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]


async def month(api: Api, body: bytes, content_type: str = "application/x-www-form-urlencoded") -> Reply:
    return await api.client.apost(PAGE, body, headers=anonymous(**{"Content-Type": content_type}))


def cells(reply: Reply) -> list[list[str]]:
    assert reply.status == 200, reply.content
    body = reply.content.decode().partition("<tbody>")[2]
    rows = re.findall(r"<tr>(.*?)</tr>", body)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


async def test_the_page_counts_a_months_orders_by_organisation(api: Api) -> None:
    api.road.mail = FakeProvider("mail", answers=lambda _: Deferred("later"))
    for org, path, body in (
        ("ttd", "email", {**MAIL, "recipients": [{"emailAddress": f"p{n}@example.com"} for n in range(3)]}),
        ("ttd", "sms", TEXT),
        ("<xyz>", "sms", TEXT),
        ("ttd", "sms", {**TEXT, "requestedSendTime": "2026-12-01T00:00:00Z"}),
    ):
        assert (await api.client.apost(f"{ORDERS}/{path}", body, org=org)).status == 202
    await api.road.run()
    async with api.road.db.autocommit() as conn:
        await execute(conn, "UPDATE notification SET segments = 3 WHERE state = 'accepted'", {})
    assert cells(await month(api, b"month=11&year=2026")) == [
        ["&lt;xyz&gt;", "1", "0", "0", "1", "3", "1"],
        ["ttd", "2", "3", "0", "1", "3", "1"],
    ]
    assert cells(await month(api, b"month=12&year=2026")) == [["ttd", "1", "0", "0", "0", "0", "0"]]
    assert b"no orders" in (await month(api, b"month=10&year=2026")).content


async def test_the_form_may_come_in_parts(api: Api) -> None:
    part = "--b\r\nContent-Disposition: form-data; name={}\r\n\r\n{}\r\n"
    body = (part.format('"month"', "3") + part.format("year", "2025") + "--b--\r\n").encode()
    reply = await month(api, body, "multipart/form-data; boundary=b")
    assert b"no orders to be sent in 2025-03" in reply.content


@pytest.mark.parametrize(
    ("body", "keys"),
    [
        (b"month=13&year=2026", {"month"}),
        (b"month=0&year=2026", {"month"}),
        (b"month=x&year=y", {"month", "year"}),
        (b"month=1&year=99999", {"year"}),
        (b"", {"month", "year"}),
    ],
)
async def test_a_month_that_is_none_is_refused(api: Api, body: bytes, keys: set[str]) -> None:
    assert (await month(api, body)).errors.keys() == keys


async def test_a_form_of_another_kind_or_size_is_refused(api: Api) -> None:
    assert (await month(api, b"{}", "application/json")).status == 415
    assert (await month(api, b"month=1&year=2026&x=" + b"x" * 20_000)).status == 413


# The daily files


@pytest.mark.assertion("http-api", 145)
async def test_the_files_need_the_key(api: Api, tmp_path: Path) -> None:
    async with serving_with(api, tmp_path, metrics_key=SecretStr(KEY)) as client:
        for path in ("sms", "email"):
            for key, error in (
                (None, "API key required for Metrics endpoints"),
                ("", "API key cannot be empty"),
                ("  ", "API key cannot be empty"),
                (KEY[:-1], "Invalid API key"),
            ):
                reply = await client.apost(f"{PAGE}/{path}", None, headers=anonymous(**{"X-API-Key": key}))
                assert (reply.status, _error(reply)) == (401, error)
    reply = await api.client.apost(f"{PAGE}/sms", None, headers=anonymous(**{"X-API-Key": KEY}))
    assert (reply.status, _error(reply)) == (401, "API key validation not configured")


def _error(reply: Reply) -> Any:
    return json.loads(reply.content)["error"]


async def download(api: Api, home: Path, kind: str) -> tuple[Reply, list[dict[str, Any]]]:
    async with serving_with(api, home, metrics_key=SecretStr(KEY)) as client:
        reply = await client.apost(f"{PAGE}/{kind}", None, headers=anonymous(**{"X-API-Key": KEY}))
    assert reply.status == 200, reply.content
    rows: list[dict[str, Any]] = parquet.read_table(pa.BufferReader(reply.content)).to_pylist()
    return reply, rows


@pytest.mark.assertion("http-api", 146)
async def test_the_email_file_holds_yesterdays_results(api: Api, tmp_path: Path) -> None:
    order = (await api.client.apost(f"{ORDERS}/email", {**MAIL, "sendersReference": "r-1"})).json["orderId"]
    await api.client.apost(f"{ORDERS}/email", {**MAIL, "resourceId": "app_ttd_x"})
    await api.road.run()
    first, second = sorted(await api.road.rows(), key=lambda row: row.id)
    await api.road.report(first.id, Verdict.DELIVERED)
    await api.road.run()
    api.road.clock.advance(timedelta(days=1))
    await api.road.report(second.id, Verdict.FAILED)
    await api.road.run()
    reply, rows = await download(api, tmp_path, "email")
    assert rows == [
        {
            "EmailId": first.id.int >> 65,
            "ShipmentId": str(first.id),
            "SendersReference": "r-1",
            "RequestedSendTime": "2026-11-23T10:00:00.0000000Z",
            "CreatorName": "ttd",
            "ResourceId": None,
            "Result": "Delivered",
            "OperationId": "",
            "OrderId": order,
        }
    ]
    assert reply.headers["Content-Type"] == "application/octet-stream"
    assert "20261123_email_notifications_development.parquet" in reply.headers["Content-Disposition"]
    assert reply.headers["Content-Disposition"].startswith("attachment;")
    assert reply.headers["X-File-Hash"] == base64.b64encode(hashlib.md5(reply.content).digest()).decode()  # noqa: S324
    assert reply.headers["X-File-Size"] == str(len(reply.content))
    assert reply.headers["X-Total-FileTransfer-Count"] == "1"
    assert datetime.fromisoformat(reply.headers["X-Generated-At"]) == datetime(2026, 11, 24, 10, tzinfo=UTC)
    assert reply.headers["X-Environment"] == "development"
    api.road.clock.advance(timedelta(days=1))
    _, rows = await download(api, tmp_path, "email")
    assert [(row["Result"], row["ResourceId"]) for row in rows] == [("Failed_Bounced", "app_ttd_x")]


async def test_the_sms_file_tells_of_length_rate_and_country(api: Api, tmp_path: Path) -> None:
    recipients = [
        {"mobileNumber": "+4799999501"},
        {"mobileNumber": "+46701740605"},
        {"organizationNumber": "910000017"},
    ]
    await api.client.apost(f"{ORDERS}/sms", {**TEXT, "recipients": recipients})
    await api.road.run()
    for row in await api.road.rows():
        if row.state == "accepted":
            await api.road.report(row.id, Verdict.DELIVERED, provider="sms")
    await api.road.run()
    api.road.clock.advance(timedelta(days=1))
    reply, rows = await download(api, tmp_path, "sms")
    told = [(r["Result"], r["Rate"], r["MobileNumberPrefix"], r["AltinnSmsBodyLength"]) for r in rows]
    assert told == [
        ("Delivered", "innland", "+479", 28),
        ("Delivered", "utland", "+467", 28),
        ("Failed_RecipientNotIdentified", "n/a", "", 28),
    ]
    assert {(r["AltinnSmsCount"], r["AltinnSmsCustomBodyLength"], r["GatewayReference"]) for r in rows} == {(1, 0, "")}
    schema = parquet.read_schema(pa.BufferReader(reply.content))
    assert schema.field("SmsId").type == pa.int64()
    assert schema.field("AltinnSmsCount").type == pa.int32()


async def test_a_text_with_a_name_is_counted_filled(api: Api, tmp_path: Path) -> None:
    nin = "01817012345"
    api.road.directory.people = {nin: PersonContact(reserved=False, mobile="+4799999502")}
    api.road.directory.known_names = {nin: "ø" * 30}
    body = {"body": "$recipientName$", "recipients": [{"nationalIdentityNumber": nin}]}
    await api.client.apost(f"{ORDERS}/sms", body)
    await api.road.run()
    (row,) = await api.road.rows()
    await api.road.report(row.id, Verdict.DELIVERED, provider="sms")
    await api.road.run()
    api.road.clock.advance(timedelta(days=1))
    _, (told,) = await download(api, tmp_path, "sms")
    lengths = (told["AltinnSmsBodyLength"], told["AltinnSmsCustomBodyLength"], told["AltinnSmsCount"])
    assert lengths == (15, 30, 2)


async def test_a_message_that_settled_is_in_one_file_alone(api: Api, tmp_path: Path) -> None:
    api.road.mail = FakeProvider("mail", confirms=Confirms.NOTHING)
    api.road.clock.set(datetime(2026, 11, 23, 20, tzinfo=UTC))  # settles at two in the night
    await api.client.apost(f"{ORDERS}/email", MAIL)
    await api.road.run()
    found = []
    for _ in range(4):
        api.road.clock.advance(timedelta(days=1))
        await api.road.run()
        _, rows = await download(api, tmp_path, "email")
        found += [(row["Result"], f"{api.road.clock.now():%d}") for row in rows]
    assert found == [("Succeeded", "25")]


def test_without_the_extra_the_answer_says_what_is_missing(tmp_path: Path) -> None:
    script = """
import sys
sys.modules["pyarrow"] = None
from pathlib import Path
from varsel.api.parquet import Column, ParquetMissing, ParquetWriter
try:
    ParquetWriter(Path(sys.argv[1]), [Column("a", "string")])
except ParquetMissing:
    print("missing")
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "x"], capture_output=True, text=True, check=True)
    assert done.stdout == "missing\n"
