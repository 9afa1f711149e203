"""Orders with most fates, made by the real stages, and the pages that tell of them on a socket of loopback."""

import dataclasses
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
from starlette.applications import Starlette

from road import Road
from serving import serving
from site_parts import ui_parts
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.ports import Accepted, Blame, Deferred, Verdict
from varsel.domain.ids import OrderId
from varsel.domain.notification import Channel
from varsel.domain.order import EmailTemplate, OrderChannel, Recipient, SendingTime, SmsTemplate
from varsel.domain.schedule import SendWindow
from varsel.preview.preview import Previewer
from varsel.preview.prices import Prices
from varsel.recipients.ports import OrganisationContact, PersonContact, Record
from varsel.resolution.plan import Rules
from varsel.settings import SandboxSettings, Settings
from varsel.ui.access import Role, issue_ticket
from varsel.ui.site import site_routes

INGRID: Final = "14838510036"
RESERVED: Final = "01916012086"
NOBODY: Final = "30899914186"
BAKERY: Final = "310001007"
PLACE: Final = "Du har fått et brev om plass i Solbakken barnehage. Svar innen fredag 4. desember."


@dataclass(frozen=True)
class World:
    url: str
    road: Road

    async def link(self, *roles: Role, creator: str | None = None) -> str:
        """The address of a page that signs somebody in."""
        chosen = frozenset(roles or {Role.CASEWORKER})
        return self.url + await issue_ticket(self.road.db, "Marit Haugen", chosen, creator)

    async def letter(self, **changes: Any) -> OrderId:
        """An order of a letter about a place in a kindergarten, for Ingrid, unless `changes` say otherwise."""
        values: dict[str, Any] = {
            "creator": "Fjordvik kommune",
            "channel": OrderChannel.EMAIL_PREFERRED,
            "recipients": (Recipient(national_identity_number=INGRID),),
            "email": EmailTemplate("ikke-svar@fjordvik.example", "Barnehageplass", f"Hei\n\n{PLACE}\n\nFjordvik"),
            "sms": SmsTemplate("Fjordvik", f"Fjordvik kommune: {PLACE} Logg inn på fjordvik.example/post."),
            "sending_time": SendingTime.ANYTIME,
            "senders_reference": "FVK-2026-11-4471",
        }
        order = self.road.order(**{**values, **changes})
        await self.road._register.register_order(order)
        return order.id

    async def run(self, *, after: timedelta = timedelta()) -> None:
        self.road.clock.advance(after)
        await self.road.run()

    async def report(self, order: OrderId, channel: Channel, verdict: Verdict) -> None:
        for row in await self.road.rows(order):
            if row.channel == channel:
                provider = "mail" if channel is Channel.EMAIL else "sms"
                await self.road.report(row.id, verdict, provider=provider, channel=channel)


@dataclass
class Visitor:
    """Somebody who is signed in. Follows no redirect by themselves."""

    http: aiohttp.ClientSession

    async def get(self, path: str, status: int = 200) -> str:
        async with self.http.get(path, allow_redirects=False) as answer:
            assert answer.status == status, (path, answer.status)
            return await answer.text()

    async def post(self, path: str, **form: str) -> tuple[int, str, str]:
        """Status, text, and where it leads. The form is one of ours."""
        found = re.search(r'name="form_token" value="([0-9a-f]+)"', await self.get("/ui/orders"))
        assert found
        form["form_token"] = found[1]
        headers = {"Sec-Fetch-Site": "same-origin"}
        async with self.http.post(path, data=form, headers=headers, allow_redirects=False) as answer:
            return answer.status, await answer.text(), answer.headers.get("Location", "")

    async def search(self, text: str) -> str:
        """Where the search leads."""
        status, page, location = await self.post("/ui/search", q=text)
        assert (status, bool(location)) in ((303, True), (200, False)), page
        return location


@asynccontextmanager
async def visitor(w: World, *roles: Role, creator: str | None = None, language: str = "en") -> AsyncIterator[Visitor]:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(w.url, cookie_jar=jar, headers={"Accept-Language": language}) as http:
        async with http.post(await w.link(*roles, creator=creator), allow_redirects=False) as answer:
            assert answer.status == 303
        yield Visitor(http)


