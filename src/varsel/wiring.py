"""The one place that reads settings and builds the parts: pools, clock, providers, stages."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import cast

from varsel.bulk.turn import PlaceChain, Turns
from varsel.clock import SystemClock
from varsel.db import Database
from varsel.delivery import render
from varsel.delivery.asking import AskedProvider, Asker
from varsel.delivery.balance import Balancer
from varsel.delivery.choice import Routing
from varsel.delivery.composed import Composing
from varsel.delivery.gate import Withheld
from varsel.delivery.guard import Guard
from varsel.delivery.now import SendNow
from varsel.delivery.outcome import Rules as SendRules
from varsel.delivery.pool import BreakerRules, Pool
from varsel.delivery.ports import Email, EmailProvider, Indeterminate, Sms, SmsProvider, Staying
from varsel.delivery.report import Inbox, Reports
from varsel.delivery.send import Sending
from varsel.delivery.store import Claimed, Templates
from varsel.delivery.sweep import Sweeper
from varsel.domain.attachments import FileStores
from varsel.domain.ids import NotificationId, WorkerId
from varsel.domain.notification import Channel
from varsel.domain.schedule import SendWindow
from varsel.orders.instant import Instants
from varsel.orders.ports import InstantSender
from varsel.orders.quotas import limits_of
from varsel.orders.register import Register
from varsel.preview.preview import Previewer
from varsel.preview.prices import Prices
from varsel.providers.attachments import HttpAttachments
from varsel.providers.condition import HttpConditions
from varsel.providers.kind import Tools, asked_of, kind_of, tools_of
from varsel.providers.maskinporten import Maskinporten
from varsel.providers.registers import Registers
from varsel.providers.registry_feeds import RegistryFeeds
from varsel.providers.webhook_http import HttpReceivers
from varsel.recipients.ports import ContactDirectory
from varsel.recipients.schemes import identifiers_of
from varsel.resolution.due import Resolution
from varsel.resolution.fallback import Fallbacks
from varsel.resolution.plan import Rules as ResolutionRules
from varsel.settings import ComposedSettings, ProviderSettings, Settings
from varsel.simulators.keep import keep_at_once
from varsel.wakeup import Waker
from varsel.webhooks.address import Addresses
from varsel.webhooks.push import Webhooks
from varsel.webhooks.round import Terms

_LOOKUP_CONNECTIONS = 4  # a pool of their own: whoever holds a transaction open can always look up


_Closing = EmailProvider | SmsProvider | HttpConditions | HttpAttachments | RegistryFeeds | HttpReceivers | Maskinporten
Sender = Sending[Email] | Sending[Sms] | Composing


@dataclass(slots=True)
class Parts:
    """What a process is made of. Use as `async with open_parts(…)`, or call `close`."""

    settings: Settings
    db: Database
    lookups: Database
    clock: SystemClock
    waker: Waker
    registers: Registers
    _closing: list[
        EmailProvider | SmsProvider | HttpConditions | HttpAttachments | RegistryFeeds | HttpReceivers | Maskinporten
    ] = field(default_factory=list)
    _pools: "Pools | None" = None
    guard: Guard = field(init=False)

    def __post_init__(self) -> None:
        self.guard = Guard.configured(self.settings)

    @property
    def directory(self) -> ContactDirectory:
        return self.registers.directory

    def register(self) -> Register:
        processing = self.settings.processing
        return Register(
            self.db,
            self.directory,
            self.clock,
            self.waker,
            user_addresses=processing.lookup_user_addresses_at_order,
            live=self.registers.live,
            outages=self.registers.outages,
            limits=limits_of(self.settings.quotas),
        )

    def registry_feeds(self) -> RegistryFeeds:
        feeds = RegistryFeeds(self.settings, self.db, self.clock)
        self._closing.append(feeds)
        return feeds

    def inbox(self) -> Inbox:
        return Inbox(self.db, self.clock, self.waker)

    def resolution(self, worker: WorkerId) -> Resolution:
        processing = self.settings.processing
        maskinporten = Maskinporten.from_settings(self.settings.registry) if processing.condition_scope else None
        conditions = HttpConditions(
            timeout=processing.condition_timeout,
            private_hosts=self.settings.environment != "production",
            tokens=maskinporten.scope(processing.condition_scope or "") if maskinporten else None,
        )
        self._closing += [conditions, maskinporten] if maskinporten else [conditions]
        rules = self._resolution_rules
        return Resolution(
            self.db,
            self.directory,
            conditions,
            self.clock,
            self.waker,
            rules,
            worker,
            live=self.registers.live,
            outages=self.registers.outages,
        )

    def fallbacks(self) -> Fallbacks:
        return Fallbacks(
            self.db,
            self.directory,
            self.clock,
            self.waker,
            self._resolution_rules,
            outages=self.registers.outages,
        )

    def previewer(self) -> Previewer:
        prices = self.settings.prices
        return Previewer(
            self.directory,
            self.clock,
            self._resolution_rules,
            Prices(prices.currency, prices.email, prices.sms),
            user_addresses=self.settings.processing.lookup_user_addresses_at_order,
            outages=self.registers.outages,
            withheld=self._withheld,
        )

    def bulk_turns(self, place: PlaceChain) -> Turns:
        """`place`: `register_chain` of this process's `Register`."""
        return Turns(
            self.db,
            self.clock,
            place,
            self.previewer(),
            identifiers_of(self.settings.registry),
            self.guard.contents,
            ahead=self.settings.bulk.ahead,
        )

    async def _withheld(self, messages: Sequence[Email | Sms], at: datetime) -> dict[NotificationId, Withheld]:
        """What would not be handed over at that instant, whichever provider's turn it is."""
        async with self.db.reading() as conn:
            found = await self.guard.gate.withheld(conn, messages, now=at)
        channels = {message.id: "email" if isinstance(message, Email) else "sms" for message in messages}
        names = {c: [p.name for p in self.settings.providers if p.channel == c] for c in ("email", "sms")}
        return {id_: held for id_, held in found.items() if held.stops(*names[channels[id_]])}

    def senders(self, worker: WorkerId) -> list[Sender]:
        """One for each channel that has a provider, and one for emails with attachments."""
        senders: list[Sender] = []
        delivery, pools = self.settings.delivery, self.pools()
        if pools.email:
            rules = self._send_rules(delivery.settle_email_after)
            senders.append(Sending(self.db, pools.email, self._email, self.clock, self.waker, rules, worker))
            senders.append(self._composing(pools.email, rules, worker))
        if pools.sms:
            rules = self._send_rules(delivery.settle_sms_after)
            senders.append(Sending(self.db, pools.sms, _sms, self.clock, self.waker, rules, worker))
        return senders

    def _composing(self, pool: Pool[Email], rules: SendRules, worker: WorkerId) -> Composing:
        composed = self.settings.composed
        files = HttpAttachments(
            file_stores(composed),
            parallel=composed.parallel_downloads,
            timeout=composed.download_timeout,
            max_bytes=composed.max_attachment_bytes,
            private_hosts=self.settings.environment != "production",
        )
        self._closing.append(files)
        return Composing(
            self.db,
            pool,
            files,
            self._email,
            self.clock,
            self.waker,
            rules,
            worker,
            at_once=composed.parallel_emails,
        )

    def instants(self, worker: Callable[[], WorkerId]) -> Instants:
        """Sends through connections of its own. `worker`: the row of this process, which may change."""
        senders: dict[Channel, InstantSender] = {}
        delivery, pools = self.settings.delivery, self.pools()
        if pools.email:
            rules = self._send_rules(delivery.settle_email_after)
            senders[Channel.EMAIL] = SendNow(self.db, pools.email, self._email, self.clock, self.waker, rules)
        if pools.sms:
            rules = self._send_rules(delivery.settle_sms_after)
            senders[Channel.SMS] = SendNow(self.db, pools.sms, _sms, self.clock, self.waker, rules)
        return Instants(
            self.db,
            senders,
            self.clock,
            worker,
            lifetime=self.settings.processing.lifetime,
            limits=limits_of(self.settings.quotas),
        )

    def _tools(self) -> Tools:
        return tools_of(self.settings, self.clock, self.inbox().store, partial(keep_at_once, self.db))

    def pools(self) -> "Pools":
        """All enabled providers of the settings, made once for this process."""
        if self._pools is None:
            tools = self._tools()
            made = [(chosen, make_provider(chosen, tools)) for chosen in self.settings.providers if chosen.enabled]
            self._closing += [provider for _, provider in made]
            for _, provider in made:
                if isinstance(provider, Staying):
                    provider.start()
            emails = [(cast(EmailProvider, p), routing(chosen)) for chosen, p in made if chosen.channel == "email"]
            sms = [(cast(SmsProvider, p), routing(chosen)) for chosen, p in made if chosen.channel == "sms"]
            delivery = self.settings.delivery
            rules = BreakerRules(delivery.breaker_open_for, delivery.breaker_open_at_most)
            self._pools = Pools(
                Pool(self.db, Channel.EMAIL, emails, rules=rules), Pool(self.db, Channel.SMS, sms, rules=rules)
            )
        return self._pools

    def askers(self) -> list[Asker]:
        """One for each provider that can be asked; one that is switched off is asked about what it took before."""
        pools, tools = self.pools(), self._tools()
        made = {member.name: member.provider for pool in (pools.email, pools.sms) for member in pool.members}
        askers = []
        for chosen in self.settings.providers:
            if kind_of(chosen).asks:
                provider = made.get(chosen.name)
                if provider is None:
                    provider = make_provider(chosen, tools)
                    self._closing.append(provider)
                askers.append(self._asker(cast(AskedProvider, provider), Channel(chosen.channel)))
        return askers

    def _asker(self, provider: AskedProvider, channel: Channel) -> Asker:
        delivery = self.settings.delivery
        settle = delivery.settle_email_after if channel is Channel.EMAIL else delivery.settle_sms_after
        return Asker(self.db, provider, channel, self.clock, self.waker, self._send_rules(settle))

    def balancer(self) -> Balancer:
        pools = self.pools()
        return Balancer(self.db, self.clock, (pools.email, pools.sms))

    def reports(self) -> Reports:
        period = self.settings.delivery.correction_period
        return Reports(self.db, self.clock, self.waker, period, key=self.guard.key)

    def webhooks(self) -> Webhooks:
        settings = self.settings.webhooks
        receivers = HttpReceivers(
            webhook_addresses(self.settings), timeout=settings.timeout, denied=settings.denied_networks
        )
        self._closing.append(receivers)
        base = self.settings.server.base_url.rstrip("/")
        return Webhooks(self.db, receivers, self.clock, Terms(base, settings.event_prefix, settings.timeout))

    def sweeper(self) -> Sweeper:
        return Sweeper(
            self.db,
            self.clock,
            self.waker,
            policies={p.name: Indeterminate(p.on_indeterminate) for p in self.settings.providers},
            unknown_wait=self.settings.delivery.unknown_wait,
            expiry_grace=self.settings.processing.expiry_grace,
            asked=asked_of(self.settings.providers),
            max_resends=self.settings.delivery.max_resends,
        )

    @property
    def window(self) -> SendWindow:
        processing = self.settings.processing
        return SendWindow(
            processing.sms_window_start_hour, processing.sms_window_end_hour, processing.sms_window_always_open
        )

    @property
    def _resolution_rules(self) -> ResolutionRules:
        processing = self.settings.processing
        return ResolutionRules(
            self.window,
            processing.lifetime,
            processing.condition_retry,
            processing.max_recipients_per_turn,
            processing.due_grace,
            processing.fail_closed_creators,
        )

    def _send_rules(self, settle_after: timedelta | None) -> SendRules:
        delivery = self.settings.delivery
        return SendRules(
            settle_after,
            delivery.unknown_wait,
            delivery.max_attempts,
            self.window,
            delivery.max_resends,
            self.guard.gate,
        )

    def _email(self, row: Claimed, templates: Templates) -> Email | None:
        return self.guard.email(row, templates, now=self.clock.now())

    async def close(self) -> None:
        await self.waker.close()
        await self.registers.close()
        await asyncio.gather(*(part.close() for part in self._closing))
        await self.lookups.close()
        await self.db.close()


