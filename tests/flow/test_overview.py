"""The overview: what is happening now, of everybody or of one creator, and it moves by itself."""

import asyncio
import dataclasses
import json
import re
from collections.abc import AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiohttp
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from axe import faults
from browser import Page, browser_page
from orders_world import World, visitor, world
from serving import serving
from site_parts import ui_parts
from varsel.db import Database, execute
from varsel.delivery.ports import Verdict
from varsel.domain.errors import Unavailable
from varsel.domain.notification import Channel
from varsel.domain.order import OrderChannel, Recipient
from varsel.domain.schedule import OSLO, oslo_day
from varsel.domain.tally import Bucket
from varsel.settings import SandboxSettings, Settings
from varsel.tally.store import Count, Moment
from varsel.ui.access import Role
from varsel.ui.live import MOST_STREAMS, Live
from varsel.ui.overview_chart import chart_of, line_of
from varsel.ui.overview_figures import GROUPS, Ends, Hour, Tallies, figures
from varsel.ui.parts import UiParts
from varsel.ui.site import site_routes


@asynccontextmanager
async def board(database: Database, *, sandbox: bool = True) -> AsyncIterator[tuple[World, UiParts]]:
    async with world(database) as w:
        settings = Settings(sandbox=SandboxSettings(enabled=sandbox))
        parts = dataclasses.replace(ui_parts(database, w.road.clock, settings), directory=w.road.directory)
        async with serving(Starlette(routes=site_routes(parts))) as port:
            yield World(f"http://127.0.0.1:{port}", w.road), parts
            parts.stopping.set()


def mails(count: int) -> dict[str, object]:
    recipients = tuple(Recipient(email=f"p{n}@example.com") for n in range(count))
    return {"channel": OrderChannel.EMAIL, "recipients": recipients}


STATIONS = "[...document.querySelectorAll('.stations .n')].map(n => n.textContent)"
FATES = "[...document.querySelectorAll('.fates b')].map(n => n.textContent)"


async def shows(page: Page, what: str, *numbers: str) -> None:
    await page.until(f"JSON.stringify({what}) === {json.dumps(json.dumps(list(numbers), separators=(',', ':')))}")


async def test_the_numbers_move_by_themselves_and_nothing_moves_under_the_hand(database: Database) -> None:
    async with board(database) as (w, _), browser_page() as page:
        await page.look(language="en")
        await page.goto(f"{w.url}/ui/")
        await shows(page, STATIONS, "0", "0", "0", "0")
        await page.evaluate("window.loaded = true; document.querySelector('.stations .n').focus()")
        await page.evaluate("document.querySelector('[data-live=chart] details').open = true")
        order = await w.letter(**mails(3))
        await shows(page, STATIONS, "3", "3", "0", "0")
        await w.run()
        await shows(page, STATIONS, "3", "0", "0", "3")
        await w.report(order, Channel.EMAIL, Verdict.DELIVERED)
        await w.run()
        await shows(page, STATIONS, "3", "0", "0", "0")
        await shows(page, FATES, "3", "0", "0", "0")
        await page.until(
            "/^Live, updated [0-9:]{8}$/.test(document.querySelector('[data-live=clock]').innerText.trim())"
        )
        assert await page.evaluate("window.loaded && document.activeElement.matches('.stations .n')")
        assert await page.evaluate("document.querySelector('[data-live=chart] details').open")
        assert "Fjordvik kommune" in await page.evaluate("document.querySelector('[data-live=senders]').innerText")
        assert page.errors == []


async def test_a_pause_holds_the_numbers_until_it_is_over(database: Database) -> None:
    async with board(database) as (w, _), browser_page() as page:
        await page.look(language="en")
        await page.goto(f"{w.url}/ui/")
        await page.until("document.querySelector('[data-live=clock]').innerText.startsWith('Live')")
        await page.evaluate("document.querySelector('[data-pause]').click()")
        await page.until("document.querySelector('[data-live=clock]').innerText.startsWith('Paused')")
        await w.letter(**mails(2))
        assert await page.evaluate("document.querySelector('[data-pause]').getAttribute('aria-pressed')") == "true"
        await page.evaluate("document.querySelector('[data-pause]').click()")
        await shows(page, STATIONS, "2", "2", "0", "0")
        assert page.errors == []


async def test_without_a_stream_the_page_itself_is_asked_for(database: Database) -> None:
    async with board(database) as (w, parts), browser_page() as page:
        parts.stopping.set()  # no stream any more
        await page.look(language="en")
        await page.goto(f"{w.url}/ui/")
        await page.until("document.querySelector('[data-live=clock]').innerText.startsWith('Updated')")
        await w.letter(**mails(2))
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # somebody comes back to it
        await shows(page, STATIONS, "2", "2", "0", "0")


