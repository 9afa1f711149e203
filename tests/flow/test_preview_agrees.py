"""A preview tells what then happens: the same recipients, channels, addresses, reasons, texts and moments."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes import FakeDirectory
from road import Road
from serving import PRICES, RULES
from varsel.clock import ManualClock
from varsel.db import Database, fetch
from varsel.delivery.ports import Email, Sms
from varsel.domain.ids import OrderId
from varsel.domain.order import EmailTemplate, Lane, Order, OrderChannel, Recipient, SendingTime, SmsTemplate
from varsel.domain.sms_text import clean, link_parts
from varsel.preview.outcome import OrderPreview
from varsel.preview.preview import MAX_TEXTS, Previewer
from varsel.recipients.load.folder import load_personas
from varsel.recipients.local import LocalDirectory
from varsel.recipients.personas import DEMO_RESOURCE, GUEST, OLD_USER, ORGANISATIONS, PERSONS
from varsel.settings import RegistrySettings

people = st.sampled_from([*PERSONS.values()]).map(lambda id_: Recipient(national_identity_number=id_))
organisations = st.sampled_from([*ORGANISATIONS.values()]).map(lambda id_: Recipient(organisation_number=id_))
externals = st.sampled_from(
    [f"urn:altinn:person:idporten-email:{GUEST}", f"urn:altinn:party:username:{OLD_USER}", "urn:altinn:username:no"]
).map(lambda urn: Recipient(external_identity=urn))
direct = st.sampled_from(
    [
        Recipient(email="kari@example.com"),
        Recipient(mobile="+47 99 99 95 01"),
        Recipient(email="kari@example.com", mobile="004799999501"),
    ]
)
texts = st.sampled_from(
    ["Hello", "Hello $recipientName$ – $recipientNumber$", "$recipientNumber$", "ж $recipientName$"]
)
emails = st.builds(EmailTemplate, st.just("noreply@example.com"), texts, texts)
sms = st.builds(SmsTemplate, st.just("Varsel"), texts)
orders = st.fixed_dictionaries(
    {
        "channel": st.sampled_from(OrderChannel),
        "recipients": st.lists(people | organisations | externals | direct, min_size=1, max_size=5).map(tuple),
        "email": emails | st.none(),
        "sms": sms | st.none(),
        "sending_time": st.sampled_from(SendingTime) | st.none(),
        "ignore_reservation": st.booleans(),
        "allow_stale": st.booleans(),
        "resource_id": st.sampled_from([None, DEMO_RESOURCE, f"urn:altinn:resource:{DEMO_RESOURCE}", "other"]),
        "resource_action": st.sampled_from([None, "read", "write"]),
    }
)


@dataclass
class Stage:
    road: Road
    previewer: Previewer

    async def rows(self, order: OrderId) -> list[tuple[Any, ...]]:
        sql = """SELECT channel::text, address, state::text, reason, coalesce(wake_at, state_at), expires_at
                   FROM notification WHERE order_id = %(order)s ORDER BY id"""
        async with self.road.db.reading() as conn:
            return await fetch(conn, sql, {"order": order}, lambda *row: row)

    async def resolve(self) -> None:
        worker = await self.road.worker()
        await worker.resolution.resolve_due(Lane.ORDINARY)
        await worker.resolution.resolve_due(Lane.BULK)
        await worker.end(self.road)


@pytest.fixture
def stage(database: Database, clock: ManualClock, runner: asyncio.Runner) -> Iterator[Stage]:
    runner.run(load_personas(database, clock=clock))
    directory = LocalDirectory(database, RegistrySettings())
    road = Road(database, clock, directory=cast("FakeDirectory", directory))  # the road asks nothing else of it
    yield Stage(road, Previewer(directory, clock, RULES, PRICES))
    runner.run(road.waker.close())


def test_what_a_preview_tells_is_what_happens(stage: Stage, runner: asyncio.Runner) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(order=orders, wait=st.sampled_from([0, 3, 11, 24]))
    def check(order: dict[str, Any], wait: int) -> None:
        runner.run(_agrees(stage, order, timedelta(hours=wait)))

    check()


async def _agrees(stage: Stage, given_: dict[str, Any], wait: timedelta) -> None:
    road = stage.road
    order = road.order(**given_, requested_send_time=road.clock.now() + wait)
    preview = await stage.previewer.preview(order)
    placed = await road.place(**_fields(order))
    assert preview.lookup == placed.lookup
    road.clock.advance(wait)
    await stage.resolve()
    rows = await stage.rows(placed.order_id)
    told = [m for r in preview.recipients for m in r.messages]
    assert [(m.channel, m.address, m.expires_at) for m in told] == [(c, a, e) for c, a, _, _, _, e in rows]
    for message, (_, address, state, reason, at, _) in zip(told, rows, strict=True):
        assert (message.leaves_at == at) if message.leaves else (message.why is not None)
        assert bool(message.evidence) == bool(address)
        if message.text is not None or state != "new":  # an empty text fails only when it is sent
            assert (message.state, message.reason) == (state, reason)
    await road.run()
    _compare_texts(preview, [m for m in (*road.mail.sent, *road.sms.sent) if m.order == placed.order_id], road)
    assert {r[2] for r in await stage.rows(placed.order_id)} <= {"accepted", "failed", "new"}


def _compare_texts(preview: OrderPreview, sent: list[Email | Sms], road: Road) -> None:
    """Of those that may leave now: an SMS may have to wait for the window."""
    now = road.clock.now()
    leaving = [m for r in preview.recipients for m in r.messages if m.leaves_at and m.leaves_at <= now]
    expected = sorted((m.address, m.text.subject or "", m.text.body) for m in leaving if m.text)
    actual = [(m.to, m.subject, m.body) if isinstance(m, Email) else (m.to, "", clean(m.text)) for m in sent]
    assert sorted(actual) == expected
    parts = sorted(m.receipt.parts for m in leaving if m.receipt)
    assert parts == sorted(link_parts(clean(m.text)) for m in sent if isinstance(m, Sms))


def _fields(order: Order) -> dict[str, Any]:
    return {name: getattr(order, name) for name in Order.__dataclass_fields__}


async def test_a_big_order_is_counted_in_full_and_listed_in_part(stage: Stage) -> None:
    recipients = tuple(Recipient(email=f"person.{n}@example.com") for n in range(4_500))
    preview = await stage.previewer.preview(stage.road.order(recipients=recipients))
    assert (preview.totals.recipients, preview.totals.reached, preview.totals.emails) == (4_500, 4_500, 4_500)
    assert [r.recipient for r in preview.recipients] == list(recipients[:1_000])
    with_text = [r for r in preview.recipients if r.messages[0].text]
    assert with_text == list(preview.recipients[:MAX_TEXTS])


async def test_a_preview_stores_nothing_and_sends_nothing(stage: Stage) -> None:
    recipient = Recipient(national_identity_number=PERSONS["P1"])
    await stage.previewer.preview(stage.road.order(recipients=(recipient,), condition_endpoint="https://x.example/"))
    await stage.road.run()
    for table in ("orders", "order_content", "notification", "creator", "feed_pending", "status_feed"):
        assert await stage.road.value(f"SELECT count(*) FROM {table}") == 0
    assert [*stage.road.mail.sent, *stage.road.sms.sent, *stage.road.conditions.asked] == []
