"""What a v2 order chain must look like (http-api 4-7, 13). Nothing is stored here: see test_v2_chains.py."""

import json
from collections.abc import Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import Front
from varsel.api.bodies import parse
from varsel.api.future_bodies import ChainBody, Defaults
from varsel.domain.order import (
    Chain,
    ContentType,
    Order,
    OrderChannel,
    OrderFamily,
    OrderKind,
    Recipient,
    SendingTime,
)
from varsel.settings import SenderSettings

CHAINS: Final = "/notifications/api/v1/future/orders"
NIN: Final = "01817012345"
ORG: Final = "910000017"

EMAIL: Final = {"subject": "New letter", "body": "You have a new letter."}
SMS: Final = {"body": "You have a new letter."}
NEVER: Final = {**SMS, "sendingTimePolicy": 0}
TO_EMAIL: Final = {"recipientEmail": {"emailAddress": "kari@example.com", "emailSettings": EMAIL}}
TO_SMS: Final = {"recipientSms": {"phoneNumber": "+4799999501", "smsSettings": SMS}}


def person(**changes: Any) -> dict[str, Any]:
    return _looked_up("recipientPerson", {"nationalIdentityNumber": NIN}, changes)


def organisation(**changes: Any) -> dict[str, Any]:
    return _looked_up("recipientOrganization", {"orgNumber": ORG}, changes)


def external(urn: str = "urn:altinn:party:username:kari", **changes: Any) -> dict[str, Any]:
    return _looked_up("recipientExternalIdentity", {"externalIdentity": urn}, changes)


def _looked_up(kind: str, identifier: dict[str, str], changes: dict[str, Any]) -> dict[str, Any]:
    usual: dict[str, Any] = {"channelSchema": "EmailPreferred", "emailSettings": EMAIL, "smsSettings": SMS}
    inner = {**identifier, **usual, **changes}
    return {kind: {name: value for name, value in inner.items() if value is not ...}}


def body(recipient: object = TO_EMAIL, **changes: Any) -> dict[str, Any]:
    usual = {"idempotencyId": "i-1", "recipient": recipient}
    return {name: value for name, value in {**usual, **changes}.items() if value is not ...}


def reminder(recipient: object = TO_SMS, **changes: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"delayDays": 7, "recipient": recipient}
    return {name: value for name, value in {**usual, **changes}.items() if value is not ...}


def accepted(front: Front, sent: object) -> tuple[Chain, Sequence[Order]]:
    reply = front.client.post(CHAINS, sent)
    assert reply.status == 201, reply.content
    return front.orders.chains[-1]


def refused(front: Front, sent: object) -> set[str]:
    """The keys of the errors of a body that must be refused."""
    return set(front.client.post(CHAINS, sent).errors)


@pytest.mark.assertion("http-api", 84, 85)
def test_an_accepted_chain_is_answered_with_its_ids_and_place(front: Front) -> None:
    reply = front.client.post(CHAINS, body())
    assert reply.status == 201
    chain, (order,) = front.orders.chains[-1]
    assert reply.json == {"notificationOrderId": str(chain.id), "notification": {"shipmentId": str(order.id)}}
    assert chain.id != order.id
    assert reply.headers["Location"] == f"http://localhost:5090/notifications/api/v1/orders/chain/{chain.id}"


def test_a_chain_becomes_orders_with_every_default_filled_in(front: Front) -> None:
    chain, (order,) = accepted(front, body(sendersReference=" "))
    now = front.clock.now()
    assert (chain.creator, chain.idempotency_id, chain.family) == ("ttd", "i-1", OrderFamily.CHAIN)
    assert (order.creator, order.chain, order.kind) == ("ttd", chain.id, OrderKind.NOTIFICATION)
    assert (order.created, order.requested_send_time, order.senders_reference) == (now, now, None)
    assert order.recipients == (Recipient(email="kari@example.com"),)
    assert order.email is not None
    assert (order.email.sender, order.email.content_type) == ("noreply@altinn.cloud", ContentType.PLAIN)
    assert (order.channel, order.sms, order.sending_time) == (OrderChannel.EMAIL, None, None)
    assert (order.ignore_reservation, order.allow_stale) == (None, False)


