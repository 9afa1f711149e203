"""Support's look-ups by recipient (http-api 20), and the creator's notification log by dialog (processing 9.3)."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote

import pytest

from serving import ORDERS, Api, Reply
from varsel.db import execute, fetch
from varsel.delivery.ports import Verdict
from varsel.issuer import DASHBOARD_SCOPE
from varsel.recipients.ports import OrganisationContact, PersonContact
from varsel.status.support_store import BY_SUBJECT, LOG

CHAINS: Final = "/notifications/api/v1/future/orders"
DASHBOARD: Final = "/notifications/api/v1/future/dashboard/recipients/notifications"
LOG_PATH: Final = "/notifications/api/v1/future/log"
P_OK, P_RES, ORG = "01817012345", "02817012345", "910000017"
MAIL: Final = {"subject": "Receipt", "body": "Thank you."}


@pytest.fixture(autouse=True)
def _people(api: Api) -> None:
    directory = api.road.directory
    directory.people = {
        P_OK: PersonContact(reserved=False, email="per@example.com", mobile="+4799999502"),
        P_RES: PersonContact(reserved=True, email="siri@example.com"),
    }
    directory.official = {ORG: OrganisationContact(("post@example.com", "mail@example.com"), (), ORG)}


async def looked_up(api: Api, where: str, headers: Mapping[str, str | None], query: str = "", **how: Any) -> Reply:
    usual = {"org": None, "scopes": (DASHBOARD_SCOPE,), **how}
    return await api.client.aget(f"{DASHBOARD}/{where}{query}", headers=headers, **usual)


async def run(api: Api) -> None:
    """Everything that is due; then a moment passes, for the present itself lies outside of the range."""
    await api.road.run()
    api.road.clock.advance(timedelta(seconds=1))


async def by_person(api: Api, person: str = P_OK, query: str = "", **how: Any) -> Reply:
    return await looked_up(api, "nin", {"NationalIdentityNumber": person}, query, **how)


async def placed(api: Api, recipient: Mapping[str, str], org: str = "ttd", **changes: Any) -> str:
    body = {
        "notificationChannel": "EmailPreferred",
        "emailTemplate": MAIL,
        "smsTemplate": {"body": "Thank you."},
        "recipients": [recipient],
        **changes,
    }
    reply = await api.client.apost(ORDERS, body, org=org)
    assert reply.status == 202, reply.content
    return str(reply.json["orderId"])


def person(nin: str) -> dict[str, str]:
    return {"nationalIdentityNumber": nin}


def ago(api: Api, **span: float) -> str:
    return (api.road.clock.now() - timedelta(**span)).isoformat().replace("+00:00", "Z")


@pytest.mark.assertion("http-api", 10)
async def test_only_the_support_scope_opens_the_look_ups(api: Api) -> None:
    how: list[tuple[dict[str, Any], int]] = [
        ({"org": "ttd", "scopes": ("altinn:serviceowner/notifications.create",)}, 403),
        ({}, 200),
    ]
    for given, status in how:
        assert (await by_person(api, **given)).status == status
    none = {"NationalIdentityNumber": P_OK, "Authorization": None}
    assert (await looked_up(api, "nin", none)).status == 401
    token = {**none, "PlatformAccessToken": api.client.issuer.mint_platform("ttd", timedelta(hours=1))}
    assert (await looked_up(api, "nin", token)).status == 401


async def test_a_person_is_found_over_all_creators_newest_order_first(api: Api) -> None:
    first = await placed(api, person(P_OK), sendersReference="r-1", resourceId="app_ttd_x")
    await placed(api, {"emailAddress": "per@example.com"})
    await api.road.run()
    api.road.clock.advance(timedelta(minutes=1))
    second = await placed(api, person(P_OK), org="xyz", notificationChannel="EmailAndSms")
    await run(api)
    reply = await by_person(api)
    assert reply.json == [
        {
            "shipmentId": second,
            "creatorName": "xyz",
            "requestedSendTime": "2026-11-23T10:01:00Z",
            "notificationChannel": "EmailAndSms",
            "notificationType": "Notification",
            "deliveryAttempts": [
                {
                    "nationalIdentityNumber": P_OK,
                    "channel": "email",
                    "emailAddress": "per@example.com",
                    "result": "Succeeded",
                    "resultTime": "2026-11-23T10:01:00Z",
                },
                {
                    "nationalIdentityNumber": P_OK,
                    "channel": "sms",
                    "mobileNumber": "+4799999502",
                    "result": "Accepted",
                    "resultTime": "2026-11-23T10:01:00Z",
                },
            ],
        },
        {
            "shipmentId": first,
            "creatorName": "ttd",
            "resourceId": "app_ttd_x",
            "sendersReference": "r-1",
            "requestedSendTime": "2026-11-23T10:00:00Z",
            "notificationChannel": "EmailPreferred",
            "notificationType": "Notification",
            "deliveryAttempts": [
                {
                    "nationalIdentityNumber": P_OK,
                    "channel": "email",
                    "emailAddress": "per@example.com",
                    "result": "Succeeded",
                    "resultTime": "2026-11-23T10:00:00Z",
                }
            ],
        },
    ]


async def test_a_reserved_person_is_found_with_the_reason_and_no_address(api: Api) -> None:
    await placed(api, person(P_RES))
    await run(api)
    (order,) = (await by_person(api, P_RES)).json
    (attempt,) = order["deliveryAttempts"]
    assert (attempt["result"], attempt["emailAddress"]) == ("Failed_RecipientReserved", "")


async def test_expiry_is_told_by_its_own_name(api: Api) -> None:
    await placed(api, person(P_OK))
    await api.road.run()
    api.road.clock.advance(timedelta(hours=49))
    await api.road.run()
    (order,) = (await by_person(api)).json
    assert [attempt["result"] for attempt in order["deliveryAttempts"]] == ["Failed_TTL"]


@pytest.mark.assertion("http-api", 151)
async def test_an_organisation_is_found_by_its_number(api: Api) -> None:
    await placed(api, {"organizationNumber": ORG})
    await run(api)
    (order,) = (await looked_up(api, "orgnumber", {"OrganizationNumber": ORG})).json
    assert [a["emailAddress"] for a in order["deliveryAttempts"]] == ["post@example.com", "mail@example.com"]
    for attempt in order["deliveryAttempts"]:
        assert attempt["organizationNumber"] == ORG
        assert "nationalIdentityNumber" not in attempt
    assert (await looked_up(api, "orgnumber", {"OrganizationNumber": "910000025"})).json == []


async def test_the_number_of_one_kind_does_not_find_the_other(api: Api) -> None:
    await placed(api, person(P_OK))
    await api.road.run()
    async with api.road.db.autocommit() as conn:
        await execute(conn, "UPDATE notification SET subject_kind = 'organisation'", {})
    assert (await by_person(api)).json == []


@pytest.mark.assertion("http-api", 150)
@pytest.mark.parametrize(
    ("given", "query", "keys"),
    [
        (None, "", {"NationalIdentityNumber"}),
        ("", "", {"NationalIdentityNumber"}),
        ("1" * 10, "", {"NationalIdentityNumber"}),
        ("1" * 10 + "x", "?from=x", {"NationalIdentityNumber", "from"}),
        (P_OK, "?from=2026-11-20T10:00:00", {"from"}),
        (P_OK, "?from=2026-11-22T10:00:00Z&to=2026-11-21T10:00:00Z", {"from"}),
        (P_OK, "?from=2026-11-22T10:00:00Z&to=2026-11-22T10:00:00Z", {"from"}),
        (P_OK, "?to=2026-11-23T10:00:01Z", {"to"}),
        (P_OK, "?from=2026-11-23T10:00:01Z", {"from"}),
        (P_OK, "?from=2016-11-23T09:59:59Z", {"from"}),
        (P_OK, "?to=2026-11-16T10:00:00Z", {"to"}),
        (P_OK, "?TO=2026-11-22", {"to"}),
    ],
)
async def test_a_wrong_header_or_range_is_refused(api: Api, given: str | None, query: str, keys: set[str]) -> None:
    headers = {} if given is None else {"NationalIdentityNumber": given}
    assert (await looked_up(api, "nin", headers, query)).errors.keys() == keys


async def test_a_wrong_organisation_number_is_refused(api: Api) -> None:
    reply = await looked_up(api, "orgnumber", {"OrganizationNumber": "12345678"})
    assert reply.errors.keys() == {"OrganizationNumber"}


async def test_the_range_is_half_open_and_is_the_last_week_by_default(api: Api) -> None:
    await placed(api, person(P_OK))
    await api.road.run()
    api.road.clock.advance(timedelta(days=3))
    assert len((await by_person(api)).json) == 1
    at = "2026-11-23T10:00:00Z"
    assert len((await by_person(api, query=f"?from={at}")).json) == 1
    assert (await by_person(api, query=f"?from={ago(api, days=9)}&to={at}")).json == []
    assert len((await by_person(api, query="?from=2026-11-23T11:00:00+01:00")).json) == 1  # the plus is not escaped
    api.road.clock.advance(timedelta(days=4, seconds=1))
    assert (await by_person(api)).json == []
    assert len((await by_person(api, query="?from=2016-12-01T00:00:00Z")).json) == 1


# The notification log


def chain(dialog: str | None, transmission: str | None, key: str, recipient: object = None) -> dict[str, Any]:
    ids = {"dialogId": dialog, "transmissionId": transmission}
    return {
        "idempotencyId": key,
        "sendersReference": key,
        "dialogportenAssociation": {name: value for name, value in ids.items() if value is not None},
        "recipient": recipient or {"recipientEmail": {"emailAddress": "kari@example.com", "emailSettings": MAIL}},
    }


async def logged(api: Api, query: str, **how: Any) -> list[Any]:
    reply = await api.client.aget(f"{LOG_PATH}{query}", **how)
    assert reply.status == 200, reply.content
    entries: list[Any] = reply.json
    return entries


@pytest.mark.assertion("processing", 131)
async def test_the_log_tells_of_completed_orders_by_dialog_and_transmission(api: Api) -> None:
    to_person = {
        "recipientPerson": {"nationalIdentityNumber": P_OK, "channelSchema": "Sms", "smsSettings": {"body": "Hi"}}
    }
    reply = await api.client.apost(CHAINS, chain("d-1", "t-1", "a", to_person))
    await api.client.apost(CHAINS, chain("d-1", "t-2", "b"))
    await api.road.run()
    assert await logged(api, "?dialogId=d-1") == []  # nothing is final yet
    for row in await api.road.rows():
        await api.road.report(row.id, Verdict.DELIVERED, provider="sms" if row.channel == "sms" else "mail")
    await api.road.run()
    assert [e["sendersReference"] for e in await logged(api, "?dialogId=d-1")] == ["b", "a"]
    assert [e["sendersReference"] for e in await logged(api, "?transmissionId=t-2")] == ["b"]
    assert await logged(api, "?dialogId=d-1&transmissionId=t-3") == []
    (entry,) = await logged(api, "?DIALOGID=d-1&transmissionid=t-1")
    (row,) = [row for row in await api.road.rows() if row.channel == "sms"]
    assert entry == {
        "notificationOrderId": reply.json["notificationOrderId"],
        "shipmentId": reply.json["notification"]["shipmentId"],
        "notificationId": str(row.id),
        "sendersReference": "a",
        "dialogId": "d-1",
        "transmissionId": "t-1",
        "recipient": P_OK,
        "type": "Notification",
        "channel": "Sms",
        "destination": "+4799999502",
        "status": "Delivered",
        "requestedSendTime": "2026-11-23T10:00:00Z",
        "lastUpdate": "2026-11-23T10:00:00Z",
    }


async def test_the_log_shows_only_the_creators_own_and_needs_an_id(api: Api) -> None:
    await api.client.apost(CHAINS, chain("d-1", None, "a"))
    await api.road.run()
    for row in await api.road.rows():
        await api.road.report(row.id, Verdict.DELIVERED)
    await api.road.run()
    assert len(await logged(api, "?dialogId=d-1")) == 1
    assert await logged(api, "?dialogId=d-1", org="xyz") == []
    for query in ("", "?dialogId=", "?dialogId=%20&transmissionId="):
        assert (await api.client.aget(f"{LOG_PATH}{query}")).errors.keys() == {"dialogId"}
    assert (await api.client.aget(f"{LOG_PATH}?dialogId=d-1", scopes=("x",))).status == 403


async def test_dialog_ids_of_any_length_are_kept_apart(api: Api) -> None:
    ids = ["d" * 5_000, "d" * 5_000 + "e"]
    for id_ in ids:
        assert (await api.client.apost(CHAINS, chain(id_, None, id_[-1]))).status == 201
    await api.road.run()
    for row in await api.road.rows():
        await api.road.report(row.id, Verdict.DELIVERED)
    await api.road.run()
    assert [e["sendersReference"] for e in await logged(api, f"?dialogId={quote(ids[1])}")] == ["e"]


# Indexes


async def test_the_look_ups_use_their_indexes(api: Api) -> None:
    async with api.road.db.autocommit() as conn:
        await execute(conn, "SET enable_seqscan = off", {})
        now = api.road.clock.now()
        by_subject = {"key": P_OK, "kind": "person", "start": now - timedelta(days=7), "end": now, "limit": 10}
        log = {"creator": "ttd", "dialog": "d", "transmission": None, "limit": 10}
        plans = [
            "\n".join(await fetch(conn, "EXPLAIN " + BY_SUBJECT, by_subject, str)),
            "\n".join(await fetch(conn, "EXPLAIN " + LOG, log, str)),
        ]
    assert "subject_key = " in plans[0]
    assert "_subject_key_idx" in plans[0]
    assert "order_chain_dialog" in plans[1]
