"""Attachments over real sockets (processing 10.2, channels 7.4): what is fetched, what passes, and what is for good."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from serving import serving
from varsel.api.server import Timeouts
from varsel.delivery.ports import Deferred, File, Refused
from varsel.domain.attachments import FileStores
from varsel.domain.notification import Reason
from varsel.domain.order import Attachment
from varsel.providers.attachments import HttpAttachments
from varsel.simulators.blobs import BlobStore, content_of

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
LOOPBACK = FileStores(loopback_http=True)
IMPATIENT = Timeouts(shutdown=timedelta())
SECRET = "sig=c2VjcmV0"


def refused(detail: str) -> Refused:
    return Refused(Reason.INVALID_SAS_URL, detail)


UNREADABLE = refused("an attachment's address cannot be read")
NO_STORE = refused("an attachment lies in no store that may be fetched from")
PRIVATE = refused("the store lies in a private network")


@asynccontextmanager
async def fetcher(stores: FileStores = LOOPBACK, **changes: Any) -> AsyncIterator[HttpAttachments]:
    usual: dict[str, Any] = {
        "parallel": 5,
        "timeout": timedelta(seconds=5),
        "max_bytes": 1_000_000,
        "private_hosts": True,
    }
    files = HttpAttachments(stores, **(usual | changes))
    yield files
    await files.close()


@dataclass
class Blobs:
    """A store that is served."""

    store: BlobStore
    port: int
    stopping: AsyncExitStack

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[str]:
        return list(self.store.requests)


@pytest.fixture
async def blobs() -> AsyncIterator[Blobs]:
    store = BlobStore()
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(serving(store.app, IMPATIENT))
        yield Blobs(store, port, stack)


def at(blobs: Blobs, *paths: str) -> list[Attachment]:
    return [Attachment(f"{n}.pdf", "application/pdf", f"{blobs.url}{path}?{SECRET}") for n, path in enumerate(paths)]


async def fetched(blobs: Blobs, *paths: str, **changes: Any) -> tuple[File, ...] | Refused | Deferred:
    async with fetcher(**changes) as files:
        return await files.fetch(at(blobs, *paths), now=NOW)


async def test_files_come_as_they_lie_there_and_in_their_order(blobs: Blobs) -> None:
    paths = ("/ok/b.pdf", "/ok/a.pdf", "/ok/%C3%A5%20%2F.pdf")
    files = await fetched(blobs, *paths)
    assert isinstance(files, tuple)
    assert [file.name for file in files] == ["0.pdf", "1.pdf", "2.pdf"]
    assert [file.content for file in files] == [content_of(p) for p in ("b.pdf", "a.pdf", "å /.pdf")]
    assert sorted(blobs.requests) == sorted(f"{path}?{SECRET}" for path in paths)  # signed as they are


async def test_an_email_without_files_asks_nobody(blobs: Blobs) -> None:
    assert await fetched(blobs) == ()
    assert not blobs.requests


async def test_letters_beyond_ascii_in_an_address_are_encoded(blobs: Blobs) -> None:
    await fetched(blobs, "/ok/å.pdf")
    assert blobs.requests == [f"/ok/%C3%A5.pdf?{SECRET}"]


@pytest.mark.parametrize("status", [401, 403, 404, 410, 204, 206])
@pytest.mark.assertion("processing", 133)
async def test_a_refusal_of_the_store_is_for_good(blobs: Blobs, status: int) -> None:
    expected = refused(f"the store of an attachment answered {status}")
    assert await fetched(blobs, "/ok/a.pdf", f"/status/{status}/a.pdf") == expected


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 429])
async def test_trouble_of_the_store_passes(blobs: Blobs, status: int) -> None:
    assert await fetched(blobs, f"/status/{status}/a.pdf") == Deferred(f"the store of an attachment answered {status}")


@pytest.mark.assertion("processing", 133)
async def test_what_failed_once_is_there_the_next_time(blobs: Blobs) -> None:
    async with fetcher() as files:
        assert isinstance(await files.fetch(at(blobs, "/once/503/a.pdf"), now=NOW), Deferred)
        assert isinstance(await files.fetch(at(blobs, "/once/503/a.pdf"), now=NOW), tuple)


async def test_a_failure_ends_the_other_downloads(blobs: Blobs) -> None:
    async with asyncio.timeout(3):
        result = await fetched(blobs, "/slow/a.pdf", "/slow/b.pdf", "/status/404/c.pdf", timeout=timedelta(seconds=30))
    assert result == refused("the store of an attachment answered 404")


async def test_what_is_for_good_counts_before_what_may_pass(blobs: Blobs) -> None:
    for _ in range(5):
        result = await fetched(blobs, "/status/503/a.pdf", "/status/403/b.pdf")
        assert result in (
            refused("the store of an attachment answered 403"),
            Deferred("the store of an attachment answered 503"),
        )
    async with fetcher(FileStores(azure=(".nowhere.invalid",))) as files:  # both at once, before anything is awaited
        attachments = [*at(blobs, "/ok/a.pdf"), Attachment("a.pdf", "application/pdf", "https://x.nowhere.invalid/")]
        assert await files.fetch(attachments, now=NOW) == NO_STORE


async def test_a_store_that_is_too_slow_passes(blobs: Blobs) -> None:
    slow = await fetched(blobs, "/slow/a.pdf", timeout=timedelta(seconds=0.2))
    assert slow == Deferred("the store of an attachment did not answer in time")


async def test_less_than_was_promised_is_no_file(blobs: Blobs) -> None:
    assert await fetched(blobs, "/broken/a.pdf") == Deferred("the connection to the store of an attachment was lost")


async def test_nobody_there_passes(blobs: Blobs) -> None:
    attachments = at(blobs, "/ok/a.pdf")
    await blobs.stopping.aclose()
    async with fetcher() as files:
        assert await files.fetch(attachments, now=NOW) == Deferred("no connection to the store of an attachment")


@pytest.mark.parametrize("paths", [("/large/a.pdf",), ("/endless/a.pdf",), ("/ok/a.pdf", "/ok/b.pdf", "/ok/c.pdf")])
async def test_more_than_may_be_attached_is_given_up_early(blobs: Blobs, paths: tuple[str, ...]) -> None:
    async with asyncio.timeout(5):
        result = await fetched(blobs, *paths, max_bytes=2_500)
    assert result == Refused(Reason.PAYLOAD_TOO_LARGE, "the attachments are larger than 2500 octets")


async def test_a_redirect_is_not_followed(blobs: Blobs) -> None:
    assert await fetched(blobs, "/elsewhere/a.pdf") == refused("the store of an attachment answered 302")
    assert len(blobs.requests) == 1


async def test_no_more_than_so_many_are_fetched_at_once(blobs: Blobs) -> None:
    paths = [f"/ok/{number}.pdf" for number in range(40)]
    assert isinstance(await fetched(blobs, *paths, parallel=3), tuple)
    assert blobs.store.most_at_once <= 3


@pytest.mark.parametrize("se", ["2026-11-23T10:00:00Z", "2026-11-23T09:59:59Z"])
async def test_an_address_that_has_lapsed_is_not_tried(blobs: Blobs, se: str) -> None:
    async with fetcher() as files:
        lapsed = Attachment("a.pdf", "application/pdf", f"{blobs.url}/ok/a.pdf?se={se}&{SECRET}")
        assert await files.fetch([lapsed], now=NOW) == refused("an attachment's address has lapsed")
        assert await files.fetch([lapsed], now=NOW - timedelta(hours=1)) != refused(
            "an attachment's address has lapsed"
        )


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/a.pdf",
        "https://evil.example/a.pdf",
        "https://127.0.0.1/a.pdf",
        "https://x.blob.core.windows.net@127.0.0.1/a.pdf",
        "https://127.0.0.1\\@x.blob.core.windows.net/a.pdf",
        "https://127.0.0.1#@x.blob.core.windows.net/a.pdf",
        "file:///etc/passwd",
        "x",
    ],
)
async def test_nothing_is_fetched_from_anywhere_else(url: str) -> None:
    async with fetcher(FileStores()) as files:
        result = await files.fetch([Attachment("a.pdf", "application/pdf", url)], now=NOW)
    assert result in (NO_STORE, UNREADABLE)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_in_production_no_store_leads_to_a_private_network(host: str) -> None:
    async with fetcher(FileStores(plain=("127.0.0.1", "localhost")), private_hosts=False) as files:
        attachment = Attachment("a.pdf", "application/pdf", f"https://{host}/a.pdf")
        assert await files.fetch([attachment], now=NOW) == PRIVATE


async def test_addresses_are_in_no_log_and_no_answer(blobs: Blobs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for path in ("/ok/a.pdf", "/status/403/a.pdf", "/status/503/a.pdf", "/broken/a.pdf", "/large/a.pdf"):
        result = await fetched(blobs, path)
        assert "secret" not in repr(result)
        assert SECRET not in repr(result)
    ours = [str(vars(r)) for r in caplog.records if not r.name.startswith("uvicorn")]  # of the store
    assert not [text for text in ours if SECRET in text or blobs.url in text]