@pytest.mark.assertion("processing", 9)
def test_texts_senders_and_identifiers_are_taken_over(front: Front) -> None:
    email = {
        "senderEmailAddress": " etat@example.com ",
        "subject": "a\r\nb\nc",
        "body": "<p>b</p>",
        "contentType": "html",
        "sendingTimePolicy": "anytime",
    }
    sms = {"sender": " Etaten ", "body": "b", "sendingTimePolicy": 1}
    to = person(
        channelSchema="smspreferred",
        emailSettings=email,
        smsSettings=sms,
        ignoreReservation=True,
        useStaleContactInformation=True,
        resourceId="urn:altinn:resource:x",
        resourceAction="write",
    )
    dialog = {"dialogId": "d", "transmissionId": "t"}
    chain, (order,) = accepted(front, body(to, conditionEndpoint="https://a.example", dialogportenAssociation=dialog))
    assert order.email is not None
    assert (order.email.sender, order.email.subject) == ("etat@example.com", "a b c")
    assert order.email.content_type is ContentType.HTML
    assert order.sms is not None
    assert (order.sms.sender, order.sending_time) == ("Etaten", SendingTime.ANYTIME)
    assert (order.channel, order.recipients) == (
        OrderChannel.SMS_PREFERRED,
        (Recipient(national_identity_number=NIN),),
    )
    assert (order.ignore_reservation, order.allow_stale) == (True, True)
    assert (order.resource_id, order.resource_action) == ("urn:altinn:resource:x", "write")
    assert order.condition_endpoint == "https://a.example"
    assert (chain.dialog_id, chain.transmission_id) == ("d", "t")


@pytest.mark.parametrize("sender", [..., None, "", "  "])
def test_a_blank_sms_sender_is_the_default_one(front: Front, sender: object) -> None:
    settings_ = {name: value for name, value in {**SMS, "sender": sender}.items() if value is not ...}
    to = {"recipientSms": {"phoneNumber": "+47 99 99 95 01", "smsSettings": settings_}}
    _, (order,) = accepted(front, body(to))
    assert order.sms is not None
    assert order.sms.sender == "Altinn"
    assert order.recipients == (Recipient(mobile="+47 99 99 95 01"),)


@pytest.mark.assertion("processing", 24)
@pytest.mark.assertion("http-api", 100)
def test_the_sending_time_is_that_of_the_sms_settings(front: Front) -> None:
    both, email_only = person(), person(channelSchema="Email", smsSettings=...)
    anytime = person(smsSettings={**SMS, "sendingTimePolicy": "Anytime"})
    times = [accepted(front, body(to))[1][0].sending_time for to in (both, email_only, anytime, TO_SMS, TO_EMAIL)]
    assert times == [SendingTime.DAYTIME, None, SendingTime.ANYTIME, SendingTime.DAYTIME, None]


# Stage 1


@pytest.mark.assertion("http-api", 93)
@pytest.mark.parametrize("id_", [..., None, "", "  "])
def test_an_idempotency_id_is_required(front: Front, id_: object) -> None:
    assert refused(front, body(idempotencyId=id_)) == {"IdempotencyId"}


@pytest.mark.assertion("http-api", 91)
def test_a_used_id_does_not_save_an_invalid_body(front: Front) -> None:
    accepted(front, body(idempotencyId="used"))
    assert refused(front, body(..., idempotencyId="used")) == {"Recipient"}


