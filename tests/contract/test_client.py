"""The Python client against a running API, over a network that loses what it likes: nothing is ordered twice."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

import pytest
from aiohttp import web

from certificates import tls_for
from client_world import stored
from proxying import Fault, Proxy, listening, proxy_to
from serving import HOUR, Api
from varsel.client import (
    AsyncVarsel,
    Attachment,
    ComposedEmail,
    Conflict,
    EmailSettings,
    FeedEntry,
    Forbidden,
    InstantEmail,
    InstantSms,
    Invalid,
    NobodyReachable,
    NotFound,
    OrderChain,
    OrderReceipt,
    RecipientEmail,
    RecipientExternalIdentity,
    RecipientOrganization,
    RecipientPerson,
    RecipientSms,
    Reminder,
    SmsSettings,
    Unauthorised,
    Unavailable,
    Unexpected,
    Varsel,
)
from varsel.delivery.ports import Verdict
from varsel.domain.ids import OrderId
from varsel.issuer import CREATOR_SCOPES
from varsel.recipients.ports import ExternalContact, OrganisationContact, PersonContact

T = TypeVar("T")

PERSON: Final = "01817012345"
ORGANISATION: Final = "910000017"
USER: Final = "urn:altinn:party:username:olduser1"
EMAIL: Final = EmailSettings(subject="New letter", body="You have a new letter.")
SMS: Final = SmsSettings(body="You have a new letter.", sending_time_policy="Anytime")
TO_EMAIL: Final = RecipientEmail(email_address="kari@example.com", email_settings=EMAIL)
TO_SMS: Final = RecipientSms(phone_number="+4799999501", sms_settings=SMS)
ORDER: Final = OrderChain(recipient=TO_EMAIL)
PASSING: Final = [fault for fault in Fault if fault not in (Fault.GONE, Fault.PAGE)]
SCRIPTS: Final = [faults for length in (0, 1, 2) for faults in product(PASSING, repeat=length)]


@pytest.fixture(autouse=True)
def _people(api: Api) -> None:
    directory = api.road.directory
    directory.people = {PERSON: PersonContact(reserved=False, email="per@example.com", mobile="+4799999502")}
    directory.official = {ORGANISATION: OrganisationContact(("post@example.com",), (), ORGANISATION)}
    directory.externals = {USER: ExternalContact("old@example.com", "+4799999542")}


@pytest.fixture
async def proxy(api: Api) -> AsyncIterator[Proxy]:
    async with proxy_to(api.client.port) as proxy:
        yield proxy


def token(api: Api) -> str:
    return api.client.token("ttd", CREATOR_SCOPES)


def address(api: Api) -> str:
    return f"http://127.0.0.1:{api.client.port}"


class Both:
    """The two clients behind one door: each call is made by the one that it is about."""

    def __init__(self, url: str, token: str, *, waits: bool, **how: Any) -> None:
        how = {"within": timedelta(minutes=3), **how}  # faults that pass, pass; a slow machine is slow
        self._sync = Varsel(url, token, **how) if waits else None
        self._async = AsyncVarsel(url, token, **how)

    async def __call__(self, name: str, *given: Any, **more: Any) -> Any:
        if self._sync:
            return await asyncio.to_thread(partial(getattr(self._sync, name), *given, **more))
        return await getattr(self._async, name)(*given, **more)

    async def feed(self, after: int, count: int) -> list[FeedEntry]:
        """The first entries of a feed that is followed."""
        if self._sync:
            entries = self._sync.feed(after, follow=True)
            return await asyncio.to_thread(lambda: [next(entries) for _ in range(count)])
        async with aclosing(self._async.feed(after, follow=True)) as found:  # type: ignore[type-var]  # is a generator
            return [await anext(found) for _ in range(count)]

    async def __aenter__(self) -> "Both":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sync:
            self._sync.close()
        await self._async.close()


both = pytest.mark.parametrize("waits", [True, False], ids=["sync", "async"])


async def finish(api: Api, *receipts: OrderReceipt) -> None:
    """Let each message of these orders leave and arrive."""
    await api.road.run()
    for receipt in receipts:
        for row in await api.road.rows(OrderId(receipt.shipment_id)):
            await api.road.report(row.id, Verdict.DELIVERED)
    await api.road.run()


# A bad network


@both
async def test_whatever_the_network_loses_an_order_is_stored_once(api: Api, proxy: Proxy, waits: bool) -> None:
    async def order(number: int, faults: tuple[Fault, ...]) -> tuple[str, UUID]:
        url = proxy.client(f"lane{number}", faults)
        async with Both(url, token(api), waits=waits) as client:
            receipt = await client("order", ORDER)
        assert proxy.requests[f"lane{number}"] == len(faults) + 1
        return receipt.idempotency_id, receipt.shipment_id

    receipts = await asyncio.gather(*(order(number, faults) for number, faults in enumerate(SCRIPTS)))
    assert len({shipment for _, shipment in receipts}) == len(SCRIPTS)
    assert await stored(api) == sorted(id_ for id_, _ in receipts)


@both
async def test_an_instant_message_leaves_once_though_its_answer_was_lost(api: Api, proxy: Proxy, waits: bool) -> None:
    url = proxy.client("codes", [Fault.LOST, Fault.TORN, Fault.GATEWAY])
    sms = InstantSms(phone_number="+4799999501", text="Your code is 123456", sender="Fjordvik")
    async with Both(url, token(api), waits=waits) as client:
        receipt = await client("send_now", sms)
        assert not receipt.created
        assert await stored(api) == [receipt.idempotency_id]
        found = await client("shipment", receipt.shipment_id)
    assert [message.destination for message in found.recipients] == ["+4799999501"]
    assert len(api.road.sms.sent) == 1


@both
async def test_when_nobody_answers_in_time_the_order_can_be_repeated_by_its_id(
    api: Api, proxy: Proxy, waits: bool
) -> None:
    url = proxy.client("dead", [Fault.LOST, Fault.GONE])
    async with Both(url, token(api), waits=waits) as client:
        with pytest.raises(Unavailable) as told:
            await client("order", ORDER)
    assert told.value.outcome_unknown
    assert await stored(api) == [told.value.idempotency_id]
    again = OrderChain(recipient=TO_EMAIL, idempotency_id=told.value.idempotency_id)
    async with Both(address(api), token(api), waits=waits) as client:
        receipt = await client("order", again)
    assert not receipt.created
    assert await stored(api) == [told.value.idempotency_id]


@both
async def test_a_service_that_is_not_there_has_taken_nothing(api: Api, waits: bool) -> None:
    async with Both("http://127.0.0.1:1", "token", waits=waits, within=timedelta(seconds=0.3)) as client:
        with pytest.raises(Unavailable, match="does not answer") as told:
            await client("order", ORDER)
    assert not told.value.outcome_unknown


@both
async def test_the_feed_gives_each_order_once_through_every_loss_and_goes_on_where_one_stopped(
    api: Api, proxy: Proxy, waits: bool
) -> None:
    async with Both(address(api), token(api), waits=waits) as client:
        receipts = [await client("order", ORDER) for _ in range(4)]
        await finish(api, *receipts)
    url = proxy.client("feed", [Fault.CUT, Fault.LOST, Fault.TORN, Fault.AWAY])
    async with Both(url, token(api), waits=waits) as client:
        first = await client.feed(0, 2)
    async with Both(url, token(api), waits=waits) as client:  # a restart
        second = await client.feed(first[-1].sequence_number, 2)
    told = [entry.shipment_id for entry in (*first, *second)]
    assert sorted(told) == sorted(receipt.shipment_id for receipt in receipts)
    assert {entry.status for entry in second} == {"Order_Completed"}


async def test_a_feed_that_is_not_followed_ends(api: Api) -> None:
    async with AsyncVarsel(address(api), token(api)) as client:
        await finish(api, await client.order(ORDER))
        assert [entry.correction async for entry in client.feed()] == [False]
    with Varsel(address(api), token(api)) as waiting:
        assert len(await asyncio.to_thread(lambda: list(waiting.feed()))) == 1
        assert await asyncio.to_thread(lambda: list(waiting.feed(after=2**62))) == []


@both
async def test_with_an_id_of_ones_own_the_whole_program_may_run_again(api: Api, proxy: Proxy, waits: bool) -> None:
    order = OrderChain(recipient=TO_EMAIL, idempotency_id="letter-114")
    url = proxy.client("one", [Fault.LOST, Fault.GONE] * 3)
    async with Both(url, token(api), waits=waits) as client:
        for _ in range(3):
            with pytest.raises(Unavailable):
                await client("order", order)
    assert await stored(api) == ["letter-114"]


async def test_threads_share_a_client_and_connections_are_used_again(api: Api) -> None:
    with Varsel(address(api), token(api)) as client:
        orders = [asyncio.to_thread(lambda: [client.order(ORDER) for _ in range(5)]) for _ in range(8)]
        receipts = [receipt for some in await asyncio.gather(*orders) for receipt in some]
        assert len(client._connections._idle) <= 8
    assert await stored(api) == sorted({receipt.idempotency_id for receipt in receipts})
    assert len(receipts) == 40


@both
async def test_a_connection_that_the_service_has_closed_meanwhile_costs_no_try(
    waits: bool, caplog: pytest.LogCaptureFixture
) -> None:
    closed = asyncio.Event()

    async def answer_and_close(request: web.Request) -> web.Response:
        def close() -> None:
            assert request.transport
            request.transport.close()
            asyncio.get_running_loop().call_soon(closed.set)

        asyncio.get_running_loop().call_later(0.05, close)
        return web.json_response([])

    caplog.set_level("INFO", logger="varsel.client")
    async with (
        listening(answer_and_close) as port,
        Both(f"http://127.0.0.1:{port}", "token", waits=waits) as client,
    ):
        for _ in range(2):
            assert await client("call", "GET", "/") == []
            await closed.wait()
            closed.clear()
    assert caplog.messages == []


@both
async def test_who_cannot_prove_to_be_the_service_hears_no_order(api: Api, tmp_path: Path, waits: bool) -> None:
    heard: list[str] = []

    async def hear(request: web.Request) -> web.Response:
        heard.append(request.path)
        return web.json_response([])

    server, trusting = tls_for("localhost", tmp_path)
    async with listening(hear, server) as port:
        url = f"https://localhost:{port}"
        async with Both(url, token(api), waits=waits) as client:
            with pytest.raises(Unexpected, match=r"certificate of \S+ is not trusted"):
                await client("order", ORDER)
        assert heard == []
        async with Both(url, token(api), waits=waits, context=trusting) as client:
            for _ in range(3):
                await client("call", "GET", "/notifications/api/v1/future/shipment/feed")
    assert len(heard) == 3


# Every kind of call


@both
async def test_every_kind_of_recipient_is_taken_and_previewed(api: Api, waits: bool) -> None:
    looked_up: dict[str, Any] = {"channel_schema": "EmailPreferred", "email_settings": EMAIL, "sms_settings": SMS}
    recipients = (
        TO_EMAIL,
        TO_SMS,
        RecipientPerson(national_identity_number=PERSON, ignore_reservation=True, **looked_up),
        RecipientOrganization(org_number=ORGANISATION, **looked_up),
        RecipientExternalIdentity(external_identity=USER, fallback_on_failure=True, **looked_up),
    )
    async with Both(address(api), token(api), waits=waits) as client:
        for recipient in recipients:
            order = OrderChain(recipient=recipient, senders_reference="case-1")
            preview = await client("preview", order)
            assert preview.accepted
            assert preview.notification.summary.reached == 1
            (told,) = preview.notification.recipients
            assert told.messages[0].text.body == "You have a new letter."
            assert (await client("order", order)).notification.senders_reference == "case-1"
    assert len(await stored(api)) == len(recipients)


@both
async def test_a_chain_has_its_reminders_and_all_is_cancelled_by_its_reference(api: Api, waits: bool) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=400)
    reminders = (
        Reminder(recipient=TO_SMS, delay=timedelta(days=1, hours=4), senders_reference="case-1"),
        Reminder(recipient=TO_EMAIL, delay_days=7, senders_reference="case-1"),
        Reminder(recipient=TO_EMAIL, requested_send_time=tomorrow + timedelta(days=9), senders_reference="case-1"),
    )
    order = OrderChain(
        recipient=TO_EMAIL, requested_send_time=tomorrow, reminders=reminders, senders_reference="case-1"
    )
    async with Both(address(api), token(api), waits=waits) as client:
        receipt = await client("order", order)
        assert [one.sms_receipt is None for one in receipt.notification.reminders] == [False, True, True]
        await client("cancel", receipt.shipment_id)
        await client("cancel", receipt.shipment_id)
        done = await client("cancel_all", "case-1")
        assert (done.cancelled, done.not_cancelled) == (4, 0)
        assert (await client("shipment", receipt.shipment_id)).status == "Order_Cancelled"


@both
async def test_a_fate_is_waited_for(api: Api, waits: bool) -> None:
    seen: list[str] = []
    async with Both(address(api), token(api), waits=waits) as client:
        receipt = await client("order", ORDER)
        waiting = asyncio.ensure_future(
            client("wait_for_fate", receipt.shipment_id, on_change=lambda found: seen.append(found.status))
        )
        await finish(api, receipt)
        found = await waiting
    assert found.ended
    assert found.recipients[0].arrived
    assert found.recipients[0].destination == "kari@example.com"
    assert seen[-1] == "Order_Completed"


@both
async def test_email_now_and_email_with_attachments_are_taken(api: Api, waits: bool) -> None:
    composed = ComposedEmail(
        email_address="kari@example.com",
        email_settings=EMAIL,
        attachments=[
            Attachment(
                filename="decision.pdf",
                mime_type="application/pdf",
                sas_url="https://fjordvik.blob.core.windows.net/out/a.pdf?se=2099-09-03T10%3A00%3A00Z&sp=r&sr=b&sig=c2ln",
            )
        ],
    )
    async with Both(address(api), token(api), waits=waits) as client:
        assert (await client("send_now", InstantEmail(email_address="kari@example.com", email_settings=EMAIL))).created
        assert (await client("order_composed", composed)).created
        given = {"recipient": {"recipientSms": {"phoneNumber": "+4799999501", "smsSettings": {"body": "In JSON."}}}}
        assert (await client("order", given)).idempotency_id
        assert "idempotencyId" not in given


# Refusals


@both
async def test_refusals_are_typed_and_name_the_fields(api: Api, waits: bool) -> None:
    unreachable = RecipientPerson(national_identity_number="03817012345", channel_schema="Email", email_settings=EMAIL)
    wrong = OrderChain(recipient=RecipientEmail(email_address="kari", email_settings=EMAIL))
    async with Both(address(api), token(api), waits=waits) as client:
        with pytest.raises(Invalid) as told:
            await client("order", wrong)
        assert told.value.errors.keys() == {"Recipient.RecipientEmail.EmailAddress"}
        assert told.value.trace_id
        assert "kari" not in str(told.value)
        with pytest.raises(NobodyReachable) as nobody:
            await client("order", OrderChain(recipient=unreachable))
        assert nobody.value.code == "NOT-00001"
        with pytest.raises(NotFound):
            await client("shipment", uuid4())
        with pytest.raises(NotFound):
            await client("cancel", uuid4())
        receipt = await client("order", ORDER)
        await finish(api, receipt)
        with pytest.raises(Conflict):
            await client("cancel", receipt.shipment_id)
    for given, kind in (("nonsense", Unauthorised), (api.client.issuer.mint("ttd", (), HOUR), Forbidden)):
        async with Both(address(api), given, waits=waits) as client:
            with pytest.raises(kind):
                await client("order", ORDER)
    assert await stored(api) == [receipt.idempotency_id]


@both
async def test_an_address_of_something_else_is_told(api: Api, proxy: Proxy, waits: bool) -> None:
    async with Both(f"{address(api)}/elsewhere", token(api), waits=waits) as client:
        with pytest.raises(NotFound):
            await client("order", ORDER)
    async with Both(proxy.client("page", [Fault.PAGE]), token(api), waits=waits) as client:
        with pytest.raises(Unexpected, match="no JSON"):
            await client("shipment", uuid4())


async def test_a_token_is_asked_for_before_every_request(api: Api) -> None:
    given: list[str] = []

    def renewed() -> str:
        given.append(token(api))
        return given[-1]

    async def renewed_elsewhere() -> str:
        return renewed()

    functions: tuple[Callable[[], Any], ...] = (renewed, renewed_elsewhere)
    for function in functions:
        async with AsyncVarsel(address(api), function) as client:
            await client.order(ORDER)
    with Varsel(address(api), renewed) as waiting:
        await asyncio.to_thread(waiting.order, ORDER)
        await asyncio.to_thread(waiting.order, ORDER)
    assert len(given) == 4
