"""Bulk jobs over HTTP: a file becomes orders, in the steps that docs/bulk.md tells."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import openpyxl
import pytest

from bulk_world import INGRID, NOBODY, RESERVED, BulkWorld, addresses, bulk_world, lines
from serving import Api, Client, Reply, make_parts, serving
from varsel.api.app import create_app
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.settings import BulkSettings, Settings

PATH: Final = "/notifications/api/v1/future/bulk"
CSV: Final = {"Content-Type": "text/csv"}
XLSX: Final = {"Content-Type": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}
WISH: Final = {
    "recipientColumn": "fnr",
    "recipientKind": "person",
    "channelSchema": "SmsPreferred",
    "emailSettings": {"subject": "Sak {sak}", "body": "Hei {navn}"},
    "smsSettings": {"body": "Hei {navn}, sak {sak}", "sendingTimePolicy": "Anytime"},
    "sendersReference": "{sak}",
}
PEOPLE: Final = lines(
    ["fnr", "navn", "sak"],
    [INGRID, "Ingrid", "1"],
    [RESERVED, "Siri", "2"],
    [NOBODY, "Nils", "3"],
    ["12", "Feil", "4"],
    [INGRID, "Ingrid", "1"],
)


@pytest.fixture
async def bulk(database: Database, clock: ManualClock) -> AsyncIterator[BulkWorld]:
    async with bulk_world(database, clock) as world:
        yield world


@pytest.fixture
async def api(bulk: BulkWorld, tmp_path: Path) -> AsyncIterator[Api]:
    settings = Settings(bulk=BulkSettings(max_file_bytes=10_000, max_rows=300))
    road = bulk.road
    parts = make_parts(tmp_path, road.clock, road.db, road._register.register_order, settings)
    assert parts.issuer
    async with serving(create_app(parts)) as port:
        yield Api(Client(port, parts.issuer), road)


async def call(api: Api, method: str, path: str, body: object = None, **how: Any) -> Reply:
    return await asyncio.to_thread(api.client.call, method, path, body, **how)


async def upload(api: Api, content: bytes, headers: Mapping[str, str] = CSV) -> Reply:
    return await call(api, "POST", f"{PATH}?name=letters.csv", content, headers=headers)


async def checked(api: Api, bulk: BulkWorld, content: str = PEOPLE, wish: object = WISH) -> dict[str, Any]:
    job = (await upload(api, content.encode())).json
    path = f"{PATH}/{job['id']}"
    reply = await call(api, "PUT", path, wish)
    assert (reply.status, reply.json["state"]) == (200, "checking")
    while (answer := (await call(api, "GET", path)).json)["state"] == "checking":
        await bulk.turns.take_turn()
    found: dict[str, Any] = answer
    return found


async def test_a_file_is_uploaded_checked_confirmed_and_sent(api: Api, bulk: BulkWorld) -> None:
    reply = await upload(api, PEOPLE.encode())
    assert reply.status == 201
    draft = reply.json
    path = f"{PATH}/{draft['id']}"
    assert reply.headers["Location"] == f"http://localhost:5090{path}"
    assert draft["guess"] == {"recipientColumn": "fnr", "recipientKind": "person"}
    assert (draft["state"], draft["rows"], draft["columns"]) == ("draft", 5, ["fnr", "navn", "sak"])
    ready = await checked(api, bulk)
    assert ready["state"] == "ready"
    assert ready["summary"] == {
        "email": 0,
        "sms": 1,
        "both": 0,
        "reserved": 1,
        "withoutContact": 1,
        "blocked": 0,
        "smsParts": 1,
        "repeated": 1,
        "currency": "NOK",
        "unpriced": 1,
    }
    assert [(p["line"], p["column"], p["problem"]) for p in ready["problems"]] == [(5, "fnr", "notAPerson")]
    assert ready["repeatedLines"] == [6]
    path = f"{PATH}/{ready['id']}"
    for body, why in (({"rows": 3}, "bad rows"), ({"rows": 4, "leaveOutBad": True}, "3 rows would be sent, not 4")):
        refused = await call(api, "POST", f"{path}/confirm", body)
        assert refused.status == 409
        assert why in refused.json["detail"]
    assert await bulk.orders() == 0
    assert (await call(api, "POST", f"{path}/confirm", {"rows": 3, "leaveOutBad": True})).json["state"] == "sending"
    for _ in range(4):
        await bulk.turns.take_turn()
        await bulk.road.run()
    done = (await call(api, "GET", path)).json
    assert (done["state"], done["settled"]) == ("finished", 3)
    assert done["counts"]["unconfirmed"] == done["counts"]["unreachable"] == done["counts"]["notSent"] == 1
    assert [message.to for message in bulk.road.sms.sent] == ["+4799999501"]
    result = await call(api, "GET", f"{path}/result")
    assert result.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(result.content.decode("utf-8-sig"))))
    assert [(row["line"], row["fate"]) for row in rows] == [
        ("2", "unconfirmed"),
        ("3", "notSent"),
        ("4", "unreachable"),
        ("5", "bad"),
        ("6", "duplicate"),
    ]


async def test_a_spreadsheet_is_taken_too(api: Api, bulk: BulkWorld) -> None:
    book, out = openpyxl.Workbook(), io.BytesIO()
    for row in (["fnr", "navn", "sak"], [int(INGRID), "Ingrid", 4471]):
        book.active.append(row)
    book.save(out)
    job = (await upload(api, out.getvalue(), XLSX)).json
    assert (job["form"], job["rows"], job["guess"]["recipientKind"]) == ("xlsx", 1, "person")


async def test_jobs_pause_resume_and_stop_and_are_listed(api: Api, bulk: BulkWorld) -> None:
    bulk.ahead = 1
    bulk.turns = bulk.worker()
    mail = {"recipientColumn": "email", "recipientKind": "email", "channelSchema": "Email"}
    settings = {"emailSettings": {"subject": "Hei", "body": "Hei"}}
    ready = await checked(api, bulk, addresses(3), {**mail, **settings})
    path = f"{PATH}/{ready['id']}"
    for act in ("pause", "resume", "stop"):
        assert (await call(api, "POST", f"{path}/{act}")).status == 409
    await call(api, "POST", f"{path}/confirm", {"rows": 3})
    assert (await call(api, "PUT", path, {**mail, **settings})).status == 409
    for act, state in (("pause", "paused"), ("resume", "sending"), ("stop", "stopping")):
        assert (await call(api, "POST", f"{path}/{act}")).json["state"] == state
    await bulk.turns.take_turn()
    assert (await call(api, "GET", path)).json["counts"]["stopped"] == 3
    listed = (await call(api, "GET", PATH)).json
    assert [(job["id"], job["state"]) for job in listed["jobs"]] == [(ready["id"], "stopped")]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"recipientColumn": "nobody"}, "RecipientColumn"),
        ({"recipientKind": "email"}, "ChannelSchema"),
        ({"smsSettings": None}, "SmsSettings"),
        ({"emailSettings": {"subject": "{ukjent}", "body": "x"}}, "EmailSettings.Subject"),
        ({"smsSettings": {"body": "{ukjent}"}}, "SmsSettings.Body"),
        ({"sendersReference": "{ukjent}"}, "SendersReference"),
        ({"requestedSendTime": "2026-11-22T10:00:00Z"}, "RequestedSendTime"),
        ({"resourceId": "x"}, "ResourceId"),
        ({"recipientKind": "dog"}, "$.recipientKind"),
    ],
)
async def test_a_wish_that_cannot_be_is_told_by_the_path_of_its_property(
    api: Api, change: dict[str, Any], path: str
) -> None:
    job = (await upload(api, PEOPLE.encode())).json
    assert (await call(api, "PUT", f"{PATH}/{job['id']}", {**WISH, **change})).errors.keys() == {path}


async def test_files_that_cannot_be_taken_are_told_why(api: Api) -> None:
    bad = await upload(api, "navn\r\nåse\r\n".encode("latin-1"))
    assert bad.errors == {"file": ["Line 2: The text is not UTF-8. Save the file as CSV in UTF-8."]}
    assert (await upload(api, b"a\r\n" + b"1\r\n" * 301)).errors["file"][0].startswith("Line 302:")
    assert (await upload(api, b"a" * 10_001)).status == 413
    assert (await upload(api, b"{}", {"Content-Type": "application/json"})).status == 415
    assert (await call(api, "GET", PATH)).json["count"] == 0


async def test_a_job_is_its_creators_alone(api: Api) -> None:
    job = (await upload(api, PEOPLE.encode())).json
    path = f"{PATH}/{job['id']}"
    for method, where, body in (
        ("GET", path, None),
        ("GET", f"{path}/result", None),
        ("PUT", path, WISH),
        ("POST", f"{path}/confirm", {"rows": 1}),
        ("POST", f"{path}/stop", None),
    ):
        assert (await call(api, method, where, body, org="skd")).status == 404
    assert (await call(api, "GET", PATH, org="skd")).json == {"count": 0, "jobs": []}
    assert (await call(api, "GET", f"{PATH}/{uuid4()}")).status == 404
    assert (await call(api, "GET", f"{PATH}/x")).errors.keys() == {"id"}
