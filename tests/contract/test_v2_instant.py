"""v2 instant messages over HTTP (http-api 7, 11, 14): what is taken, what is refused, and what a repeat hears."""

import asyncio
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import pytest

from serving import ORDERS, Api, Front, Reply
from varsel.delivery.ports import Blame, Deferred, Refused, Sms
from varsel.domain.notification import Reason
from varsel.domain.order import Chain, ContentType, Order, OrderChannel, OrderFamily, OrderKind, Recipient
from varsel.issuer import COMPOSED_SCOPE

FUTURE: Final = "/notifications/api/v1/future"
INSTANT: Final = f"{FUTURE}/orders/instant"
SMS: Final = f"{INSTANT}/sms"
EMAIL: Final = f"{INSTANT}/email"
NUMBER: Final = "+4799999501"


def sms(id_: str | None = None, **changes: Any) -> dict[str, Any]:
    """`changes` of the recipient."""
    to = {"phoneNumber": NUMBER, "timeToLiveInSeconds": 300, "smsSettings": {"body": "Your code is 123456"}}
    return {"idempotencyId": id_ or str(uuid4()), "recipientSms": without_gaps(to | changes)}


def email(id_: str | None = None, /, **changes: Any) -> dict[str, Any]:
    """`changes` of the settings."""
    settings = {"subject": "Code", "body": "Your code is 123456"}
    to = {"emailAddress": "kari@example.com", "emailSettings": without_gaps(settings | changes)}
    return {"idempotencyId": id_ or str(uuid4()), "recipientEmail": to}


def without_gaps(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not ...}


def taken(front: Front, path: str, body: object) -> tuple[Chain, Order]:
    """The order that came of a body that must be accepted."""
    reply = front.client.post(path, body)
    assert reply.status == 201, reply.content
    chain, (order,) = front.orders.chains[-1]
    return chain, order


def ids(reply: Reply) -> tuple[str, str, str | None]:
    notification = reply.json["notification"]
    return reply.json["notificationOrderId"], notification["shipmentId"], notification.get("sendersReference")


def keys(front: Front, path: str, body: object) -> set[str]:
    return set(front.client.post(path, body).errors)


@pytest.mark.assertion("http-api", 115)
async def test_a_message_that_was_sent_is_answered_with_its_ids_and_its_repeat_with_the_same(api: Api) -> None:
    body = {**sms(), "sendersReference": "login-991"}
    reply = await api.client.apost(SMS, body)
    assert reply.status == 201
    chain = reply.json["notificationOrderId"]
    assert reply.headers["Location"] == f"http://localhost:5090{ORDERS}/chain/{chain}"
    notification = reply.json["notification"]
    assert notification.keys() - {"smsReceipt"} == {"shipmentId", "sendersReference"}
    assert notification["sendersReference"] == "login-991"
    again = await api.client.apost(SMS, {**body, "sendersReference": "another"})
    assert again.status == 200
    assert ids(again) == ids(reply)
    assert again.headers["Location"] is None
    assert len(api.road.sms.sent) == 1


@pytest.mark.parametrize(
    ("seconds", "status"),
    [(59, 400), (60, 201), (172_800, 201), (172_801, 400), (..., 400), (None, 400), ("300", 201), (60.5, 400)],
)
@pytest.mark.assertion("http-api", 116)
def test_a_message_may_live_for_a_minute_to_two_days(front: Front, seconds: object, status: int) -> None:
    reply = front.client.post(SMS, sms(timeToLiveInSeconds=seconds))
    assert reply.status == status
    if status == 400:
        assert [key for key in reply.errors if "timeToLiveInSeconds".lower() in key.lower()]
    else:
        assert front.orders.lives[-1] == timedelta(seconds=int(str(seconds)))


@pytest.mark.parametrize("sender", [..., None, "", "  "])
@pytest.mark.assertion("http-api", 117)
async def test_without_a_sender_the_default_one_is_used(api: Api, sender: object) -> None:
    settings = without_gaps({"body": "Your code is 123456", "sender": sender})
    assert (await api.client.apost(SMS, sms(smsSettings=settings))).status == 201
    [sent] = api.road.sms.sent
    assert sent.sender == "Altinn"


def test_a_given_sender_is_not_trimmed(front: Front) -> None:
    _, order = taken(front, SMS, sms(smsSettings={"body": "Hei", "sender": " TTD "}))
    assert order.sms is not None
    assert order.sms.sender == " TTD "


