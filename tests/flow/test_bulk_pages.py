"""Sending to many from the pages: a file, what is wished, the check, the yes, the progress; also without a script."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
import pytest

from axe import violations
from browser import Page, browser_page
from bulk_world import RESERVED, TO_ADDRESSES, BulkWorld, addresses, lines
from orders_world import INGRID, NOBODY, Visitor, World, visitor, world
from varsel.bulk.job import Job, JobId, JobState, Progress, RowState, Summary
from varsel.bulk.owner import Bulk
from varsel.db import Database, fetch
from varsel.delivery.ports import Confirms
from varsel.domain.schemes import NORWEGIAN
from varsel.preview.preview import Previewer
from varsel.preview.prices import Prices
from varsel.resolution.plan import Rules
from varsel.ui.access import Role
from varsel.ui.bulk import pace_of

PATH = "/ui/send/bulk"
PEOPLE = lines(
    ["fnr", "navn", "sak"],
    [INGRID, "Ingrid", "1"],
    [RESERVED, "Siri", "2"],
    [NOBODY, "Nils", "3"],
    ["12345", "Feil", "4"],
    [INGRID, "Ingrid", "1"],
)


@dataclass
class Site:
    world: World
    bulk: BulkWorld

    @property
    def url(self) -> str:
        return self.world.url

    async def work(self, rounds: int = 3) -> None:
        for _ in range(rounds):
            await self.bulk.turns.take_turn()
            await self.bulk.road.run()


@asynccontextmanager
async def site(database: Database, *, sandbox: bool = True) -> AsyncIterator[Site]:
    async with world(database, sandbox=sandbox) as w:
        road = w.road
        road.mail.confirms = road.sms.confirms = Confirms.NOTHING
        road.settle_after = timedelta()
        rules = Rules(road.window, timedelta(hours=48), timedelta(seconds=60))
        previewer = Previewer(road.directory, road.clock, rules, Prices("NOK", None, {}))
        bulk = Bulk(database, road.clock, NORWEGIAN, max_rows=100_000)
        yield Site(w, BulkWorld(road, bulk, previewer))


async def choose(page: Page, selector: str, file: Path) -> None:
    """As a person picks a file in the dialog of the browser."""
    found = await page.send("Runtime.evaluate", expression=f"document.querySelector('{selector}')")
    await page.send("DOM.setFileInputFiles", files=[str(file)], objectId=found["result"]["objectId"])


async def text(page: Page) -> str:
    return str(await page.evaluate("document.querySelector('main').innerText"))


async def whole(page: Page, width: int, *, script: bool) -> None:
    """axe-core is a script."""
    assert [error for error in page.errors if "422" not in error] == []
    if script:
        assert await violations(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(
    ("language", "dark", "width", "script"),
    [("nb", False, 1280, True), ("en", True, 320, True), ("nb", True, 320, False), ("en", False, 1280, False)],
)
async def test_a_caseworker_sends_to_many_and_sees_what_became_of_each(
    database: Database, tmp_path: Path, language: str, dark: bool, width: int, script: bool
) -> None:
    nb, file = language == "nb", tmp_path / "brev.csv"
    file.write_text(PEOPLE, encoding="utf-8")
    async with site(database) as s, browser_page() as page:
        await page.look(width=width, dark=dark, language=language, script=script)
        await page.goto(s.url + PATH)
        await whole(page, width, script=script)
        await page.evaluate("document.querySelector('#creator').value = 'Fjordvik kommune'")
        await choose(page, "#file", file)
        await page.click_through("form[enctype] button")
        assert ("brev.csv: 5 rader" if nb else "brev.csv: 5 rows") in await text(page)
        assert await page.evaluate("document.querySelector('#column').value") == "fnr"
        assert await page.evaluate("document.querySelector('#kind').value") == "person"
        await whole(page, width, script=script)
        await page.evaluate("document.querySelector('#body').value = 'Hei {ukjent}'")
        await page.click_through(".sendbar button")
        assert ("kolonne som filen ikke har" if nb else "a column that the file does not have") in await text(page)
        await whole(page, width, script=script)
        for field, said in (("subject", "Sak {sak}"), ("body", "Hei {navn}"), ("sms", "Hei {navn}, sak {sak}")):
            await page.evaluate(f"document.querySelector('#{field}').value = '{said}'")
        await page.evaluate("document.querySelector('.sendbar button').closest('form').noValidate = true")
        await page.click_through(".sendbar button")
        assert ("0 av 5 rader er sjekket" if nb else "0 of 5 rows are checked") in await text(page)
        await whole(page, width, script=script)
        await s.work(2)
        if script:
            await page.until("document.querySelector('#reach')")
        else:
            await page.goto(await page.evaluate("location.href"))
        found = await text(page)
        assert ("3 rader er klare til å sendes" if nb else "3 rows are ready to be sent") in found
        assert ("Dette er ikke et fødselsnummer" if nb else "This is no national identity number") in found
        assert ("Hei Ingrid, sak 1" in found) or not script
        await whole(page, width, script=script)
        if script:
            await page.evaluate("document.querySelector('[data-opens=sending]').click()")
        else:
            await page.click_through("[data-opens=sending]")
        await page.until("document.querySelector('dialog').open")
        await whole(page, width, script=script)
        await page.click_through("#sending button")
        assert ("last opp en bedre fil" if nb else "upload a better file") in await page.evaluate(
            "document.querySelector('dialog').innerText"
        )
        assert await s.bulk.orders() == 0
        await page.evaluate("document.querySelector('#leave_out').checked = true")
        await page.click_through("#sending button")
        assert ("0 av 3 er gjennom" if nb else "0 of 3 are through") in await text(page)
        await whole(page, width, script=script)
        await s.work()
        if script:
            said = "3 rader, og vi vet" if nb else "3 rows, and we know"
            await page.until(f"document.querySelector('[data-live]')?.innerText.includes('{said}')")
        else:
            await page.goto(await page.evaluate("location.href"))
        done = await text(page)
        for told in (("1 overlevert, ikke bekreftet", "1 ikke sendt, med vilje", "1 fant ingen adresse") if nb else
                     ("1 handed over, not confirmed", "1 not sent, on purpose", "1 no address found")):  # fmt: skip
            assert told in re.sub(r"\s+", " ", done)
        await whole(page, width, script=script)
        assert [message.to for message in s.bulk.road.mail.sent] == ["ingrid@example.com"]


async def test_many_rows_are_sent_only_when_their_number_is_typed(database: Database) -> None:
    async with site(database) as s, visitor(s.world) as v:
        ready = await s.bulk.checked(addresses(1_001), TO_ADDRESSES)
        path = f"{PATH}/{ready.job.id}"
        assert "1,001 rows are ready" in await v.get(path)
        for number in ("", "1002", "yes"):
            status, page, _ = await v.post(f"{path}/send", number=number, rows="1001")
            assert (status, "That is another number." in page) == (422, True)
        assert (await s.bulk.bulk.find(ready.job.id, None)).state is JobState.READY
        status, _, where = await v.post(f"{path}/send", number="1 001")
        assert (status, where) == (303, path)
        assert (await s.bulk.bulk.find(ready.job.id, None)).state is JobState.SENDING


async def test_sending_is_paused_resumed_stopped_and_everything_is_written_down(database: Database) -> None:
    async with site(database, sandbox=False) as s, visitor(s.world, Role.CASEWORKER) as v:
        s.bulk.ahead = 1
        s.bulk.turns = s.bulk.worker()
        job = await s.bulk.confirmed(addresses(3), TO_ADDRESSES)
        path = f"{PATH}/{job.id}"
        assert "Pause" in await v.get(path)
        await v.post(f"{path}/act", do="pause")
        await s.bulk.turns.take_turn()
        assert "No more rows are sent. What is on its way goes on." in await v.get(path)
        await v.post(f"{path}/act", do="resume")
        await s.bulk.turns.take_turn()
        assert "Stop sending?" in await v.get(f"{path}?confirm=stop")
        await v.post(f"{path}/act", do="stop")
        await s.work()
        assert "Stopped" in await v.get(path)
        await v.post(f"{path}/act", do="resume")
        assert (await s.bulk.bulk.find(job.id, None)).state is JobState.STOPPED
        result = await v.get(f"{path}/result.csv")
        assert [row.split(",")[1:3] for row in result.splitlines()[1:]] == [
            ["p•••••@example.com", "unconfirmed"],
            ["p•••••@example.com", "stopped"],
            ["p•••••@example.com", "stopped"],
        ]
        async with database.reading() as conn:
            acts = await fetch(conn, "SELECT action FROM audit WHERE action LIKE 'bulk%%' ORDER BY id", {}, str)
        assert acts == ["bulk pause", "bulk resume", "bulk stop", "bulk result"]


async def test_a_creator_admin_sends_and_sees_only_as_its_creator_and_a_viewer_not_at_all(database: Database) -> None:
    async with site(database, sandbox=False) as s:
        foreign = await s.bulk.upload(addresses(1), creator="Fjordvik kommune")
        async with visitor(s.world, Role.CREATOR_ADMIN, creator="ttd") as v:
            assert 'name="creator"' not in await v.get(PATH)
            await v.get(f"{PATH}/{foreign.id}", 404)
            await v.get(f"{PATH}/{foreign.id}/result.csv", 404)
            await v.get(f"{PATH}/{uuid4()}", 404)
            assert (await v.post(f"{PATH}/{foreign.id}/act", do="stop"))[0] == 404
            status, where = await uploaded(v, addresses(2), creator="Fjordvik kommune")
            assert status == 303
            own = await s.bulk.bulk.find(JobId(UUID(where.rpartition("/")[2])), None)
            assert own.creator == "ttd"
            assert "rows.csv" in await v.get(PATH)
        async with visitor(s.world, Role.VIEWER) as v:
            await v.get(PATH, 403)


async def uploaded(v: Visitor, content: str | bytes, **fields: str) -> tuple[int, str]:
    """Status, and where it leads or what is said."""
    found = re.search(r'name="form_token" value="([0-9a-f]+)"', await v.get(PATH))
    assert found
    form = aiohttp.FormData({"form_token": found[1], **fields})
    form.add_field("file", content.encode() if isinstance(content, str) else content, filename="rows.csv")
    async with v.http.post(PATH, data=form, headers={"Sec-Fetch-Site": "same-origin"}, allow_redirects=False) as a:
        return a.status, a.headers.get("Location", "") or await a.text()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("navn\r\nåse\r\n".encode("latin-1"), "Line 2: The text is not UTF-8."),
        (b"", "Choose a file."),
        (b"a;a\r\n", "Line 1: Two columns have the same name."),
        (b"a\r\n", "There are no rows below the names of the columns."),
    ],
)
async def test_a_file_that_cannot_be_taken_is_told_why_in_words(database: Database, content: bytes, told: str) -> None:
    async with site(database) as s, visitor(s.world) as v:
        status, page = await uploaded(v, content, creator="ttd")
        assert status == 422
        assert told in page
        status, page = await uploaded(v, addresses(1))
        assert (status, "Say who it is from." in page) == (422, True)
        assert await s.bulk.bulk.newest(None) == []


async def test_a_form_of_another_site_uploads_nothing(database: Database) -> None:
    async with site(database) as s, visitor(s.world) as v:
        form = aiohttp.FormData({"form_token": "0" * 64, "creator": "ttd"})
        form.add_field("file", addresses(1).encode(), filename="rows.csv")
        async with v.http.post(PATH, data=form, headers={"Sec-Fetch-Site": "same-origin"}) as answer:
            assert answer.status == 403
        assert await s.bulk.bulk.newest(None) == []


def test_the_pace_is_of_the_last_minute_rounded_up_and_hidden_at_first() -> None:
    now = datetime(2026, 11, 26, 11, tzinfo=UTC)

    def told(samples: list[tuple[float, int]], through: int) -> tuple[int, int] | None:
        summary = Summary(pace=samples)
        job = Job(JobId(uuid4()), "ttd", "x", "csv", JobState.SENDING, now, now, ("a",), 100_000, summary=summary)
        progress = Progress({RowState.READY: 100_000 - through, RowState.DELIVERED: through})
        pace = pace_of(job, progress, through, now, 1_000.0)
        return (pace.a_minute, pace.minutes_left) if pace else None

    assert told([], 10) is None
    assert told([(990.0, 0)], 500) is None
    assert told([(100.0, 0), (940.0, 40_000)], 41_310) == (1_310, 45)
    assert told([(940.0, 99_000)], 99_990) == (990, 1)
    assert told([(940.0, 50)], 50) is None


async def test_how_fast_it_goes_is_kept_for_whoever_looks_after_a_restart(database: Database) -> None:
    async with site(database) as s:
        job = await s.bulk.confirmed(addresses(3), TO_ADDRESSES)
        await s.work(2)
        (first,) = (await s.bulk.bulk.find(job.id, None)).summary.pace
        assert first[1] in (0, 3)
