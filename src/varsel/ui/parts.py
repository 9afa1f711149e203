"""What the pages are made of. `cli.serve` builds it once for each API process."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from varsel.clock import Clock
from varsel.db import Database
from varsel.delivery.contents import Contents
from varsel.domain.order import Chain, Order
from varsel.orders.register import ChainOutcome
from varsel.preview.preview import Previewer
from varsel.recipients.ports import ContactDirectory
from varsel.settings import Settings
from varsel.ui.access import Access
from varsel.ui.pages import Pages
from varsel.wakeup import Work


@dataclass(frozen=True, slots=True)
class UiParts:
    """`register_chain`: that of `Register`. `wake`: `Waker.wake`. `variables`: names of those that are set."""

    settings: Settings
    db: Database
    clock: Clock
    pages: Pages
    access: Access
    directory: ContactDirectory
    previewer: Previewer
    contents: Contents
    register_chain: Callable[[Chain, Sequence[Order]], Awaitable[ChainOutcome]]
    wake: Callable[[Work], None]
    variables: frozenset[str] = frozenset()
    stopping: asyncio.Event = field(default_factory=asyncio.Event)  # set when the process ends