async def open_parts(
    settings: Settings, dsn: str, *, name: str, connections: int, patience: timedelta = timedelta(seconds=60)
) -> Parts:
    """Connect, and build what every process needs. Raises `Unavailable` when the database does not answer.

    `patience`: the longest that a register which throttles us is waited for (registries 6.6).
    """
    db = Database(dsn, size=connections, name=name)
    lookups = Database(dsn, size=_LOOKUP_CONNECTIONS, name=f"{name} lookups")
    await db.open()
    await lookups.open()
    clock = SystemClock()
    return Parts(settings, db, lookups, clock, Waker(db), Registers(settings, lookups, clock, patience=patience))


@dataclass(frozen=True, slots=True)
class Pools:
    email: Pool[Email]
    sms: Pool[Sms]


def make_provider(chosen: ProviderSettings, tools: Tools) -> EmailProvider | SmsProvider:
    return kind_of(chosen).make(chosen, tools)


def routing(chosen: ProviderSettings) -> Routing:
    return Routing(
        group=chosen.group,
        weight=chosen.weight,
        creators=frozenset(name.lower() for name in chosen.creators),
        countries=tuple(code.lstrip("+") for code in chosen.countries),
        rate=chosen.rate_per_second,
        burst=chosen.burst,
        per_hour=chosen.per_hour,
        per_day=chosen.per_day,
    )


def file_stores(composed: ComposedSettings) -> FileStores:
    """Where attachments may lie: asked when an order is taken, and again when they are fetched."""
    return FileStores(composed.azure_hosts, composed.presigned_hosts, composed.plain_hosts, composed.loopback_http)


def webhook_addresses(settings: Settings) -> Addresses:
    """Where events may be sent: asked when a webhook is made, and again with each request."""
    webhooks = settings.webhooks
    http = settings.environment != "production"
    return Addresses(webhooks.private_hosts, webhooks.ports, http=http, loopback_http=webhooks.loopback_http)


def _sms(row: Claimed, templates: Templates) -> Sms | None:
    return render.sms(row, templates.sms) if templates.sms else None
