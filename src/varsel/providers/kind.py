"""What makes a type of provider: its settings, how one is made, and how its reports are read. See docs/providers.md.

Each module of `settings.PROVIDER_TYPES` has one `Kind`, named `PROVIDER`.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from typing import Any, Final, Generic, Protocol, TypeVar

from varsel.clock import Clock
from varsel.delivery.ports import EmailProvider, Report, SmsProvider
from varsel.domain.captured import Captured
from varsel.settings import BounceSettings, ProviderSettings, Settings, provider_module

S = TypeVar("S", bound=ProviderSettings)

MAX_REPORT_BYTES: Final = 256 * 1024

StoreReports = Callable[[Sequence[Report]], Awaitable[None]]
"""Returns when the reports are committed. Raises `Unavailable` when they are not."""

Capture = Callable[[Sequence[Captured]], Awaitable[None]]
"""Puts messages where tests and the sandbox look at them. Raises `Unavailable`."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a provider may use. `base_url`: where we are reached from outside, for addresses of callbacks.

    `store`: for reports that come on the provider's own connection. `capture`: None in production.
    """

    clock: Clock
    bounces: BounceSettings
    production: bool
    base_url: str
    store: StoreReports
    capture: Capture | None = None


def tools_of(settings: Settings, clock: Clock, store: StoreReports, capture: Capture | None = None) -> Tools:
    production = settings.environment == "production"
    allowed = None if production else capture
    return Tools(clock, settings.bounces, production, settings.server.base_url, store, allowed)


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """One HTTP request to `/notifications/{channel}/api/v1/reports/{type}/{instance}[/{rest}]`, its body complete.

    Names of headers are in lower case, and so is `rest`. `url` is the whole address as the caller saw it, by our
    `base_url`.
    """

    method: str
    url: str
    rest: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    peer: str
    now: datetime  # machine time


@dataclass(frozen=True, slots=True)
class ReportAnswer:
    """What is answered once `reports` are committed. 401 and 403 count as failed logins of the peer."""

    status: int
    reports: Sequence[Report] = ()
    body: bytes = b""
    media_type: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict)


class ReportReader(Protocol):
    """Reads the reports of one instance. Total: whatever the bytes are, it answers, bounded in time and memory."""

    @property
    def max_bytes(self) -> int:
        """Of a body; a larger one is answered 413 and never read."""
        ...

    async def read(self, request: ReportRequest) -> ReportAnswer: ...


@dataclass(frozen=True, slots=True)
class Kind(Generic[S]):
    """`asks`: what it makes is `Asking`, and is asked about messages of unknown outcome."""

    settings: type[S]
    make: Callable[[S, Tools], EmailProvider | SmsProvider]
    reports: Callable[[S, Tools], ReportReader] | None = None
    asks: bool = False


AnyKind = Kind[Any]


def kind_of(chosen: ProviderSettings) -> AnyKind:
    kind: AnyKind = import_module(provider_module(chosen.type)).PROVIDER
    return kind


def asked_of(providers: Iterable[ProviderSettings]) -> frozenset[str]:
    """Names of those that are asked what became of a message."""
    return frozenset(provider.name for provider in providers if kind_of(provider).asks)
