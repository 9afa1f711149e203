"""v2 chains from the intake to what becomes of them, on a real database (http-api 9, 11, 13; processing 2.3, 3.6)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from road import Road
from serving import ORDERS, Api, Client, Reply, make_parts, serving
from varsel.api.app import create_app
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.domain.ids import OrderId
from varsel.orders.register import Register
from varsel.recipients.load.folder import load_personas
from varsel.recipients.local import LocalDirectory
from varsel.recipients.personas import DEMO_RESOURCE, GUEST, OLD_USER, ORGANISATIONS, PERSONS
from varsel.recipients.ports import ExternalContact, OrganisationContact, PersonContact, UserContact
from varsel.settings import ProcessingSettings, RegistrySettings, Settings, lists

CHAINS: Final = "/notifications/api/v1/future/orders"
P_OK: Final = "01817012345"
P_RES: Final = "02817012345"
P_NONE: Final = "03817012345"
O_OK: Final = "910000017"
O_USERS: Final = "910000025"
OLD_NAME: Final = "urn:altinn:party:username:olduser1"

EMAIL: Final = {"subject": "New letter", "body": "You have a new letter."}
SMS: Final = {"body": "You have a new letter."}
TO_EMAIL: Final = {"recipientEmail": {"emailAddress": "kari@example.com", "emailSettings": EMAIL}}
TO_SMS: Final = {"recipientSms": {"phoneNumber": "+4799999501", "smsSettings": {**SMS, "sendingTimePolicy": "Anytime"}}}


def _looked_up(kind: str, identifier: dict[str, str], changes: dict[str, Any]) -> dict[str, Any]:
    return {kind: {**identifier, "channelSchema": "Email", "emailSettings": EMAIL, "smsSettings": SMS, **changes}}


def person(nin: str = P_OK, **changes: Any) -> dict[str, Any]:
    return _looked_up("recipientPerson", {"nationalIdentityNumber": nin}, changes)


def organisation(number: str = O_OK, **changes: Any) -> dict[str, Any]:
    return _looked_up("recipientOrganization", {"orgNumber": number}, changes)


def external(urn: str = OLD_NAME, **changes: Any) -> dict[str, Any]:
    return _looked_up("recipientExternalIdentity", {"externalIdentity": urn}, changes)


def body(recipient: object = TO_EMAIL, **changes: Any) -> dict[str, Any]:
    return {"idempotencyId": str(uuid4()), "recipient": recipient, **changes}


def reminder(recipient: object = TO_SMS, **changes: Any) -> dict[str, Any]:
    return {"delayDays": 7, "recipient": recipient, **changes}


@pytest.fixture(autouse=True)
def _people(api: Api) -> None:
    directory = api.road.directory
    directory.people = {
        P_OK: PersonContact(reserved=False, email="per@example.com", mobile="+4799999502"),
        P_RES: PersonContact(reserved=True, email="siri@example.com", mobile="+4799999503"),
    }
    directory.official = {O_OK: OrganisationContact(("post@example.com",), (), O_OK)}
    directory.users = {O_USERS: [UserContact(101, "in@example.com", None)]}
    directory.externals = {OLD_NAME: ExternalContact("old@example.com", "+4799999542")}


async def posted(api: Api, sent: object, **how: Any) -> Reply:
    return await api.client.apost(CHAINS, sent, **how)


async def created(api: Api, sent: object, **how: Any) -> Any:
    reply = await posted(api, sent, **how)
    assert reply.status == 201, reply.content
    return reply.json


async def got(api: Api, path: str, **how: Any) -> Any:
    reply = await api.client.aget(path, **how)
    assert reply.status == 200, (reply.status, reply.content)
    return reply.json


async def stored(api: Api) -> tuple[int, int]:
    """How many chains and orders there are."""
    chains = await api.road.value("SELECT count(*) FROM order_chain")
    return chains, await api.road.value("SELECT count(*) FROM orders")


def at(api: Api, **ahead: float) -> str:
    return (api.road.clock.now() + timedelta(**ahead)).isoformat()


async def assert_unreachable(api: Api, sent: object, **how: Any) -> None:
    reply = await posted(api, sent, **how)
    assert reply.status == 422
    problem = reply.json
    assert problem.pop("traceId").startswith("00-")
    assert problem == {
        "type": "urn:altinn:error:NOT-00001",
        "title": "Missing contact information for recipient(s)",
        "status": 422,
        "code": "NOT-00001",
        "statusDescription": "Unprocessable Entity",
    }


# Registration


@pytest.mark.assertion("http-api", 83, 111)
@pytest.mark.assertion("processing", 12)
async def test_the_orders_of_a_chain_are_stored_together_and_read_like_any_order(api: Api) -> None:
    dialog = {"dialogId": "d-1", "transmissionId": "t-1"}
    answer = await created(
        api,
        body(
            person(resourceId="urn:altinn:resource:x", resourceAction="write"),
            sendersReference="letter",
            requestedSendTime="2026-12-01T12:00:00+02:00",
            dialogportenAssociation=dialog,
            reminders=[reminder(sendersReference="first"), reminder(organisation(), delayDays=14)],
        ),
    )
    assert await stored(api) == (1, 3)
    main = await got(api, f"{ORDERS}/{answer['notification']['shipmentId']}")
    first, second = [await got(api, f"{ORDERS}/{r['shipmentId']}") for r in answer["notification"]["reminders"]]
    assert [o["requestedSendTime"] for o in (main, first, second)] == [
        "2026-12-01T10:00:00Z",
        "2026-12-08T10:00:00Z",
        "2026-12-15T10:00:00Z",
    ]
    assert [o.get("sendersReference") for o in (main, first, second)] == ["letter", "first", None]
    assert (main["resourceId"], main["resourceAction"]) == ("urn:altinn:resource:x", "write")
    assert [o.get("ignoreReservation") for o in (main, first, second)] == [False, None, None]
    assert first["recipients"] == [{"mobileNumber": "+4799999501"}]
    assert main["emailTemplate"]["fromAddress"] == "noreply@altinn.cloud"  # assertion 101
    assert [o["creator"] for o in (main, first, second)] == ["ttd"] * 3
    ids = await api.road.value("SELECT dialog_id || ' ' || transmission_id FROM order_chain")
    assert ids == "d-1 t-1"
    chains = await api.road.value("SELECT array_agg(DISTINCT chain_id::text) FROM orders")
    assert chains == [answer["notificationOrderId"]]


async def test_a_chain_of_an_external_identity_goes_where_the_register_says_with_its_keywords_as_written(
    api: Api,
) -> None:
    email = {"subject": "To $recipientName$", "body": "b"}
    sent = body(external(channelSchema="EmailAndSms", emailSettings=email))
    shipment = OrderId((await created(api, sent))["notification"]["shipmentId"])
    assert (await got(api, f"{ORDERS}/{shipment}"))["recipients"] == [{}]
    await api.road.run()
    assert [(row.channel, row.address) for row in await api.road.rows(shipment)] == [
        ("email", "old@example.com"),
        ("sms", "+4799999542"),
    ]
    assert [getattr(m, "subject", "") for m in api.road.mail.sent] == ["To $recipientName$"]
    assert await api.road.value("SELECT count(*) FROM notification WHERE subject_key IS NOT NULL") == 0


# Idempotency


@pytest.mark.assertion("http-api", 88, 89)
@pytest.mark.assertion("processing", 14)
async def test_the_same_id_again_is_answered_as_the_first_time_whatever_the_body_says(api: Api) -> None:
    first = body(sendersReference="a", reminders=[reminder(sendersReference="b"), reminder()])
    answer = await created(api, first)
    other = body(TO_SMS, idempotencyId=first["idempotencyId"], sendersReference="other")
    for again in (first, other):
        reply = await posted(api, again)
        assert (reply.status, reply.json, reply.headers["Location"]) == (200, answer, None)
    assert await stored(api) == (1, 3)


async def test_a_repeat_is_answered_even_when_the_recipient_can_no_longer_be_reached(api: Api) -> None:
    sent = body(person())
    answer = await created(api, sent)
    api.road.directory.people = {}
    reply = await posted(api, sent)
    assert (reply.status, reply.json) == (200, answer)


@pytest.mark.assertion("http-api", 90)
@pytest.mark.assertion("processing", 15)
async def test_creators_do_not_share_their_ids(api: Api) -> None:
    sent = body()
    await created(api, sent)
    await created(api, sent, org="xyz")
    assert (await posted(api, {**sent, "idempotencyId": sent["idempotencyId"].upper()})).status == 201
    assert (await posted(api, {**sent, "idempotencyId": sent["idempotencyId"] + " "})).status == 201


async def test_an_id_may_be_longer_than_an_index_takes(api: Api) -> None:
    long = "".join(str(uuid4()) for _ in range(300))
    answer = await created(api, body(idempotencyId=long))
    assert (await posted(api, body(idempotencyId=long))).json == answer
    await created(api, body(idempotencyId=long + "x"))


@pytest.mark.assertion("processing", 17)
async def test_of_many_equal_requests_at_once_one_is_created_and_all_hear_its_ids(api: Api) -> None:
    sent = body(person(), reminders=[reminder()])
    replies = await asyncio.gather(*(posted(api, sent) for _ in range(20)))
    assert sorted(reply.status for reply in replies) == [200] * 19 + [201]
    assert len({reply.content for reply in replies}) == 1
    assert await stored(api) == (1, 2)


@pytest.mark.assertion("http-api", 91)
async def test_a_refused_request_leaves_its_id_free(api: Api) -> None:
    sent = body(person(P_NONE))
    await assert_unreachable(api, sent)
    assert (await posted(api, {**sent, "recipient": {}})).status == 400
    await created(api, {**sent, "recipient": person(P_OK)})


# Who can be reached


@pytest.mark.assertion("http-api", 102, 103)
@pytest.mark.assertion("processing", 18)
@pytest.mark.parametrize(
    "recipient",
    [
        person(P_NONE),
        person("00000000000"),
        person(P_NONE, ignoreReservation=True),
        organisation("910000033"),
        organisation(channelSchema="Sms"),
        external("urn:altinn:username:nobody"),
        external("urn:altinn:username:nobody", channelSchema="EmailAndSms"),
    ],
)
async def test_a_chain_to_somebody_who_cannot_be_reached_is_refused_and_not_stored(api: Api, recipient: object) -> None:
    await assert_unreachable(api, body(recipient))
    assert await stored(api) == (0, 0)


@pytest.mark.assertion("http-api", 104)
@pytest.mark.assertion("processing", 20)
async def test_an_unreachable_reminder_refuses_the_whole_chain(api: Api) -> None:
    sent = body(person(), reminders=[reminder(), reminder(person(P_NONE))])
    await assert_unreachable(api, sent)
    assert await stored(api) == (0, 0)
    await created(api, {**sent, "reminders": [reminder(), reminder(person(P_OK))]})


@pytest.mark.assertion("http-api", 105)
@pytest.mark.assertion("processing", 19)
@pytest.mark.parametrize("ignore", [False, True])
async def test_a_reservation_does_not_stop_a_chain_only_the_message(api: Api, ignore: bool) -> None:
    shipment = (await created(api, body(person(P_RES, ignoreReservation=ignore))))["notification"]["shipmentId"]
    await api.road.run()
    outcome = "accepted" if ignore else "Failed_RecipientReserved"
    assert await api.road.outcomes(OrderId(shipment)) == [("email", outcome)]


@pytest.mark.assertion("processing", 21, 23)  # both overridden: design 8
@pytest.mark.assertion("registries", 86)
async def test_addresses_that_users_registered_count_when_the_order_names_a_resource(api: Api) -> None:
    await assert_unreachable(api, body(organisation(O_USERS)))
    asked = organisation(O_USERS, resourceId="urn:altinn:resource:demo", resourceAction=" write ")
    await assert_unreachable(api, body(asked))  # nobody may act
    api.road.directory.rights = {(O_USERS, 101)}
    await created(api, body(asked))
    assert api.road.directory.asked[-2:] == ["users demo", "permitted demo write"]


async def test_a_register_that_is_down_is_answered_503_and_the_id_stays_free(api: Api) -> None:
    sent = body(person())
    api.road.directory.down = True
    reply = await posted(api, sent)
    assert (reply.status, reply.json["code"]) == (503, "NOT-00004")
    api.road.directory.down = False
    await created(api, sent)


# Creators with policies, and the personas of the registers


@pytest.fixture
async def policies(database: Database, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Client]:
    """An API over the local registers with the personas; `xyz` always uses stale addresses, and is strict about ids."""
    await load_personas(database, clock=clock)
    processing = ProcessingSettings(stale_contact_creators=("skd", "xyz"), strict_idempotency_creators=("XYZ",))
    road = Road(database, clock)
    register = Register(database, LocalDirectory(database, RegistrySettings()), clock, road.waker)
    settings = Settings(processing=processing)
    parts = make_parts(
        tmp_path, clock, database, register.register_order, settings, register_chain=register.register_chain
    )
    assert parts.issuer
    async with serving(create_app(parts)) as port:
        yield Client(port, parts.issuer)
    await register.close()
    await road.waker.close()


@pytest.mark.assertion("http-api", 114)
@pytest.mark.assertion("processing", 22)
async def test_stale_addresses_are_used_for_who_asks_and_for_creators_with_that_policy(policies: Client) -> None:
    stale, asks = person(PERSONS["P7"]), person(PERSONS["P7"], useStaleContactInformation=True)
    assert (await policies.apost(CHAINS, body(stale))).status == 422
    assert (await policies.apost(CHAINS, body(asks))).status == 201
    for creator in ("skd", "SKD", "xyz"):
        assert (await policies.apost(CHAINS, body(stale, reminders=[reminder(stale)]), org=creator)).status == 201


async def test_the_default_policies_are_those_of_the_contract() -> None:
    processing = ProcessingSettings()
    assert [lists(processing.stale_contact_creators, name) for name in ("skd", "Skd", "ttd")] == [True, True, False]
    assert not lists(processing.strict_idempotency_creators, "ttd")
    everybody = ProcessingSettings.model_validate({"strict_idempotency_creators": "a, *"})  # as a variable says it
    assert everybody.strict_idempotency_creators == ("a", "*")
    assert lists(everybody.strict_idempotency_creators, "ttd")


async def test_strict_idempotency_refuses_another_body_under_a_used_id(policies: Client) -> None:
    sent = body(sendersReference="r", reminders=[reminder()])
    same = {"IDEMPOTENCYID": sent["idempotencyId"], **{k: v for k, v in sent.items() if k != "idempotencyId"}}
    other = {**sent, "sendersReference": "s"}
    for org, expected in (("ttd", [201, 200, 200, 200]), ("xyz", [201, 200, 409, 200])):
        replies = [await policies.apost(CHAINS, again, org=org) for again in (sent, same, other, sent)]
        assert [reply.status for reply in replies] == expected
        assert replies[0].content == replies[3].content
        if org == "xyz":
            problem = replies[2].json
            assert (problem["title"], problem["status"]) == ("Conflict", 409)
            assert "idempotencyId" in problem["detail"]


@pytest.mark.parametrize(
    ("recipient", "status"),
    [
        pytest.param(external(f"urn:altinn:person:idporten-email:{GUEST}"), 201, id="login"),
        pytest.param(external(f"urn:altinn:person:idporten-email:{GUEST}", channelSchema="Sms"), 201, id="login sms"),
        pytest.param(external("urn:altinn:person:idporten-email:new%40example.com"), 201, id="unknown login"),
        pytest.param(
            external("urn:altinn:person:idporten-email:new%40example.com", channelSchema="Sms"), 422, id="no mobile"
        ),
        pytest.param(external(f"urn:altinn:username:{OLD_USER.upper()}", channelSchema="Sms"), 201, id="user name"),
        pytest.param(external("urn:altinn:username:nobody"), 422, id="unknown name"),
        pytest.param(organisation(ORGANISATIONS["O5"]), 422, id="no official address"),
        pytest.param(
            organisation(ORGANISATIONS["O5"], resourceId=f"urn:altinn:resource:{DEMO_RESOURCE}"), 201, id="users"
        ),
        pytest.param(organisation(ORGANISATIONS["O8"]), 422, id="unknown organisation"),
        pytest.param(person(PERSONS["P12"], channelSchema="Sms"), 422, id="invalid number"),
        pytest.param(person(PERSONS["P12"], channelSchema="SmsPreferred"), 201, id="other channel"),
        pytest.param(person(PERSONS["P9"]), 422, id="deleted"),
        pytest.param(person(PERSONS["P8"]), 201, id="reserved, without a fresh address"),  # O-14
    ],
)
async def test_the_local_registers_decide_who_can_be_reached(policies: Client, recipient: object, status: int) -> None:
    assert (await policies.apost(CHAINS, body(recipient))).status == status


# Cancelling


@pytest.mark.assertion("http-api", 82)
@pytest.mark.assertion("processing", 53, 56, 57, 58)
async def test_a_main_order_is_cancelled_without_its_reminder(api: Api) -> None:
    answer = await created(api, body(requestedSendTime=at(api, hours=1), reminders=[reminder(delayDays=1)]))
    main = answer["notification"]["shipmentId"]
    (late,) = (r["shipmentId"] for r in answer["notification"]["reminders"])
    assert (await api.client.aput(f"{ORDERS}/{main}/cancel", org="xyz")).status == 404
    for _ in range(2):
        assert (await api.client.aput(f"{ORDERS}/{main}/cancel")).status == 200
    api.road.clock.advance(timedelta(days=1, hours=1))
    await api.road.run()
    assert await api.road.state(OrderId(main)) == "Cancelled"
    assert [m.to for m in api.road.mail.sent] == []
    assert [m.to for m in api.road.sms.sent] == ["+4799999501"]
    assert main not in {entry["shipmentId"] for entry in await api.road.feed()}
    assert await api.road.state(OrderId(late)) != "Registered"


@pytest.mark.assertion("processing", 54, 55, 59)
async def test_a_reminder_is_cancelled_alone_and_not_when_it_is_near(api: Api) -> None:
    reminders = [reminder(delayDays=1), {"delay": "PT1H", "recipient": TO_SMS}, {"delay": "PT4M", "recipient": TO_SMS}]
    answer = await created(api, body(reminders=reminders))
    shipments = [r["shipmentId"] for r in answer["notification"]["reminders"]]
    replies = [
        await api.client.aput(f"{ORDERS}/{s}/cancel") for s in (*shipments[1:], answer["notification"]["shipmentId"])
    ]
    assert [reply.status for reply in replies] == [200, 409, 409]
    assert [await api.road.state(OrderId(s)) for s in shipments] == ["Registered", "Cancelled", "Registered"]


async def cancelled(api: Api, query: str, **how: Any) -> Any:
    reply = await api.client.aput(f"{CHAINS}/cancel{query}", **how)
    assert reply.status == 200, reply.content
    return reply.json


async def test_all_orders_with_a_reference_are_cancelled_at_once(api: Api) -> None:
    later = at(api, days=1)
    both = body(
        requestedSendTime=later, sendersReference="c/1", reminders=[reminder(sendersReference="c/1"), reminder()]
    )
    await created(api, both)
    chain = await created(api, body(sendersReference="c/1"))
    v1 = {"subject": "s", "body": "b", "recipients": [{"emailAddress": "a@example.com"}], "requestedSendTime": later}
    assert (await api.client.apost(f"{ORDERS}/email", {**v1, "sendersReference": "c/1"})).status == 202
    await created(api, body(requestedSendTime=later, sendersReference="c/2"))
    await created(api, body(requestedSendTime=later, sendersReference="c/1"), org="xyz")
    expected = {
        "cancelled": 3,
        "notCancelled": 1,
        "shipments": [{"shipmentId": chain["notification"]["shipmentId"], "status": "Order_Registered"}],
    }
    assert await cancelled(api, "?sendersReference=c%2F1") == expected
    assert await cancelled(api, "/?SENDERSREFERENCE=c%2F1") == expected  # again changes nothing
    states = await api.road.value(
        "SELECT array_agg(senders_reference || ' ' || state ORDER BY id) FROM orders WHERE senders_reference <> 'c/1'"
    )
    assert states == ["c/2 Registered"]
    assert await api.road.value("SELECT count(*) FROM orders WHERE state = 'Cancelled'") == 3
    nothing = {"cancelled": 0, "notCancelled": 0, "shipments": []}
    assert await cancelled(api, "?sendersReference=other") == nothing
    assert await cancelled(api, "?sendersReference=c%2F2", org="nobody") == nothing


async def test_a_campaign_of_thousands_is_cancelled_by_one_call(api: Api) -> None:
    await asyncio.gather(
        *(
            api.road.place(senders_reference="c", requested_send_time=api.road.clock.now() + timedelta(days=n % 2))
            for n in range(2_500)
        )
    )
    answer = await cancelled(api, "?sendersReference=c")
    assert (answer["cancelled"], answer["notCancelled"], len(answer["shipments"])) == (1_250, 1_250, 1_000)


@pytest.mark.parametrize("query", ["", "?sendersReference=", "?sendersReference=%20", "?sendersReference=a%00"])
async def test_a_bulk_cancellation_needs_a_reference_and_a_caller(api: Api, query: str) -> None:
    assert list((await api.client.aput(f"{CHAINS}/cancel{query}")).errors) == ["sendersReference"]
    if "%00" not in query:
        assert (await api.client.aput(f"{CHAINS}/cancel{query}", headers={"Authorization": None})).status == 401
    assert (await api.client.aput(f"{CHAINS}/cancel?sendersReference=x", org=None)).status == 403