@pytest.mark.assertion("http-api", 94, 95, 96)
@pytest.mark.parametrize(
    ("path", "recipient"),
    [
        ("Recipient", ...),
        ("Recipient", None),
        ("Recipient", {}),
        ("Recipient", {"recipientEmail": None}),
        ("Recipient", {**TO_EMAIL, **TO_SMS}),
        ("Recipient", {**person(), **organisation()}),
        ("Recipient.RecipientEmail.EmailAddress", {"recipientEmail": {"emailSettings": EMAIL}}),
        ("Recipient.RecipientEmail.EmailSettings", {"recipientEmail": {"emailAddress": "a@example.com"}}),
        ("Recipient.RecipientSms.PhoneNumber", {"recipientSms": {"smsSettings": SMS}}),
        ("Recipient.RecipientSms.SmsSettings", {"recipientSms": {"phoneNumber": "+4799999501"}}),
        ("Recipient.RecipientPerson.ChannelSchema", person(channelSchema=...)),
        ("Recipient.RecipientPerson.ChannelSchema", person(channelSchema=None)),
        ("Recipient.RecipientOrganization.ChannelSchema", organisation(channelSchema=...)),
        ("Recipient.RecipientExternalIdentity.ChannelSchema", external(channelSchema=...)),
        ("$.recipient.recipientPerson.channelSchema", person(channelSchema="Pigeon")),
        ("$.recipient.recipientPerson.channelSchema", person(channelSchema=5)),
        ("Recipient.RecipientPerson.NationalIdentityNumber", person(nationalIdentityNumber=...)),
        ("Recipient.RecipientPerson.NationalIdentityNumber", person(nationalIdentityNumber=" ")),
        ("Recipient.RecipientOrganization.OrgNumber", organisation(orgNumber=None)),
        ("Recipient.RecipientExternalIdentity.ExternalIdentity", external("")),
        ("Recipient.RecipientPerson.IgnoreReservation", person(ignoreReservation=None)),
        ("$.recipient.recipientPerson.ignoreReservation", person(ignoreReservation="true")),
        ("Recipient.RecipientPerson.EmailSettings.Subject", person(emailSettings={"body": "b"})),
        ("Recipient.RecipientPerson.EmailSettings.Body", person(emailSettings={"subject": "s", "body": " "})),
        ("Recipient.RecipientPerson.SmsSettings.Body", person(smsSettings={})),
        ("$.recipient.recipientPerson.smsSettings.sendingTimePolicy", person(smsSettings=NEVER)),
        ("Recipient.RecipientPerson.EmailSettings", person(emailSettings=...)),
        ("Recipient.RecipientPerson.SmsSettings", person(smsSettings=None)),
        ("Recipient.RecipientPerson.EmailSettings", person(channelSchema="SmsPreferred", emailSettings=...)),
        ("Recipient.RecipientPerson.SmsSettings", person(channelSchema="EmailAndSms", smsSettings=...)),
        ("Recipient.RecipientPerson.EmailSettings", person(channelSchema="EmailAndSms", emailSettings=...)),
        ("Recipient.RecipientPerson.EmailSettings", person(channelSchema="Email", emailSettings=...)),
        ("Recipient.RecipientPerson.SmsSettings", person(channelSchema="Sms", smsSettings=...)),
    ],
)  # fmt: skip
def test_exactly_one_whole_recipient_is_required(front: Front, path: str, recipient: object) -> None:
    assert refused(front, body(recipient)) == {path}


@pytest.mark.assertion("http-api", 97, 98)
def test_settings_that_the_channel_does_not_need_may_be_absent_but_not_wrong(front: Front) -> None:
    accepted(front, body(person(channelSchema="Sms", emailSettings=...)))
    accepted(front, body(person(channelSchema="Email", smsSettings=...)))
    _, (order,) = accepted(front, body(person(channelSchema="Email")))
    assert order.sms is not None
    empty = person(channelSchema="Email", smsSettings={"body": ""})
    assert refused(front, body(empty)) == {"Recipient.RecipientPerson.SmsSettings.Body"}


