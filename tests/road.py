"""The road under a test's hand: real stages on a real database, with the outside world faked and time moved by hand."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from fakes import FakeConditions, FakeDirectory, FakeProvider
from tallies import assert_tallies_agree
from varsel.clock import ManualClock
from varsel.db import Database, fetch, fetch_value
from varsel.delivery import render
from varsel.delivery.asking import AskedProvider, Asker
from varsel.delivery.choice import Routing
from varsel.delivery.guard import Guard
from varsel.delivery.outcome import Rules as SendRules
from varsel.delivery.pool import Pool
from varsel.delivery.ports import Asking, Email, Report, Sms, Verdict
from varsel.delivery.report import Inbox, Reports
from varsel.delivery.send import Sending
from varsel.delivery.store import Claimed, Templates
from varsel.delivery.sweep import Sweeper
from varsel.domain.ids import NotificationId, OrderId, WorkerId, uuid7
from varsel.domain.notification import Channel, Reason
from varsel.domain.order import EmailTemplate, Lane, Order, OrderChannel, OrderKind, Recipient, SmsTemplate
from varsel.domain.schedule import SendWindow
from varsel.heartbeat import beat
from varsel.orders.quotas import Limits, unlimited
from varsel.orders.register import Register, Registration
from varsel.recipients.directory import Outages
from varsel.recipients.ports import ContactDirectory
from varsel.resolution.due import Resolution
from varsel.resolution.fallback import Fallbacks
from varsel.resolution.plan import Rules as ResolutionRules
from varsel.settings import Settings
from varsel.status.feed import number_feed
from varsel.wakeup import Waker

LIFETIME = timedelta(hours=48)
GRACE = timedelta(seconds=300)
UNKNOWN_WAIT = timedelta(minutes=15)


@dataclass(frozen=True)
class Row:
    """A notification as a test looks at it."""

    id: UUID
    channel: str
    state: str
    reason: str | None
    settled: bool
    address: str
    attempts: int
    wake_at: datetime | None
    provider_ref: str | None


@dataclass
class Road:
    db: Database
    clock: ManualClock
    directory: FakeDirectory = field(default_factory=FakeDirectory)
    conditions: FakeConditions = field(default_factory=FakeConditions)
    mail: FakeProvider = field(default_factory=lambda: FakeProvider("mail"))
    sms: FakeProvider = field(default_factory=lambda: FakeProvider("sms", max_batch=100, step=1000))
    settle_after: timedelta | None = timedelta(hours=6)
    window: SendWindow = field(default_factory=SendWindow)
    due_grace: timedelta = timedelta()
    registers: ContactDirectory | None = None  # live ones, in the place of `directory`
    outages: Outages | None = None
    recipients_a_turn: int = 10_000
    mail_routing: Routing = field(default_factory=Routing)
    sms_routing: Routing = field(default_factory=Routing)
    more_mail: list[tuple[FakeProvider, Routing]] = field(default_factory=list)  # other providers of the pool
    more_sms: list[tuple[FakeProvider, Routing]] = field(default_factory=list)
    limits: Limits = unlimited  # of creators
    fail_closed_creators: tuple[str, ...] = ()
    guard: Guard = field(default_factory=lambda: Guard.configured(Settings()))  # without a suppression list
    changed_by_hand: bool = False  # a test has moved notifications itself: no tally knows of it

    def __post_init__(self) -> None:
        self.waker = Waker(self.db)
        self._register = Register(
            self.db,
            self.registers or self.directory,
            self.clock,
            self.waker,
            live=self.registers is not None,
            outages=self.outages,
            limits=self.limits,
        )

    async def place(self, **changes: Any) -> Registration:
        """Register an order: an email to a direct address, unless `changes` say otherwise."""
        return await self._register.register_order(self.order(**changes))

    def order(self, **changes: Any) -> Order:
        now = self.clock.now()
        values: dict[str, Any] = {
            "id": OrderId(uuid7()),
            "creator": "ttd",
            "kind": OrderKind.NOTIFICATION,
            "channel": OrderChannel.EMAIL,
            "created": now,
            "requested_send_time": now,
            "recipients": (Recipient(email="kari@example.com"),),
            "email": EmailTemplate("noreply@example.com", "Subject", "Body"),
            "sms": SmsTemplate("Varsel", "Text"),
        }
        return Order(**{**values, **changes})

    async def worker(self, lease: timedelta = timedelta(seconds=30)) -> "Worker":
        worker = await beat.begin(self.db, kind="worker", lease=lease)
        resolution = Resolution(
            self.db,
            self.registers or self.directory,
            self.conditions,
            self.clock,
            self.waker,
            ResolutionRules(
                self.window,
                LIFETIME,
                timedelta(seconds=60),
                self.recipients_a_turn,
                self.due_grace,
                self.fail_closed_creators,
            ),
            worker,
            live=self.registers is not None,
            outages=self.outages,
        )
        fallbacks = Fallbacks(
            self.db,
            self.registers or self.directory,
            self.clock,
            self.waker,
            ResolutionRules(self.window, LIFETIME, timedelta(seconds=60)),
            outages=self.outages,
        )
        rules = self.send_rules()
        mail = Sending[Email](self.db, self.mail_pool(), self.email, self.clock, self.waker, rules, worker)
        sms = Sending[Sms](self.db, self.sms_pool(), _sms, self.clock, self.waker, rules, worker)
        return Worker(worker, resolution, mail, sms, fallbacks)

    def askers(self) -> list[Asker]:
        """One for each provider that can be asked."""
        rules = self.send_rules()
        return [Asker(self.db, asked, channel, self.clock, self.waker, rules) for asked, channel in self._asked()]

    def _asked(self) -> list[tuple[AskedProvider, Channel]]:
        mail = [(provider, Channel.EMAIL) for provider in (self.mail, *(p for p, _ in self.more_mail))]
        sms = [(provider, Channel.SMS) for provider in (self.sms, *(p for p, _ in self.more_sms))]
        return [(cast(AskedProvider, p), channel) for p, channel in (*mail, *sms) if isinstance(p, Asking)]

    def send_rules(self) -> SendRules:
        return SendRules(self.settle_after, UNKNOWN_WAIT, 60, self.window, gate=self.guard.gate)

    def email(self, row: Claimed, templates: Templates) -> Email | None:
        return self.guard.email(row, templates, now=self.clock.now())

    def mail_pool(self) -> Pool[Email]:
        return Pool(self.db, Channel.EMAIL, [(self.mail, self.mail_routing), *self.more_mail])

    def sms_pool(self) -> Pool[Sms]:
        return Pool(self.db, Channel.SMS, [(self.sms, self.sms_routing), *self.more_sms])

    def sweeper(self, shift: timedelta = timedelta()) -> Sweeper:
        return Sweeper(
            self.db,
            self.clock,
            self.waker,
            policies={
                p.name: p.on_indeterminate
                for p in (self.mail, self.sms, *(p for p, _ in self.more_mail + self.more_sms))
            },
            unknown_wait=UNKNOWN_WAIT,
            expiry_grace=GRACE,
            asked=[asked.name for asked, _ in self._asked()],
            shift=shift,
        )

    async def run(self) -> None:
        """Everything that is due now, until nothing is: resolve, send, apply, wake, expire, number."""
        worker = await self.worker()
        sweeper = self.sweeper()
        askers = self.askers()
        reports = Reports(self.db, self.clock, self.waker, timedelta(days=14), key=self.guard.key)
        while True:
            done = await worker.round() + sum([await asker.ask_due() for asker in askers])
            done += await reports.apply_reports() + await sweeper.wake_due()
            done += await sweeper.expire() if not done else 0
            if not done:
                break
        await number_feed(self.db)
        await worker.end(self)

    async def report(self, notification: UUID | None, verdict: Verdict, **changes: Any) -> None:
        values: dict[str, Any] = {
            "provider": "mail",
            "event_key": str(uuid7()),
            "channel": Channel.EMAIL,
            "verdict": verdict,
            "raw_state": verdict.value,
            "notification": NotificationId(notification) if notification else None,
            "reason": Reason.BOUNCED if verdict is Verdict.FAILED else None,
        }
        await Inbox(self.db, self.clock, self.waker).store([Report(**{**values, **changes})])

    async def rows(self, order: OrderId | None = None) -> list[Row]:
        """Notifications, of one order or all, emails before SMS."""
        sql = """SELECT id, channel, state, reason, settled, address, attempts, wake_at, provider_ref
                   FROM notification WHERE %(order)s::uuid IS NULL OR order_id = %(order)s ORDER BY channel, id"""
        async with self.db.reading() as conn:
            return await fetch(conn, sql, {"order": order}, Row)

    async def outcomes(self, order: OrderId | None = None) -> list[tuple[str, str]]:
        """(channel, reason or state) of each notification."""
        return [(row.channel, row.reason or row.state) for row in await self.rows(order)]

    async def state(self, order: OrderId) -> str:
        return str(await self.value("SELECT state FROM orders WHERE id = %(order)s", order=order))

    async def feed(self) -> list[dict[str, Any]]:
        async with self.db.reading() as conn:
            return await fetch(conn, "SELECT body FROM status_feed ORDER BY seq", {}, lambda body: body)

    async def value(self, sql: str, **params: Any) -> Any:
        async with self.db.reading() as conn:
            return await fetch_value(conn, sql, params)

    async def wrong_counters(self) -> int:
        """Orders whose counter of pending notifications is not what a recount says. Tallies must agree as well."""
        if not self.changed_by_hand:
            await assert_tallies_agree(self.db)
        return int(
            await self.value(
                """SELECT count(*) FROM orders o WHERE o.pending <> (
                       SELECT count(*) FROM notification n WHERE n.order_id = o.id AND NOT n.settled
                          AND n.state IN ('new', 'claimed', 'unknown', 'accepted'))
                   + (SELECT count(*) FROM fallback f WHERE f.order_id = o.id AND f.wake_at IS NOT NULL)"""
            )
        )


@dataclass
class Worker:
    id: WorkerId
    resolution: Resolution
    mail: Sending[Email]
    sms: Sending[Sms]
    fallbacks: Fallbacks

    async def round(self) -> int:
        """One turn of every step, and the messages that it began are through."""
        done = await self.resolution.resolve_due(Lane.ORDINARY) + await self.resolution.resolve_due(Lane.BULK)
        await until(lambda: self.resolution.idle)
        done += await self.fallbacks.fall_back_due()
        done += await self.mail.send_due() + await self.sms.send_due()
        await until(lambda: self.mail.idle and self.sms.idle)
        return done

    async def end(self, road: Road) -> None:
        await self.resolution.stop()
        await self.mail.stop(timedelta(seconds=5))
        await self.sms.stop(timedelta(seconds=5))
        await road.sweeper().release_own(self.id)
        await road.waker.close()


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    """Wait for something that other tasks bring about; fails after `seconds`."""
    async with asyncio.timeout(seconds):
        while True:
            value = condition()
            if value if isinstance(value, bool) else await value:
                return
            await asyncio.sleep(0.001)


def _sms(row: Claimed, templates: Templates) -> Sms | None:
    return render.sms(row, templates.sms) if templates.sms else None
