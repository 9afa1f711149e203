"""Over a creator's limit every intake answers 429, names the limit, and says when to try again (channels 6.3)."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from quota_data import limits
from road import Road
from serving import ORDERS, Api, Client, Reply, make_parts, serving
from varsel.api.app import create_app
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.domain.quota import Counter, Limit
from varsel.orders.quotas import limits_of
from varsel.orders.register import Register
from varsel.settings import CreatorQuotaSettings, QuotaSettings

CHAINS: Final = "/notifications/api/v1/future/orders"
TO_SMS: Final = {"phoneNumber": "+4799999501", "smsSettings": {"body": "Text"}}
V1: Final = {"subject": "Subject", "body": "Body", "recipients": [{"emailAddress": "kari@example.com"}]}


@pytest.fixture
async def api(database: Database, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Api]:
    """Two emails, two SMS and one part abroad a day, for everybody."""
    road = Road(database, clock)
    configured = {Counter.EMAIL_RECIPIENTS: 2, Counter.SMS_RECIPIENTS: 2, Counter.INTERNATIONAL_SMS: 1}
    register = Register(database, road.directory, clock, road.waker, limits=limits(configured))
    parts = make_parts(tmp_path, clock, database, register.register_order, register_chain=register.register_chain)
    assert parts.issuer
    async with serving(create_app(parts)) as port:
        yield Api(Client(port, parts.issuer), road)
    await register.close()
    await road.waker.close()


def chain(number: str = "+4799999501", **changes: Any) -> dict[str, Any]:
    recipient = {"recipientSms": {**TO_SMS, "phoneNumber": number}}
    return {"idempotencyId": str(uuid4()), "recipient": recipient, **changes}


def over(reply: Reply, name: str, limit: int) -> None:
    assert reply.status == 429, reply.content
    problem = reply.json
    assert problem["type"] == "https://tools.ietf.org/html/rfc6585#section-4"
    assert (problem["title"], problem["status"]) == ("Too Many Requests", 429)
    assert (problem["limitName"], problem["limit"]) == (name, limit)
    assert problem["resetTime"] == "2026-11-23T23:00:00Z"  # midnight in Oslo
    assert name in problem["detail"]
    assert problem["traceId"].startswith("00-")
    assert reply.headers["Retry-After"] == str(13 * 3600)


@pytest.mark.assertion("channels", 99)
async def test_a_v1_order_over_the_limit_is_answered_429(api: Api) -> None:
    for _ in range(2):
        assert (await api.client.apost(f"{ORDERS}/email", V1)).status == 202
    over(await api.client.apost(f"{ORDERS}/email", V1), "emailRecipientsPerDay", 2)
    assert (await api.client.apost(f"{ORDERS}/email", V1, org="skd")).status == 202  # another creator


async def test_a_chain_over_the_limit_is_answered_429_and_its_repeat_when_it_was_within_as_before(api: Api) -> None:
    body = chain(reminders=[{"delayDays": 1, "recipient": {"recipientSms": TO_SMS}}])
    first = await api.client.apost(CHAINS, body)
    assert first.status == 201
    over(await api.client.apost(CHAINS, chain()), "smsRecipientsPerDay", 2)
    again = await api.client.apost(CHAINS, body)
    assert (again.status, again.json) == (200, first.json)


async def test_foreign_numbers_have_a_limit_of_their_own(api: Api) -> None:
    assert (await api.client.apost(CHAINS, chain("+46701740605"))).status == 201
    over(await api.client.apost(CHAINS, chain("+46701740605")), "internationalSmsPartsPerDay", 1)
    assert (await api.client.apost(CHAINS, chain())).status == 201


@pytest.mark.assertion("channels", 99)
async def test_cancelling_makes_room_for_another_order(api: Api) -> None:
    later = (api.road.clock.now() + timedelta(days=1)).isoformat()
    order = V1 | {"recipients": [{"emailAddress": f"p{i}@example.com"} for i in range(2)], "requestedSendTime": later}
    placed = await api.client.apost(f"{ORDERS}/email", order)
    over(await api.client.apost(f"{ORDERS}/email", V1), "emailRecipientsPerDay", 2)
    assert (await api.client.aput(f"{ORDERS}/{placed.json['orderId']}/cancel")).status == 200
    assert (await api.client.apost(f"{ORDERS}/email", V1)).status == 202


def test_a_creators_own_limits_go_before_those_of_everybody_and_0_is_none() -> None:
    own = {"SKD": CreatorQuotaSettings(email_recipients_per_day=0, sms_recipients_per_day=7)}
    told = limits_of(QuotaSettings(sms_requests_per_minute=90, creators=own))
    assert told("ttd")[Counter.EMAIL_RECIPIENTS] == Limit(1_000_000, 1_000_000)
    assert told("ttd")[Counter.SMS_REQUESTS] == Limit(90, 31, 1.5)
    assert Counter.EMAIL_REQUESTS not in told("ttd")
    assert Counter.EMAIL_RECIPIENTS not in told("skd")
    assert told("skd")[Counter.SMS_RECIPIENTS].told == 7
    assert told("skd")[Counter.SMS_REQUESTS] == Limit(90, 31, 1.5)