@pytest.mark.assertion("http-api", 19, 20)
def test_names_are_read_in_any_case_and_unknown_ones_ignored(front: Front) -> None:
    unknown: dict[str, Any] = {"dialogueId": 1, "content-type": None, "x": {"y": [{}]}}
    inner = {"EMAILADDRESS": "a@example.com", "emailsettings": {**EMAIL, "senderName": "x", **unknown}, **unknown}
    sent = {
        "IdempotencyID": "i",
        "Recipient": {"RecipientEmail": inner, **unknown},
        "REMINDERS": [{"delaydays": 1, "recipient": {"recipientSMS": TO_SMS["recipientSms"]}, **unknown}],
        **unknown,
    }
    chain, orders = accepted(front, sent)
    assert chain.idempotency_id == "i"
    assert [order.channel for order in orders] == [OrderChannel.EMAIL, OrderChannel.SMS]


@pytest.mark.assertion("http-api", 113)
@pytest.mark.parametrize("dialog", [{}, None, {"dialogId": "any thing"}, {"transmissionId": None, "x": 1}])
def test_a_dialog_may_be_anything(front: Front, dialog: object) -> None:
    accepted(front, body(dialogportenAssociation=dialog))


# Stage 2


def _with(recipient: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """The recipient with one property set, by its path below the container."""
    changed = deepcopy(recipient)
    *parents, name = path.split(".")
    inner = changed
    for parent in parents:
        inner = inner[parent]
    inner[name] = value
    return changed


@pytest.mark.assertion("http-api", 99, 101, 102, 106, 107, 108)
@pytest.mark.parametrize(
    ("recipient", "path", "value"),
    [
        (TO_EMAIL, "recipientEmail.emailAddress", "one@example.com;two@example.com"),
        (TO_EMAIL, "recipientEmail.emailAddress", ""),
        (TO_EMAIL, "recipientEmail.emailSettings.senderEmailAddress", ""),
        (TO_EMAIL, "recipientEmail.emailSettings.senderEmailAddress", "x"),
        (TO_EMAIL, "recipientEmail.emailSettings.sendingTimePolicy", "Daytime"),
        (TO_SMS, "recipientSms.phoneNumber", "99999501"),
        (TO_SMS, "recipientSms.phoneNumber", "+4712345678"),
        (TO_SMS, "recipientSms.smsSettings.body", "x" * 2145),
        (person(), "recipientPerson.nationalIdentityNumber", "0181701234"),
        (person(), "recipientPerson.emailSettings.senderEmailAddress", "x"),
        (person(), "recipientPerson.resourceId", ""),
        (person(), "recipientPerson.resourceId", "urn:altinn:resource:"),
        (organisation(), "recipientOrganization.resourceId", "app_x"),
        (organisation(), "recipientOrganization.resourceId", "URN:altinn:resource:x"),
        (organisation(), "recipientOrganization.orgNumber", "91000001"),
        (organisation(), "recipientOrganization.resourceAction", "read"),
        (organisation(resourceId="urn:altinn:resource:x"), "recipientOrganization.resourceAction", " "),
        (external(), "recipientExternalIdentity.externalIdentity", "urn:altinn:username:"),
        (external(), "recipientExternalIdentity.externalIdentity", "urn:altinn:person:idporten-email:kari"),
        (external(), "recipientExternalIdentity.externalIdentity", "kari"),
    ],
)
def test_each_rule_names_the_property_that_breaks_it(
    front: Front, recipient: dict[str, Any], path: str, value: object
) -> None:
    key = ".".join(name[0].upper() + name[1:] for name in path.split("."))
    wrong = _with(recipient, path, value)
    assert refused(front, body(wrong)) == {f"Recipient.{key}"}
    assert refused(front, body(reminders=[reminder(), reminder(wrong)])) == {f"Reminders[1].Recipient.{key}"}


@pytest.mark.assertion("http-api", 106, 107, 108)
@pytest.mark.parametrize(
    "recipient",
    [
        organisation(resourceId="urn:altinn:resource:unknown"),
        organisation(resourceId="urn:altinn:resource:x", resourceAction=""),
        organisation(resourceAction=""),
        person(nationalIdentityNumber="00000000000"),
        external("urn:altinn:party:username:kari"),
        external("urn:altinn:username:kari"),
        external("urn:altinn:person:legacy-selfidentified:kari"),
        external("urn:altinn:person:idporten-email:kari%40example.com"),
        external("urn:altinn:person:idporten-email:a%2Bb@example.com"),
        _with(TO_EMAIL, "recipientEmail.emailAddress", " æge_sjøåsen@domain.com "),
        _with(TO_SMS, "recipientSms.smsSettings.body", "x" * 2144),
    ],
)
def test_what_the_rules_allow_is_accepted(front: Front, recipient: object) -> None:
    accepted(front, body(recipient))


def test_broken_rules_are_told_all_at_once(front: Front) -> None:
    wrong = _with(TO_EMAIL, "recipientEmail.emailAddress", "x")
    sent = body(
        wrong,
        requestedSendTime="2026-11-22T10:00:00Z",
        conditionEndpoint="x",
        reminders=[reminder(delayDays=0), reminder(wrong, delayDays=...)],
    )
    assert refused(front, sent) == {
        "RequestedSendTime",
        "ConditionEndpoint",
        "Recipient.RecipientEmail.EmailAddress",
        "Reminders[0].DelayDays",
        "Reminders[1]",
        "Reminders[1].Recipient.RecipientEmail.EmailAddress",
    }


@pytest.mark.assertion("http-api", 109)
@pytest.mark.parametrize(
    "value",
    ["2026-11-23T09:00:00Z", "2026-11-23T09:59:59.9999999Z", "2026-11-23T10:00:00", "2026-11-23T11:59:00+02:00"],
)
def test_a_send_time_in_the_past_or_without_a_zone_is_refused(front: Front, value: str) -> None:
    assert refused(front, body(requestedSendTime=value)) == {"RequestedSendTime"}
    late = reminder(delayDays=..., requestedSendTime=value)
    assert refused(front, body(reminders=[late])) == {"Reminders[0].RequestedSendTime"}


@pytest.mark.parametrize("value", ["2026-11-23T10:00:00Z", "2026-11-23T11:00:00+01:00", "9998-12-31T23:59:59Z"])
def test_a_send_time_of_now_or_later_is_taken(front: Front, value: str) -> None:
    _, (order,) = accepted(front, body(requestedSendTime=value))
    assert order.requested_send_time == datetime.fromisoformat(value)


@pytest.mark.assertion("http-api", 112)
@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:5090/x",
        "HTTPS://10.0.0.1/x?y=%20z",
        "https://a.example/?conditionMet=true&subscription-key=k",
        "http://[::1]:80/",
    ],
)
def test_a_condition_may_be_any_http_url(front: Front, url: str) -> None:
    _, orders = accepted(front, body(conditionEndpoint=url, reminders=[reminder(conditionEndpoint=url)]))
    assert [order.condition_endpoint for order in orders] == [url, url]


