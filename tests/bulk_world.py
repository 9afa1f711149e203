"""Bulk jobs on the road of a test: uploaded, checked, sent and looked at by the real parts."""

import io
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from road import Road
from varsel.bulk.job import Job, JobState, Kind, RowState, Wish
from varsel.bulk.owner import Bulk, Standing
from varsel.bulk.result import result_file
from varsel.bulk.turn import PlaceChain, Turns
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.contents import Contents
from varsel.delivery.ports import Confirms
from varsel.domain.order import EmailTemplate, OrderChannel, SendingTime, SmsTemplate
from varsel.domain.schedule import SendWindow
from varsel.domain.schemes import NORWEGIAN
from varsel.preview.preview import Previewer
from varsel.preview.prices import Prices
from varsel.recipients.ports import PersonContact
from varsel.resolution.plan import Rules
from varsel.settings import ContentSettings

INGRID: Final = "14838510036"
MAIL_ONLY: Final = "30899914186"
RESERVED: Final = "01916012086"
NOBODY: Final = "12815015016"
TO_PEOPLE: Final = Wish(
    "fnr",
    Kind.PERSON,
    OrderChannel.SMS_PREFERRED,
    EmailTemplate("noreply@fjordvik.example", "Sak {sak}", "Hei {navn}"),
    SmsTemplate("Fjordvik", "Hei {navn}, sak {sak}"),
    SendingTime.ANYTIME,
)
TO_ADDRESSES: Final = Wish(
    "email", Kind.EMAIL, OrderChannel.EMAIL, EmailTemplate("noreply@fjordvik.example", "Hei", "Hei {email}")
)


_MOST_ROUNDS: Final = 50


@dataclass
class BulkWorld:
    """`ahead`: as in the settings, for turns that begin after it was changed."""

    road: Road
    bulk: Bulk
    previewer: Previewer
    ahead: int = 10_000
    turns: Turns = field(init=False)

    def __post_init__(self) -> None:
        self.turns = self.worker()

    def worker(self, place: PlaceChain | None = None) -> Turns:
        """A worker process that begins anew. `place`: in the place of the register."""
        return Turns(
            self.road.db,
            self.road.clock,
            place or self.road._register.register_chain,
            self.previewer,
            NORWEGIAN,
            Contents(ContentSettings()),
            ahead=self.ahead,
            pause=timedelta(),
        )

    async def upload(self, text: str, name: str = "rows.csv", creator: str = "ttd") -> Job:
        return await self.bulk.upload(creator, name, io.BytesIO(text.encode()))

    async def checked(self, text: str, wish: Wish = TO_PEOPLE, **changes: Any) -> Standing:
        """A job that is ready."""
        job = await self.bulk.configure(await self.upload(text, **changes), wish)
        while (await self.bulk.find(job.id, None)).state is JobState.CHECKING:
            assert await self.turns.take_turn()
        return await self.bulk.standing(job.id, None)

    async def confirmed(self, text: str, wish: Wish = TO_PEOPLE) -> Job:
        ready = await self.checked(text, wish)
        return await self.bulk.confirm(ready.job, rows=ready.progress.to_send, leave_out_bad=True)

    async def to_the_end(self, job: Job) -> Standing:
        """Until every row has its fate."""
        for _ in range(_MOST_ROUNDS):
            await self.turns.take_turn()
            await self.road.run()
            if (standing := await self.bulk.standing(job.id, None)).job.done_at:
                return standing
        raise AssertionError(standing.progress)

    async def states(self, job: Job) -> dict[RowState, int]:
        return dict((await self.bulk.standing(job.id, None)).progress.counts)

    async def results(self, job: Job) -> list[str]:
        """The lines of the result file."""
        now = await self.bulk.find(job.id, None)
        text = b"".join([part async for part in result_file(now, self.bulk.results(now))])
        return text.decode("utf-8-sig").splitlines()

    async def orders(self) -> int:
        return int(await self.road.value("SELECT count(*) FROM orders"))


@asynccontextmanager
async def bulk_world(database: Database, clock: ManualClock, **options: Any) -> AsyncIterator[BulkWorld]:
    road = Road(database, clock, window=SendWindow(always_open=True), settle_after=timedelta(), **options)
    road.mail.confirms = road.sms.confirms = Confirms.NOTHING
    road.directory.people = {
        INGRID: PersonContact(False, "ingrid@example.com", "+4799999501"),
        MAIL_ONLY: PersonContact(False, "mail@example.com", None),
        RESERVED: PersonContact(True, "siri@example.com", "+4799999502"),
    }
    rules = Rules(road.window, timedelta(hours=48), timedelta(seconds=60))
    previewer = Previewer(road.directory, clock, rules, Prices("NOK", None, {}))
    yield BulkWorld(road, Bulk(database, clock, NORWEGIAN, max_rows=100_000), previewer)
    await road.waker.close()


def addresses(count: int) -> str:
    return lines(["email"], *([f"p{n}@example.com"] for n in range(count)))


def lines(*rows: Sequence[str]) -> str:
    return "".join(";".join(row) + "\r\n" for row in rows)
