"""What the pages are made of, over real parts, for tests."""

from varsel.clock import Clock
from varsel.db import Database
from varsel.delivery.contents import Contents
from varsel.domain.schedule import SendWindow
from varsel.orders.register import Register
from varsel.preview.preview import Previewer
from varsel.preview.prices import Prices
from varsel.recipients.local import LocalDirectory
from varsel.resolution.plan import Rules
from varsel.settings import Settings
from varsel.ui.access import Access
from varsel.ui.pages import Pages
from varsel.ui.parts import UiParts
from varsel.ui.site import areas
from varsel.wakeup import Waker


def ui_parts(database: Database, clock: Clock, settings: Settings) -> UiParts:
    directory = LocalDirectory(database, settings.registry)
    waker = Waker(database)
    processing = settings.processing
    rules = Rules(
        SendWindow(),
        processing.lifetime,
        processing.condition_retry,
        processing.max_recipients_per_turn,
        processing.due_grace,
    )
    pages = Pages(areas(settings), sandbox=settings.sandbox.enabled)
    return UiParts(
        settings=settings,
        db=database,
        clock=clock,
        pages=pages,
        access=Access(settings, database, clock, pages),
        directory=directory,
        previewer=Previewer(directory, clock, rules, Prices("NOK", None, {}), user_addresses=True),
        contents=Contents(settings.content, settings.senders.default_sms),
        register_chain=Register(database, directory, clock, waker).register_chain,
        wake=waker.wake,
    )