@pytest.mark.assertion("http-api", 112)
@pytest.mark.parametrize(
    "url", ["ftp://a.no", "/relative", "", "http://", "https:a.no", "http://a b", "http://a/%2", "http://a:b/", "a.no"]
)
def test_a_condition_must_be_an_absolute_http_url(front: Front, url: str) -> None:
    assert refused(front, body(conditionEndpoint=url)) == {"ConditionEndpoint"}
    assert refused(front, body(reminders=[reminder(conditionEndpoint=url)])) == {"Reminders[0].ConditionEndpoint"}


# Reminders


@pytest.mark.assertion("http-api", 86, 87)
def test_reminders_are_told_in_the_order_of_the_request(front: Front) -> None:
    two = [reminder(sendersReference="r-2"), reminder(TO_EMAIL, sendersReference="r-1"), reminder()]
    reply = front.client.post(CHAINS, body(sendersReference="main", reminders=two))
    chain, orders = front.orders.chains[-1]
    main, *reminders = (str(order.id) for order in orders)
    receipt = {"alphabet": "GSM-7", "characters": 22, "parts": 1, "unfilled": False}  # our addition, for SMS alone
    assert reply.json == {
        "notificationOrderId": str(chain.id),
        "notification": {
            "shipmentId": main,
            "sendersReference": "main",
            "reminders": [
                {"shipmentId": reminders[0], "sendersReference": "r-2", "smsReceipt": receipt},
                {"shipmentId": reminders[1], "sendersReference": "r-1"},
                {"shipmentId": reminders[2], "smsReceipt": receipt},
            ],
        },
    }
    assert len({chain.id, *(order.id for order in orders)}) == 5
    assert [order.kind for order in orders] == [OrderKind.NOTIFICATION, *[OrderKind.REMINDER] * 3]
    empty: list[list[Any] | None] = [[], None]
    for none in empty:
        assert "reminders" not in front.client.post(CHAINS, body(reminders=none)).json["notification"]


