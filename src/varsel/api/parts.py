"""What the routes are made of. `wiring` builds it once for each process."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from varsel.api.auth import Authenticator
from varsel.api.requests import Intake
from varsel.clock import Clock
from varsel.db import Database
from varsel.delivery.guard import Guard
from varsel.domain.order import Chain, Order
from varsel.issuer import DevelopmentIssuer
from varsel.orders.register import ChainOutcome, Registered, Registration, Repeated
from varsel.preview.preview import Previewer
from varsel.recipients.ports import ContactDirectory
from varsel.registry_sync.ports import AddressReception
from varsel.settings import Settings
from varsel.status.feed import FeedReader
from varsel.wakeup import Work


@dataclass(frozen=True, slots=True)
class ApiParts:
    """`register`, `register_chain`: those of `Register`. `place_instant`: `Instants.place`. `wake`: `Waker.wake`.

    `issuer`: the local one, or None where its tokens are not accepted. `reception`: the register that takes changes of
    organisations' addresses, or None where they are our own affair.
    """

    settings: Settings
    clock: Clock
    database: Database
    authenticator: Authenticator
    intake: Intake
    register: Callable[[Order], Awaitable[Registration]]
    register_chain: Callable[[Chain, Sequence[Order]], Awaitable[ChainOutcome]]
    place_instant: Callable[[Chain, Order, timedelta | None], Awaitable[Registered | Repeated]]
    feed: FeedReader
    previewer: Previewer
    directory: ContactDirectory
    guard: Guard
    wake: Callable[[Work], None]
    issuer: DevelopmentIssuer | None = None
    reception: AddressReception | None = None

    @property
    def base(self) -> str:
        """`{base}` of links, without trailing slash."""
        return self.settings.server.base_url.rstrip("/")
