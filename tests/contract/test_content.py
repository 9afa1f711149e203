"""What creators may say (channels 3.2, 6.7): refused with the property, warned of, or withheld when it is sent."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from road import Road
from serving import ORDERS, Client, Reply, make_parts, serving
from varsel.api.app import create_app
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.guard import Guard
from varsel.domain.identifiers import synthetic_person_id
from varsel.domain.ids import OrderId
from varsel.domain.order import EmailTemplate, OrderChannel, Recipient, SendingTime, SmsTemplate
from varsel.orders.register import Register
from varsel.recipients.ports import PersonContact
from varsel.settings import Settings
from varsel.status.explain import EventKind, tell
from varsel.status.explain_store import find_facts

CHAINS: Final = "/notifications/api/v1/future/orders"
KARI: Final = "14838510036"
EVIL: Final = "Se https://evil.example/x"
GOOD: Final = "Se https://altinn.no/x"
FOREIGN: Final = ["Link 1 leads to a host that is not on the list."]

SETTINGS: Final = Settings.model_validate(
    {
        "content": {
            "protected_sms_senders": ["Banken"],
            "creators": {
                "ttd": {
                    "links": "enforce",
                    "link_domains": ["altinn.no"],
                    "sender_domains": ["altinn.no"],
                    "active_html": False,
                },
                "mild": {"links": "warn", "link_domains": ["altinn.no"]},
                "bank": {"sms_senders": ["banken"]},
            },
        },
        "providers": [{"type": "twilio", "name": "gateway", "account_sid": "AC1", "auth_token": "x"}],
    }
)


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock, guard=Guard.configured(SETTINGS))
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


@pytest.fixture
async def client(road: Road, tmp_path: Path) -> AsyncIterator[Client]:
    register = Register(road.db, road.directory, road.clock, road.waker)
    parts = make_parts(
        tmp_path,
        road.clock,
        road.db,
        register.register_order,
        SETTINGS,
        register_chain=register.register_chain,
        directory=road.directory,
    )
    assert parts.issuer
    async with serving(create_app(parts)) as port:
        yield Client(port, parts.issuer)
    await register.close()
    await parts.feed.close()


def chain(**recipient: Any) -> dict[str, Any]:
    return {"idempotencyId": str(recipient)[:200], "recipient": recipient}


def email(body: str = GOOD, **more: Any) -> dict[str, Any]:
    return {"emailAddress": "kari@example.com", "emailSettings": {"subject": "Brev", "body": body, **more}}


def sms(body: str = GOOD, **more: Any) -> dict[str, Any]:
    return {"phoneNumber": "+4799999501", "smsSettings": {"body": body, **more}}


# Refused when ordered


@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        (
            f"{ORDERS}/email",
            {"subject": "Brev", "body": EVIL, "recipients": [{"emailAddress": "k@example.com"}]},
            "Body",
        ),
        (
            f"{ORDERS}/email",
            {"subject": EVIL, "body": "x", "recipients": [{"emailAddress": "k@example.com"}]},
            "Subject",
        ),
        (f"{ORDERS}/sms", {"body": EVIL, "recipients": [{"mobileNumber": "+4799999501"}]}, "Body"),
        (
            ORDERS,
            {
                "notificationChannel": "EmailPreferred",
                "emailTemplate": {"subject": "Brev", "body": EVIL},
                "smsTemplate": {"body": GOOD},
                "recipients": [{"nationalIdentityNumber": KARI}],
            },
            "EmailTemplate.Body",
        ),
        (CHAINS, chain(recipientEmail=email(EVIL)), "Recipient.RecipientEmail.EmailSettings.Body"),
        (CHAINS, chain(recipientSms=sms(EVIL)), "Recipient.RecipientSms.SmsSettings.Body"),
        (
            CHAINS,
            {**chain(recipientSms=sms()), "reminders": [{"delayDays": 1, "recipient": {"recipientSms": sms(EVIL)}}]},
            "Reminders[0].Recipient.RecipientSms.SmsSettings.Body",
        ),
        (
            f"{CHAINS}/instant/sms",
            {"idempotencyId": "1", "recipientSms": {**sms(EVIL), "timeToLiveInSeconds": 60}},
            "RecipientSms.SmsSettings.Body",
        ),
        (
            f"{CHAINS}/instant/email",
            {"idempotencyId": "1", "recipientEmail": email(EVIL)},
            "RecipientEmail.EmailSettings.Body",
        ),
        (
            f"{ORDERS}/preview",
            {
                "notificationChannel": "Sms",
                "smsTemplate": {"body": EVIL},
                "recipients": [{"mobileNumber": "+4799999501"}],
            },
            "SmsTemplate.Body",
        ),
    ],
)
async def test_a_link_that_is_not_allowed_is_refused_with_its_property(
    client: Client, path: str, body: object, key: str
) -> None:
    reply = await client.apost(path, body)
    assert reply.errors == {key: FOREIGN}
    assert b"evil" not in reply.content
    free = await client.apost(path, body, org="skd")
    assert free.status in (200, 201, 202), free.content


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"contentType": "Html", "body": '<a href="https://altinn.no">bank.example</a>'}, "Body"),
        ({"contentType": "Html", "body": "<p>Hei</p><script>x</script>"}, "Body"),
        ({"senderEmailAddress": "noreply@evil.example"}, "SenderEmailAddress"),
    ],
)
async def test_markup_and_senders_are_judged_too(client: Client, settings: dict[str, Any], key: str) -> None:
    body = chain(recipientEmail=email(**{"body": GOOD, **settings}))
    assert list((await client.apost(CHAINS, body)).errors) == [f"Recipient.RecipientEmail.EmailSettings.{key}"]
    assert (await client.apost(CHAINS, body, org="skd")).status == 201


async def test_the_senders_own_domains_and_other_links_pass(client: Client) -> None:
    html = '<style>p {}</style><p><a href="https://altinn.no">Les på altinn.no</a></p>'
    body = chain(recipientEmail=email(html, contentType="Html", senderEmailAddress="noreply@post.altinn.no"))
    assert (await client.apost(CHAINS, body)).status == 201


@pytest.mark.assertion("channels", 73)
@pytest.mark.parametrize("sender", ["Banken", "BANKEN", " b a n k e n "])
async def test_a_protected_sender_is_for_its_creator_alone(client: Client, sender: str) -> None:
    v2 = chain(recipientSms=sms(sender=sender))
    v1 = {"body": GOOD, "senderNumber": sender, "recipients": [{"mobileNumber": "+4799999501"}]}
    for path, body, key in (
        (CHAINS, v2, "Recipient.RecipientSms.SmsSettings.Sender"),
        (f"{ORDERS}/sms", v1, "SenderNumber"),
    ):
        assert list((await client.apost(path, body, org="skd")).errors) == [key]
        assert (await client.apost(path, body, org="bank")).status in (201, 202)


# Warned of


@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        (f"{ORDERS}/sms", {"body": EVIL, "recipients": [{"mobileNumber": "+4799999501"}]}, "Body"),
        (CHAINS, chain(recipientEmail=email(EVIL)), "Recipient.RecipientEmail.EmailSettings.Body"),
        (f"{CHAINS}/preview", chain(recipientEmail=email(EVIL)), "Recipient.RecipientEmail.EmailSettings.Body"),
    ],
)
async def test_a_creator_that_is_only_warned_is_told_in_the_answer(
    client: Client, path: str, body: object, key: str
) -> None:
    for _ in range(2):  # a repeat says the same
        reply = await client.apost(path, body, org="mild")
        assert reply.status in (200, 201, 202)
        assert reply.json["contentWarnings"] == {key: FOREIGN}
    assert "contentWarnings" not in (await client.apost(path, body, org="skd")).json


@pytest.mark.parametrize("path", [f"{ORDERS}/sms", CHAINS])
async def test_the_receipt_of_an_sms_warns_of_login_links_and_identity_numbers(client: Client, path: str) -> None:
    text = f"Logg inn på altinn.no, {synthetic_person_id(3, 5)}"
    v1 = {"body": text, "recipients": [{"mobileNumber": "+4799999501"}]}
    codes = ["loginLink", "nationalIdentityNumber"]

    def receipt(reply: Reply) -> Any:
        return reply.json["notification" if path == CHAINS else "smsReceipt"]

    for _ in range(2):
        told = receipt(await client.apost(path, chain(recipientSms=sms(text)) if path == CHAINS else v1))
        warnings = told.get("smsReceipt", told)["warnings"]
        assert [warning["code"] for warning in warnings] == codes
        assert all(warning["description"].endswith(".") for warning in warnings)
    plain = receipt(await client.apost(f"{ORDERS}/sms", {**v1, "body": "Hei"})) if path != CHAINS else {}
    assert "warnings" not in plain


# Withheld when sent


async def placed(road: Road, **changes: Any) -> OrderId:
    order = (await road.place(**changes)).order_id
    await road.run()
    return order


@pytest.mark.assertion("channels", 101)
@pytest.mark.parametrize("channel", [OrderChannel.EMAIL, OrderChannel.SMS])
async def test_a_keyword_cannot_bring_in_a_foreign_link(road: Road, channel: OrderChannel) -> None:
    road.directory.people = {KARI: PersonContact(reserved=False, email="kari@example.com", mobile="+4799999501")}
    road.directory.known_names = {KARI: "KARI evil.example"}
    to = {"recipients": (Recipient(national_identity_number=KARI),), "channel": channel}
    texts = {
        "email": EmailTemplate("noreply@altinn.no", "Brev", "Hei $recipientName$, se https://altinn.no"),
        "sms": SmsTemplate("Etaten", "Hei $recipientName$, se https://altinn.no"),
        "sending_time": SendingTime.ANYTIME,
    }
    order = await placed(road, **to, **texts)
    assert (road.mail.sent, road.sms.sent) == ([], [])
    assert [reason for _, reason in await road.outcomes(order)] == ["Failed"]
    async with road.db.reading() as conn:
        facts = await find_facts(conn, "ttd", order)
    assert facts
    (withheld,) = [event for event in tell(facts).past if event.kind is EventKind.ATTEMPT_WITHHELD]
    assert withheld.detail == "url_policy: Link 1 leads to a host that is not on the list."
    assert facts.notifications[0].detail.startswith("url_policy")
    await placed(road, **to, **texts, creator="skd")
    assert len(road.mail.sent) + len(road.sms.sent) == 1


async def test_a_name_in_a_subject_is_judged_too(road: Road) -> None:
    road.directory.people = {KARI: PersonContact(reserved=False, email="kari@example.com")}
    road.directory.known_names = {KARI: "evil.example"}
    order = await placed(
        road,
        recipients=(Recipient(national_identity_number=KARI),),
        email=EmailTemplate("noreply@altinn.no", "Til $recipientName$", "Hei"),
    )
    assert await road.outcomes(order) == [("email", "Failed")]


async def test_a_link_that_is_only_warned_of_is_sent(road: Road) -> None:
    await placed(road, creator="mild", email=EmailTemplate("noreply@example.com", "Brev", EVIL))
    assert len(road.mail.sent) == 1


@pytest.mark.assertion("channels", 71)
async def test_an_sms_that_one_of_the_gateways_could_not_carry_is_refused_when_it_is_ordered(client: Client) -> None:
    """Design 8: the smallest limit of the enabled providers, here Twilio's 1600 characters."""
    to = [{"mobileNumber": "+4799999501"}]
    taken = await client.apost(f"{ORDERS}/sms", {"body": "a" * 1600, "recipients": to})
    refused = await client.apost(f"{ORDERS}/sms", {"body": "a" * 1601, "recipients": to})
    assert taken.status == 202
    assert refused.errors == {"Body": ["The text is longer than the SMS gateways here carry."]}