@pytest.mark.assertion("http-api", 110)
@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"delayDays": ...}, ""),
        ({"delayDays": None}, ""),
        ({"requestedSendTime": "2026-12-01T10:00:00Z"}, ""),
        ({"delay": "P1D"}, ""),
        ({"delayDays": 0}, ".DelayDays"),
        ({"delayDays": -3}, ".DelayDays"),
        ({"delayDays": 3_000_000}, ".DelayDays"),
        ({"delayDays": 10**17}, ".DelayDays"),
        ({"delayDays": ..., "delay": "PT0S"}, ".Delay"),
        ({"delayDays": ..., "delay": "P999999W"}, ".Delay"),
        ({"recipient": None}, ".Recipient"),
        ({"recipient": {}}, ".Recipient"),
    ],
)
def test_a_reminder_needs_exactly_one_time_ahead(front: Front, changes: dict[str, Any], key: str) -> None:
    assert refused(front, body(reminders=[reminder(**changes)])) == {f"Reminders[0]{key}"}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"delayDays": 1.5}, "delayDays"),
        ({"delayDays": "x"}, "delayDays"),
        *(
            ({"delayDays": ..., "delay": wrong}, "delay")
            for wrong in ("P1M", "P1Y", "P", "PT", "P1DT", "1D", "p1d", "P-1D", "PT1.5H", "P1D ", "", 1, "P1H", "PT1D")
        ),
        ({"delayDays": ..., "requestedSendTime": "tomorrow"}, "requestedSendTime"),
    ],
)
def test_a_time_that_cannot_be_read_is_named(front: Front, changes: dict[str, Any], path: str) -> None:
    assert refused(front, body(reminders=[reminder(**changes)])) == {f"$.reminders[0].{path}"}


def test_a_reminder_that_is_null_is_named(front: Front) -> None:
    assert refused(front, body(reminders=[reminder(), None])) == {"Reminders[1]"}


@pytest.mark.assertion("processing", 25)
@pytest.mark.parametrize(
    ("changes", "after"),
    [
        ({"delayDays": 7}, timedelta(hours=168)),
        ({"delayDays": "1"}, timedelta(days=1)),
        ({"delayDays": ..., "delay": "P3DT4H"}, timedelta(days=3, hours=4)),
        ({"delayDays": ..., "delay": "P2W"}, timedelta(days=14)),
        ({"delayDays": ..., "delay": "PT90M30S"}, timedelta(minutes=90, seconds=30)),
        ({"delayDays": ..., "delay": "P1W1DT1H1M1S"}, timedelta(days=8, hours=1, minutes=1, seconds=1)),
    ],
)
def test_a_delay_counts_from_the_main_orders_time(front: Front, changes: dict[str, Any], after: timedelta) -> None:
    sent = body(requestedSendTime="2027-03-27T20:00:00+01:00", reminders=[reminder(**changes)])
    _, (main, late) = accepted(front, sent)
    assert late.requested_send_time - main.requested_send_time == after  # over the change to summer time
    _, (main, late) = accepted(front, body(reminders=[reminder(**changes)]))
    assert late.requested_send_time == main.requested_send_time + after