@pytest.mark.assertion("http-api", 118)
def test_the_older_form_has_its_recipient_one_level_deeper(front: Front) -> None:
    body = sms()
    deeper = {"idempotencyId": "id", "recipient": {"recipientSms": body["recipientSms"], "recipientEmail": {}}}
    assert taken(front, INSTANT, deeper)[1].recipients == (Recipient(mobile=NUMBER),)
    assert keys(front, INSTANT, body) == {"Recipient"}
    assert keys(front, INSTANT, {"idempotencyId": "id", "recipient": {"recipientEmail": {}}}) == {
        "Recipient.RecipientSms"
    }


@pytest.mark.assertion("http-api", 119)
async def test_an_id_that_an_sms_has_used_is_taken_for_emails_too(api: Api) -> None:
    assert (await api.client.apost(EMAIL, email("one"))).status == 201
    first = await api.client.apost(SMS, sms("two"))
    again = await api.client.apost(EMAIL, email("two"))
    assert (first.status, again.status) == (201, 200)
    assert ids(again) == ids(first)
    assert len(api.road.mail.sent) == len(api.road.sms.sent) == 1
    assert (await api.client.apost(EMAIL, email("two"), org="xyz")).status == 201


@pytest.mark.assertion("http-api", 92)
async def test_the_same_id_may_be_used_for_a_chain_and_for_an_instant_message(api: Api) -> None:
    to = {"recipientEmail": {"emailAddress": "kari@example.com", "emailSettings": {"subject": "Hei", "body": "Hei"}}}
    chain = {"idempotencyId": "shared", "recipient": to}
    assert (await api.client.apost(f"{FUTURE}/orders", chain)).status == 201
    assert (await api.client.apost(SMS, sms("shared"))).status == 201


@pytest.mark.parametrize("sender", ["", "x", "a b@example.com"])
@pytest.mark.assertion("http-api", 120)
def test_a_sender_of_an_email_must_be_an_address(front: Front, sender: str) -> None:
    path = "RecipientEmail.EmailSettings.SenderEmailAddress"
    assert keys(front, EMAIL, email(senderEmailAddress=sender)) == {path}


@pytest.mark.assertion("http-api", 120)
def test_an_email_keeps_what_was_asked_for_on_one_line_of_subject(front: Front) -> None:
    body = email(subject="a\r\nb\nc", contentType="html", senderEmailAddress=" post@example.com ")
    body["recipientEmail"]["emailSettings"]["sendingTimePolicy"] = "Daytime"  # is none here, and ignored
    chain, order = taken(front, EMAIL, body)
    assert order.email is not None
    assert (order.email.sender, order.email.subject) == ("post@example.com", "a b c")
    assert order.email.content_type is ContentType.HTML
    assert (order.kind, order.channel, order.lane) == (OrderKind.INSTANT, OrderChannel.EMAIL, 0)
    assert (chain.family, order.chain) == (OrderFamily.INSTANT, chain.id)
    assert front.orders.lives[-1] is None
    assert (order.created, order.requested_send_time) == (front.clock.now(), front.clock.now())


@pytest.mark.assertion("http-api", 121)
async def test_a_provider_out_of_reach_is_503_and_the_same_request_may_come_again(api: Api) -> None:
    answers = api.road.sms.answers
    api.road.sms.answers = lambda _: Deferred("no connection", Blame.PROVIDER)
    body = sms()
    refused = await api.client.apost(SMS, body)
    assert refused.status == 503
    assert (
        refused.json.items()
        >= {
            "type": "urn:altinn:error:NOT-00004",
            "code": "NOT-00004",
            "title": "A temporary network failure occurred",
            "status": 503,
            "statusDescription": "Service Unavailable",
        }.items()
    )
    assert int(refused.headers["Retry-After"]) >= 1
    assert await api.road.value("SELECT count(*) FROM orders") == 0
    api.road.sms.answers = answers
    assert (await api.client.apost(SMS, body)).status == 201


@pytest.mark.assertion("http-api", 122)
async def test_the_shipment_of_a_fresh_message_shows_its_one_recipient(api: Api) -> None:
    reply = await api.client.apost(SMS, sms())
    shipment = await shown(api, reply)
    assert (shipment["type"], shipment["status"]) == ("Instant", "Order_Processed")
    [recipient] = shipment["recipients"]
    assert (recipient["type"], recipient["destination"]) == ("SMS", NUMBER)
    assert recipient["status"] == "SMS_Accepted"  # the provider's answer is recorded before ours is given


async def shown(api: Api, reply: Reply) -> Any:
    return (await api.client.aget(f"{FUTURE}/shipment/{reply.json['notification']['shipmentId']}")).json