async def test_everything_is_there_without_a_script(database: Database) -> None:
    async with board(database) as (w, _), browser_page() as page:
        order = await w.letter(**mails(4))
        await w.run()
        await w.report(order, Channel.EMAIL, Verdict.DELIVERED)
        await w.run()
        await page.look(language="en", script=False)
        await page.goto(f"{w.url}/ui/")
        await page.look(language="en")
        text = re.sub(r"\s+", " ", await page.evaluate("document.querySelector('main').innerText"))
        assert "4 Finished" in text
        assert "Arrived 4 100%" in text
        assert "Fjordvik kommune 4 0 0%" in text
        assert await page.evaluate("document.querySelector('[data-pause]').hidden")
        assert page.errors == []


async def test_axe_finds_nothing_and_nothing_is_too_wide(database: Database) -> None:
    async with board(database) as (w, _), browser_page() as page:
        order = await w.letter(**mails(4))
        await w.run()
        await w.report(order, Channel.EMAIL, Verdict.FAILED)
        await w.run()
        async with database.autocommit() as conn:
            await execute(
                conn,
                """INSERT INTO provider (name, channel, breaker_until, failures, detail)
                   VALUES ('Fjordgate', 'sms', statement_timestamp() + interval '10 min', 3, 'connection refused')""",
                {},
            )
        for language in ("nb", "en"):
            await page.look(language=language)
            await page.goto(f"{w.url}/ui/")
            await page.until("/^(Live|Direkte)/.test(document.querySelector('[data-live=clock]').innerText.trim())")
            assert await faults(page, language) == []
        assert page.errors == []


async def test_somebody_of_one_creator_sees_that_creator_alone(database: Database) -> None:
    async with board(database, sandbox=False) as (w, _):
        await w.letter(creator="Havneetaten", **mails(2))
        await w.letter(creator="Fjordvik kommune", **mails(5))
        async with visitor(w, Role.CREATOR_ADMIN, creator="Havneetaten") as kari, visitor(w, Role.VIEWER) as ola:
            for page in (await kari.get("/ui/"), await first_events(kari.http)):
                assert re.findall(r'<a class="n"[^>]*>(\d+)<', page) == ["2", "2", "0", "0"]
                assert "Havneetaten" in page
                assert "Fjordvik" not in page
                assert 'id="need"' not in page
            for page in (await ola.get("/ui/"), await first_events(ola.http)):
                assert re.findall(r'<a class="n"[^>]*>(\d+)<', page) == ["7", "7", "0", "0"]
                assert "Havneetaten" in page
                assert "Fjordvik kommune" in page
                assert "/ui/ops" not in page.partition("<main")[2]
        async with visitor(w, Role.CREATOR_ADMIN, creator="Nobody yet") as eva:
            assert re.findall(r'<a class="n"[^>]*>(\d+)<', await eva.get("/ui/")) == ["0", "0", "0", "0"]


async def first_events(http: aiohttp.ClientSession) -> str:
    """All parts of the page, as the stream tells them at its beginning."""
    async with http.get("/ui/events") as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        said = ""
        async for line in answer.content:
            said += line.decode()
            if "event: senders" in said and said.endswith("\n\n"):
                return said
    raise AssertionError("the stream ended")


async def test_the_stream_is_for_those_who_are_signed_in_and_ends_with_the_process(database: Database) -> None:
    async with board(database, sandbox=False) as (w, parts):
        async with aiohttp.ClientSession(w.url) as http, http.get("/ui/events", allow_redirects=False) as answer:
            assert answer.status == 303
        async with visitor(w, Role.VIEWER) as ola:
            async with ola.http.get("/ui/events") as answer:
                assert b"retry" in await answer.content.readline()
                parts.stopping.set()
                async with asyncio.timeout(30):
                    await answer.content.read()  # to its end
            async with ola.http.get("/ui/events") as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (503, "10")


class Readings:
    """What is read, and how often."""

    def __init__(self) -> None:
        self.scopes: list[Collection[str | None]] = []
        self.fails = 0

    async def __call__(self, scopes: Collection[str | None]) -> int:
        self.scopes.append(frozenset(scopes))
        if self.fails:
            self.fails -= 1
            raise Unavailable("the database")
        return len(self.scopes)


async def take(live: Live[int], scope: str | None, count: int) -> list[int]:
    taken = []
    async with aclosing(live.watch(scope)) as readings:
        async for reading in readings:
            taken.append(reading)
            if len(taken) == count:
                break
    return taken