@pytest.mark.assertion("processing", 26)
def test_a_reminder_may_come_at_any_instant_and_before_the_main_order(front: Front) -> None:  # O-29
    early = reminder(delayDays=..., requestedSendTime="2026-11-24T10:07:31Z")
    _, (_main, order) = accepted(front, body(requestedSendTime="2026-12-24T10:00:00Z", reminders=[early]))
    assert order.requested_send_time == datetime(2026, 11, 24, 10, 7, 31, tzinfo=UTC)


def test_thousands_of_reminders_are_checked_and_named_each_by_its_place(front: Front) -> None:
    many: list[Any] = [reminder() for _ in range(2_500)]
    _, orders = accepted(front, body(reminders=many))
    assert len(orders) == 2_501
    many[2_400] = reminder(delayDays=0)
    many[1_100] = reminder(delayDays=0)
    assert refused(front, body(reminders=many)) == {"Reminders[1100].DelayDays", "Reminders[2400].DelayDays"}


# The hash of the request


async def digest_of(sent: object) -> bytes:
    now = datetime(2026, 11, 23, 10, tzinfo=UTC)
    checked = await parse(ChainBody, json.dumps(sent).encode(), now)
    chain, _ = await checked.to_chain("ttd", now, Defaults(SenderSettings(), always_stale=False))
    return chain.request_hash


async def test_spelling_does_not_change_the_hash_of_a_request() -> None:
    sent = body(person(), requestedSendTime="2027-01-01T12:00:00Z", reminders=[reminder()], sendersReference="r")
    same = {
        "REMINDERS": [{**reminder(), "delayDays": "7", "conditionEndpoint": None}],
        "unknown": 1,
        "requestedSendTime": "2027-01-01T13:00:00.000+01:00",
        "recipient": person(channelSchema=2, ignoreReservation=False, resourceId=None),
        "sendersReference": "r",
        "idempotencyId": "i-1",
    }
    assert await digest_of(sent) == await digest_of(same)


@pytest.mark.parametrize(
    "changed",
    [
        body(person(ignoreReservation=True), reminders=[reminder()]),
        body(person(nationalIdentityNumber="01817012346"), reminders=[reminder()]),
        body(person(emailSettings={**EMAIL, "body": "other"}), reminders=[reminder()]),
        body(person(), reminders=[]),
        body(person(), reminders=[reminder(), reminder()]),
        body(person(), reminders=[reminder(delayDays=8)]),
        body(person(), reminders=[reminder(delayDays=..., delay="P7D")]),
        body(person(), reminders=[reminder(TO_EMAIL)]),
        body(person(), reminders=[reminder()], sendersReference="r"),
        body(person(), reminders=[reminder()], requestedSendTime="2027-01-01T12:00:00Z"),
        body(person(), reminders=[reminder()], dialogportenAssociation={"dialogId": "d"}),
    ],
)
async def test_whatever_is_asked_for_changes_the_hash_of_a_request(changed: object) -> None:
    assert await digest_of(body(person(), reminders=[reminder()])) != await digest_of(changed)


@settings(max_examples=60, deadline=None)
@given(parts=st.tuples(*[st.integers(0, 9_999)] * 5).filter(any))
def test_every_duration_is_read_as_it_is_written(front: Front, parts: tuple[int, ...]) -> None:
    weeks, days, hours, minutes, seconds = parts
    written = f"P{weeks}W{days}DT{hours}H{minutes}M{seconds}S"
    _, (main, late) = accepted(front, body(reminders=[reminder(delayDays=..., delay=written)]))
    after = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    assert late.requested_send_time - main.requested_send_time == after