@pytest.mark.assertion("processing", 33)
async def test_a_message_that_the_gateway_refuses_is_accepted_and_shown_as_failed(api: Api) -> None:
    api.road.sms.answers = lambda _: Refused(Reason.INVALID_RECIPIENT)
    reply = await api.client.apost(SMS, sms())
    assert reply.status == 201
    shipment = await shown(api, reply)
    assert (shipment["status"], shipment["recipients"][0]["status"]) == (
        "Order_Completed",
        "SMS_Failed_InvalidRecipient",
    )


@pytest.mark.assertion("http-api", 80)
async def test_an_instant_order_cannot_be_cancelled(api: Api) -> None:
    order = (await api.client.apost(SMS, sms())).json["notification"]["shipmentId"]
    assert (await api.client.aput(f"{ORDERS}/{order}/cancel")).status == 409


@pytest.mark.assertion("processing", 31)
async def test_ten_equal_requests_at_once_send_one_message_and_all_hear_its_ids(api: Api) -> None:
    body = sms()
    replies = await asyncio.gather(*(api.client.apost(SMS, body) for _ in range(10)))
    assert sorted(reply.status for reply in replies) == [200] * 9 + [201]
    assert len({ids(reply) for reply in replies}) == 1
    assert len(api.road.sms.sent) == 1


async def test_the_text_is_sent_as_it_was_given(api: Api) -> None:
    body = "$recipientName$, koden er 12æøå"
    assert (await api.client.apost(SMS, sms(smsSettings={"body": body, "sender": "TTD"}))).status == 201
    [sent] = api.road.sms.sent
    assert isinstance(sent, Sms)
    assert (sent.text, sent.sender, sent.to) == (body, "TTD", NUMBER)


@pytest.mark.parametrize("id_", [None, "", "  ", ...])
@pytest.mark.parametrize("path", [SMS, EMAIL, INSTANT])
@pytest.mark.assertion("http-api", 93)
def test_an_idempotency_id_is_required(front: Front, path: str, id_: object) -> None:
    forms: dict[str, dict[str, Any]] = {SMS: sms(), EMAIL: email(), INSTANT: {"recipient": sms()}}
    assert "IdempotencyId" in keys(front, path, without_gaps({**forms[path], "idempotencyId": id_}))


@pytest.mark.parametrize("number", ["99999501", "", "+47 1", None, " +4799999501"])
def test_a_number_must_be_a_valid_one_with_its_country(front: Front, number: object) -> None:
    assert keys(front, SMS, sms(phoneNumber=number)) == {"RecipientSms.PhoneNumber"}


def test_a_number_is_kept_as_it_was_given(front: Front) -> None:
    assert taken(front, SMS, sms(phoneNumber="004799999501"))[1].recipients == (Recipient(mobile="004799999501"),)


@pytest.mark.parametrize("body", ["", "  ", None, ..., "x" * 10_000])
def test_a_text_must_say_something_and_fit(front: Front, body: object) -> None:
    assert keys(front, SMS, sms(smsSettings=without_gaps({"body": body}))) == {"RecipientSms.SmsSettings.Body"}


@pytest.mark.parametrize("name", ["subject", "body"])
@pytest.mark.parametrize("text", ["", " ", None, ...])
def test_an_email_must_say_something(front: Front, name: str, text: object) -> None:
    path = f"RecipientEmail.EmailSettings.{name.capitalize()}"
    assert keys(front, EMAIL, email(None, **{name: text})) == {path}


async def test_every_broken_rule_is_told_at_once(front: Front) -> None:
    assert keys(front, SMS, sms(phoneNumber="1", timeToLiveInSeconds=1)) == {
        "RecipientSms.PhoneNumber",
        "RecipientSms.TimeToLiveInSeconds",
    }


@pytest.mark.assertion("http-api", 91)
async def test_a_repeat_that_is_not_valid_is_400(api: Api) -> None:
    assert (await api.client.apost(SMS, sms("id"))).status == 201
    assert (await api.client.apost(SMS, sms("id", phoneNumber="1"))).status == 400


@pytest.mark.parametrize("path", [SMS, EMAIL, INSTANT])
def test_the_create_scope_opens_the_routes_and_no_other(front: Front, path: str) -> None:
    assert front.client.post(path, {}, scopes=(COMPOSED_SCOPE,)).status == 403
    assert front.client.post(path, {}, headers={"Authorization": None}).status == 401
    assert front.client.post(path, {}).status == 400


def test_who_names_no_creator_is_403_after_the_body_was_checked(front: Front) -> None:
    assert front.client.post(SMS, {}, org=None).status == 400
    assert front.client.post(SMS, sms(), org=None).status == 403


@pytest.mark.parametrize("path", [SMS, EMAIL, INSTANT])
def test_only_json_is_taken(front: Front, path: str) -> None:
    assert front.client.post(path, sms(), headers={"Content-Type": "text/plain"}).status == 415