async def test_any_number_of_viewers_cost_one_reading_at_a_time_and_none_costs_nothing() -> None:
    read = Readings()
    live = Live(read, asyncio.Event())
    seen = await asyncio.gather(*(take(live, f"creator {n % 3}", 3) for n in range(50)))
    assert all(each == seen[0] for each in seen)
    assert len(read.scopes) == 3
    assert set(read.scopes) == {frozenset({"creator 0", "creator 1", "creator 2"})}
    assert await take(live, None, 1) == [4]
    assert read.scopes[3] == {None}
    read.fails = 1  # a database that is away ends no stream
    assert await take(live, None, 1) == [6]


async def test_there_is_a_limit_to_the_streams_of_a_process() -> None:
    stopping = asyncio.Event()
    live = Live(Readings(), stopping)
    watching: list[asyncio.Task[list[int]]] = []
    full = []
    for more in (MOST_STREAMS - 1, 1):
        watching += [asyncio.create_task(take(live, None, 10_000)) for _ in range(more)]
        await take(live, None, 1)
        full.append(live.is_full)
    assert full == [False, True]
    stopping.set()
    await asyncio.gather(*watching)


NOW = datetime(2027, 3, 28, 10, 30, tzinfo=UTC)  # a day of 23 hours in Oslo
DAY = oslo_day(NOW)
MOMENTS = st.builds(
    lambda hour, *what: Moment(DAY[0] + timedelta(hours=hour), *what),
    st.integers(0, 22),
    st.sampled_from(Channel),
    st.sampled_from(Bucket),
    st.integers(-50, 100_000),
)
COUNTS = st.builds(Count, st.sampled_from(Channel), st.sampled_from(Bucket), st.integers(0, 100_000))


@given(standing=st.lists(COUNTS, max_size=30), today=st.lists(MOMENTS, max_size=60))
def test_whatever_was_counted_the_figures_add_up_and_the_picture_stays_in_its_frame(
    standing: list[Count], today: list[Moment]
) -> None:
    before = [dataclasses.replace(m, at=m.at - timedelta(days=7)) for m in today]
    minutes = [dataclasses.replace(m, at=NOW - timedelta(minutes=m.n % 60)) for m in today]
    f = figures(Tallies(standing, today, before, minutes, []), now=NOW, day=DAY)
    finished = {bucket for buckets in GROUPS.values() for bucket in buckets}
    assert f.ends.total == sum(c.n for c in today if c.bucket in finished)
    assert len(f.hours) == 23
    assert sum(hour.ends.total for hour in f.hours) == f.ends.total
    assert [hour.before is None for hour in f.hours] == [hour.at <= NOW - timedelta(hours=1) for hour in f.hours]
    assert all(0 <= share <= 1 for _, _, share in f.ends.parts)
    assert len(f.minutes) == 60
    assert [s.sent for s in f.senders] == sorted((s.sent for s in f.senders), reverse=True) or min(
        c.n for c in today
    ) < 0
    chart = chart_of(f.hours)
    for block in chart.blocks:
        assert 44 <= block.x <= block.x + block.width <= 561
        assert block.height >= 1
        assert 20 <= block.y <= block.y + block.height <= 211
    assert 1 <= len(chart.lines) <= 5


def test_hours_have_the_words_of_norway_and_those_of_last_week_stand_where_hours_are_to_come() -> None:
    at = datetime(2027, 3, 28, 18, tzinfo=OSLO).astimezone(UTC)
    last_week = [Moment(datetime(2027, 3, 21, 18, tzinfo=OSLO).astimezone(UTC), Channel.SMS, Bucket.DELIVERED, 7)]
    f = figures(Tallies([], [], last_week, [], []), now=NOW, day=DAY)
    assert [hour.clock for hour in f.hours][:4] == ["00", "01", "03", "04"]
    [expected] = [hour for hour in f.hours if hour.before]
    assert (expected.at, expected.before) == (at, 7)
    assert [block.kind for block in chart_of(f.hours).blocks] == ["expected"]
    hour = Hour(at, Ends({"delivered": 3, "handed": 0, "failed": 1, "stopped": 9}), None)
    assert [block.kind for block in chart_of([hour]).blocks] == ["delivered", "failed"]


def test_a_line_goes_from_edge_to_edge() -> None:
    assert line_of([1, 2, 3]).split() == ["0.0,33.0", "100.0,18.0", "200.0,3.0"]
    assert line_of([5]).split()[0].startswith("0.0,")
    assert line_of([0.97, 0.98], spread=0.05).split() == ["0.0,21.0", "200.0,15.0"]
    assert line_of([]).split()[-1].startswith("200.0,")
