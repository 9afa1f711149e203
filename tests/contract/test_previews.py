"""Previews over HTTP: the same bodies and rules as orders, answers that explain themselves, and nothing stored."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from serving import ORDERS, Api
from varsel.domain.order import OrderChannel
from varsel.recipients.ports import OrganisationContact, PersonContact, Record, UserContact

V1: Final = f"{ORDERS}/preview"
CHAINS: Final = "/notifications/api/v1/future/orders"
V2: Final = f"{CHAINS}/preview"
NOW: Final = datetime(2026, 11, 23, 10, tzinfo=UTC)
P_OK, P_RES, P_OLD, P_NONE, P_BAD = "01817012345", "02817012345", "03817012345", "04817012345", "05817012345"
P_UNKNOWN: Final = "06817012345"
UNIT, MAIN, CLUB, EMPTY = "910000017", "910000025", "910000033", "910000041"
MAIL: Final = {"subject": "Hi $recipientName$", "body": "Thank you, $recipientName$."}
TEXT: Final = {"body": "Thank you – $recipientName$"}
YEARS_OLD: Final = NOW - timedelta(days=700)


@pytest.fixture(autouse=True)
def _people(api: Api) -> None:
    record = Record("krr", NOW - timedelta(days=2), NOW - timedelta(days=90), NOW - timedelta(days=30))
    old = Record("krr", NOW, YEARS_OLD, YEARS_OLD)
    directory = api.road.directory
    directory.people = {
        P_OK: PersonContact(reserved=False, email="per@example.com", mobile="+4799999502", record=record),
        P_RES: PersonContact(reserved=True, email="siri@example.com", mobile="+4799999503", record=record),
        P_OLD: PersonContact(reserved=False, mobile="+4799999504", email_stale=True, record=old),
        P_NONE: PersonContact(reserved=False, record=record),
        P_BAD: PersonContact(reserved=False, mobile="+47123", record=record),
    }
    directory.official = {
        UNIT: OrganisationContact(("post@example.com",), (), MAIN, record),
        EMPTY: OrganisationContact((), (), EMPTY),
    }
    directory.users = {CLUB: [UserContact(1, "kasserer@example.com", None), UserContact(2, "vara@example.com", None)]}
    directory.known_names = {P_OK: "Per Fjord", UNIT: "FJELL AVD VEST"}


def person(nin: str) -> dict[str, str]:
    return {"nationalIdentityNumber": nin}


def body(*recipients: dict[str, str], channel: str = "EmailPreferred", **changes: Any) -> dict[str, Any]:
    usual = {"notificationChannel": channel, "emailTemplate": MAIL, "smsTemplate": TEXT, "recipients": recipients}
    return {**usual, **changes}


async def previewed(api: Api, *recipients: dict[str, str], **changes: Any) -> Any:
    reply = await api.client.apost(V1, body(*recipients, **changes))
    assert reply.status == 200, reply.content
    return reply.json


async def message(api: Api, recipient: dict[str, str], **changes: Any) -> Any:
    """The only message to the only recipient."""
    (told,) = (await previewed(api, recipient, **changes))["recipients"]
    (only,) = told["messages"]
    assert told["reached"] == ("leavesAt" in only)
    return only


async def test_a_message_is_told_with_its_address_and_the_record_it_comes_from(api: Api) -> None:
    assert await message(api, person(P_OK)) == {
        "type": "Email",
        "status": "Email_New",
        "destination": "per@example.com",
        "leavesAt": "2026-11-23T10:00:00Z",
        "expiresAt": "2026-11-25T10:00:00Z",
        "addressFrom": {
            "registry": "persons",
            "source": "krr",
            "updated": "2026-08-25T10:00:00Z",
            "ageInDays": 90,
            "copied": "2026-11-21T10:00:00Z",
        },
        "cost": 0.01,
        "text": {"subject": "Hi Per Fjord", "body": "Thank you, Per Fjord."},
    }


async def test_an_sms_is_told_with_its_alphabet_parts_and_replaced_characters(api: Api) -> None:
    told = await message(api, person(P_OK), channel="Sms")
    assert (told["type"], told["status"], told["destination"]) == ("SMS", "SMS_New", "+4799999502")
    assert told["text"] == {"body": "Thank you - Per Fjord"}
    assert told["sms"] == {
        "alphabet": "GSM-7",
        "characters": 21,
        "parts": 1,
        "unfilled": False,
        "replacedCharacters": [{"character": "–", "sentAs": "-", "count": 1}],
    }


async def test_what_a_text_costs_in_parts_is_counted_with_its_keywords_filled(api: Api) -> None:
    told = await previewed(api, person(P_OK), channel="Sms", smsTemplate={"body": "$recipientName$" + "ж" * 66})
    assert told["smsReceipt"] == {
        "alphabet": "UCS-2",
        "characters": 81,
        "parts": 2,
        "unfilled": True,
        "charactersBeyondGsm7": ["ж"],
    }
    assert told["recipients"][0]["messages"][0]["sms"]["characters"] == 75
    assert told["summary"] == {
        "recipients": 1,
        "reached": 1,
        "emails": 0,
        "sms": 1,
        "smsParts": 2,
        "cost": {"currency": "NOK", "amount": 0.6},
    }


async def test_the_price_of_an_sms_goes_by_how_its_number_begins(api: Api) -> None:
    numbers = [{"mobileNumber": "004799999501"}, {"mobileNumber": "+46701740605"}]
    told = await previewed(api, *numbers, channel="Sms", smsTemplate={"body": "a" * 161})
    assert [r["messages"][0]["cost"] for r in told["recipients"]] == [0.6, 4.0]
    assert told["summary"]["cost"]["amount"] == 4.6
    assert [r["messages"][0]["addressFrom"] for r in told["recipients"]] == [{"registry": "order"}] * 2


@pytest.mark.parametrize(
    ("recipient", "channel", "status", "code"),
    [
        (person(P_RES), "Email", "Email_Failed_RecipientReserved", "reserved"),
        (person(P_NONE), "Email", "Email_Failed_RecipientNotIdentified", "noAddress"),
        (person(P_UNKNOWN), "EmailPreferred", "Email_Failed_RecipientNotIdentified", "unknownToTheRegister"),
        (person(P_OLD), "Email", "Email_Failed_RecipientNotIdentified", "addressTooOld"),
        (person(P_BAD), "SmsPreferred", "SMS_Failed_RecipientNotIdentified", "invalidNumber"),
        ({"organizationNumber": EMPTY}, "Email", "Email_Failed_RecipientNotIdentified", "noAddress"),
        ({"organizationNumber": "910000058"}, "Sms", "SMS_Failed_RecipientNotIdentified", "unknownToTheRegister"),
        ({"organizationNumber": CLUB}, "Email", "Email_Failed_RecipientNotIdentified", "noUserMayAct"),
    ],
)
async def test_why_somebody_is_not_reached_is_told_by_code_and_sentence(
    api: Api, recipient: dict[str, str], channel: str, status: str, code: str
) -> None:
    told = await message(api, recipient, channel=channel, resourceId="app_ttd_x")
    assert (told["status"], told["destination"], told["whyNot"]["code"]) == (status, "", code)
    assert told["whyNot"]["description"].endswith(".")
    assert not told.keys() & {"leavesAt", "addressFrom", "cost", "text", "whyNotPreferred"}


async def test_a_fallback_is_told_with_its_reason(api: Api) -> None:
    told = await message(api, person(P_OLD))
    assert (told["type"], told["whyNotPreferred"]["code"]) == ("SMS", "addressTooOld")
    assert told["addressFrom"]["ageInDays"] == 700
    assert "whyNot" not in told


async def test_an_address_of_the_main_unit_or_of_a_user_is_told_as_such(api: Api) -> None:
    api.road.directory.rights = {(CLUB, 1)}
    told = await previewed(
        api, {"organizationNumber": UNIT}, {"organizationNumber": CLUB}, channel="Email", resourceId="app_ttd_x"
    )
    unit, club = (r["messages"] for r in told["recipients"])
    assert (unit[0]["addressFrom"]["registry"], unit[0]["addressFrom"]["organizationNumber"]) == ("organisations", MAIN)
    assert [(m["destination"], m["addressFrom"]["registry"]) for m in club] == [
        ("kasserer@example.com", "organisationUsers")
    ]


async def test_an_sms_by_night_waits_for_the_window_and_an_order_for_later_for_its_time(api: Api) -> None:
    told = await previewed(api, person(P_OK), channel="Sms", requestedSendTime="2026-11-23T22:00:00Z")
    assert told["processedAt"] == "2026-11-23T22:00:00Z"
    assert told["recipients"][0]["messages"][0]["leavesAt"].startswith("2026-11-24T08:00:00")
    assert not told["conditional"]
    url = "https://a.example.no/x"
    assert (await previewed(api, person(P_OK), conditionEndpoint=url))["conditional"]
    assert api.road.conditions.asked == []


async def test_the_preview_of_an_order_tells_what_its_answer_would(api: Api) -> None:
    asked = body(person(P_OK), person(P_RES), person(P_NONE), channel="EmailAndSms", sendersReference="r-1")
    told = (await api.client.apost(V1, asked)).json
    accepted = (await api.client.apost(ORDERS, asked)).json
    assert told["recipientLookup"] == accepted["recipientLookup"]
    assert told["smsReceipt"] == accepted["smsReceipt"]
    assert (told["sendersReference"], told["notificationChannel"], told["type"]) == (
        "r-1",
        OrderChannel.EMAIL_AND_SMS,
        "Notification",
    )


async def test_a_chain_is_previewed_with_its_reminders_and_its_idempotency_id_stays_free(api: Api) -> None:
    to = {"channelSchema": "EmailPreferred", "emailSettings": MAIL, "smsSettings": TEXT}
    recipient = {"recipientPerson": {**person(P_OK), **to}}
    asked = {
        "idempotencyId": "i-1",
        "recipient": recipient,
        "reminders": [{"delayDays": 7, "recipient": {"recipientPerson": {**person(P_UNKNOWN), **to}}}],
    }
    told = (await api.client.apost(V2, asked)).json
    assert (told["accepted"], told["missingContact"]) == (False, [P_UNKNOWN])
    assert told["notification"]["summary"]["reached"] == 1
    (reminder,) = told["reminders"]
    assert (reminder["type"], reminder["processedAt"]) == ("Reminder", "2026-11-30T10:00:00Z")
    assert (await api.client.apost(CHAINS, asked)).status == 422
    del asked["reminders"]
    told = (await api.client.apost(V2, asked)).json
    assert (told["accepted"], told["missingContact"]) == (True, [])
    assert told.keys() == {"accepted", "missingContact", "notification"}
    assert (await api.client.apost(CHAINS, asked)).status == 201


@pytest.mark.parametrize("path", [V1, V2])
async def test_a_preview_obeys_the_rules_of_orders(api: Api, path: str) -> None:
    assert (await api.client.apost(path, {})).errors
    assert (await api.client.apost(path, {}, headers={"Authorization": None})).status == 401
    assert (await api.client.apost(path, {}, scopes=("other",))).status == 403
    assert (await api.client.apost(path, {}, headers={"Content-Type": "text/plain"})).status == 415
    assert (await api.client.aget(path)).status in (400, 405)  # below /orders, a GET would take it for an id


async def test_a_register_that_is_down_is_answered_503(api: Api) -> None:
    api.road.directory.down = True
    reply = await api.client.apost(V1, body(person(P_OK)))
    assert (reply.status, reply.json["code"]) == (503, "NOT-00004")


async def test_without_a_price_no_cost_is_shown(api: Api) -> None:
    told = await previewed(api, {"mobileNumber": "+4799999501"}, person(P_RES), channel="Sms")
    assert told["summary"]["cost"] == {"currency": "NOK", "amount": 0.3}
    assert "cost" not in (await previewed(api, person(P_RES)))["summary"]


# The receipt in the order's answer


async def test_an_order_with_an_sms_text_is_answered_with_a_receipt(api: Api) -> None:
    asked = {"body": "Møt opp – i dag…", "recipients": [{"mobileNumber": "+4799999501"}]}
    reply = await api.client.apost(f"{ORDERS}/sms", asked)
    assert reply.json["smsReceipt"] == {
        "alphabet": "GSM-7",
        "characters": 18,
        "parts": 1,
        "unfilled": False,
        "replacedCharacters": [
            {"character": "–", "sentAs": "-", "count": 1},
            {"character": "…", "sentAs": "...", "count": 1},
        ],
    }


async def test_an_order_that_sends_no_sms_has_no_receipt(api: Api) -> None:
    reply = await api.client.apost(ORDERS, body({"emailAddress": "kari@example.com"}, channel="Email"))
    assert reply.json.keys() == {"orderId"}


async def test_each_order_of_a_chain_with_an_sms_text_has_a_receipt_of_its_own(api: Api) -> None:
    def to(settings: dict[str, str]) -> dict[str, Any]:
        return {"recipientSms": {"phoneNumber": "+4799999501", "smsSettings": settings}}

    email = {"recipientEmail": {"emailAddress": "kari@example.com", "emailSettings": MAIL}}
    reminders = [{"delayDays": 1, "recipient": to({"body": "ж" * 71})}, {"delayDays": 2, "recipient": email}]
    asked = {"idempotencyId": "i-1", "recipient": to(TEXT), "reminders": reminders}
    answer = (await api.client.apost(CHAINS, asked)).json["notification"]
    assert (answer["smsReceipt"]["parts"], answer["smsReceipt"]["unfilled"]) == (1, True)
    first, second = answer["reminders"]
    assert (first["smsReceipt"]["alphabet"], first["smsReceipt"]["parts"]) == ("UCS-2", 2)
    assert "smsReceipt" not in second
    repeated = await api.client.apost(CHAINS, {**asked, "recipient": email})
    assert (repeated.status, repeated.json["notification"]) == (200, answer)