@asynccontextmanager
async def world(database: Database, *, sandbox: bool = False, ago: timedelta = timedelta()) -> AsyncIterator[World]:
    """`ago`: how long ago its clock starts."""
    road = Road(database, ManualClock(datetime.now(UTC) - ago), window=SendWindow(always_open=True))
    fresh = road.clock.now() - timedelta(days=80)
    record = Record("krr", road.clock.now() - timedelta(hours=2), fresh, fresh)
    road.mail.name, road.sms.name = "Nordpost", "Kystlink"
    road.directory.people = {
        INGRID: PersonContact(False, "ingrid@example.com", "+4740000417", record=record),
        RESERVED: PersonContact(True, "siri@example.com", "+4740000902", record=record),
    }
    road.directory.official = {BAKERY: OrganisationContact(("post@bakeri.example",), (), BAKERY, record)}
    road.directory.known_names = {INGRID: "Ingrid Berg", BAKERY: "Solbakken Bakeri AS"}
    settings = Settings(sandbox=SandboxSettings(enabled=sandbox))
    rules = Rules(road.window, timedelta(hours=48), timedelta(seconds=60))
    previewer = Previewer(road.directory, road.clock, rules, Prices("NOK", None, {}), user_addresses=True)
    parts = dataclasses.replace(ui_parts(database, road.clock, settings), directory=road.directory, previewer=previewer)
    async with serving(Starlette(routes=site_routes(parts))) as port:
        yield World(f"http://127.0.0.1:{port}", road)
    await road.waker.close()


async def fill(w: World) -> dict[str, OrderId]:
    """One order of each kind, by what became of it."""
    made = {}
    made["delivered"] = await w.letter(channel=OrderChannel.SMS, senders_reference="FVK-2026-10-0114")
    await w.run()
    await w.run(after=timedelta(seconds=24))
    await w.report(made["delivered"], Channel.SMS, Verdict.DELIVERED)
    await w.run()
    made["bounced"] = await w.letter(channel=OrderChannel.EMAIL, senders_reference="FVK-2026-11-3908")
    await w.run(after=timedelta(minutes=3))
    w.road.clock.advance(timedelta(minutes=2))
    await w.report(made["bounced"], Channel.EMAIL, Verdict.FAILED)
    await w.run()
    made["reserved"] = await w.letter(
        recipients=(Recipient(national_identity_number=RESERVED),),
        senders_reference="NLH-88213",
        creator="Nordlys helse",
    )
    made["missing"] = await w.letter(
        recipients=(Recipient(national_identity_number=NOBODY),), senders_reference="HAV-5521-b", creator="Havneetaten"
    )
    await w.run(after=timedelta(minutes=1))
    busy = [Deferred("503 Service Unavailable", Blame.MESSAGE)]
    w.road.sms.answers = lambda _: busy.pop() if busy else Accepted()
    made["late"] = await w.letter(channel=OrderChannel.SMS, senders_reference="FVK-otp")
    await w.run()
    await w.run(after=timedelta(minutes=10))
    await w.report(made["late"], Channel.SMS, Verdict.DELIVERED)
    await w.run()
    made["many"] = await w.letter(
        channel=OrderChannel.EMAIL,
        recipients=tuple(Recipient(email=f"far{n}@strand.example") for n in range(64)),
        senders_reference="Foreldremøte 4B",
    )
    await w.run()
    for number, row in enumerate(await w.road.rows(made["many"])):
        if number < 60:
            verdict = Verdict.FAILED if number % 20 == 0 else Verdict.DELIVERED
            await w.road.report(row.id, verdict, provider="mail")
    await w.run(after=timedelta(seconds=5))
    made["bakery"] = await w.letter(
        channel=OrderChannel.EMAIL, recipients=(Recipient(organisation_number=BAKERY),), senders_reference="MAT-7"
    )
    made["handed"] = await w.letter(channel=OrderChannel.EMAIL_AND_SMS, senders_reference="FVK-2026-11-4471")
    await w.run(after=timedelta(minutes=1))
    made["planned"] = await w.letter(
        requested_send_time=w.road.clock.now() + timedelta(days=2), senders_reference="FVK-2026-11-4480"
    )
    return made
