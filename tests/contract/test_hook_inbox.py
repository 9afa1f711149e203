"""The sandbox's receiver of webhooks: it answers as its path says, and knows whose signature it sees."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from time import time
from typing import Any, Final

import pytest
from starlette.applications import Starlette

from serving import serving
from varsel.domain.signatures import headers_of, new_secret
from varsel.simulators.hooks import HookInbox

SECRET: Final = new_secret()
PATH: Final = "/hooks/204/cases"
EVENT: Final = {"type": "ping.v1"}


@dataclass
class Inbox:
    port: int

    async def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> int:
        return (await asyncio.to_thread(self._ask, "POST", path, body, headers or {}))[0]

    async def got(self, query: str = "") -> Any:
        status, content = await asyncio.to_thread(self._ask, "GET", f"/hooks{query}", None, {})
        assert status == 200
        return json.loads(content)

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


async def secrets(path: str) -> Sequence[bytes]:
    return [SECRET] if path == PATH else []


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    async with serving(Starlette(routes=HookInbox(secrets).routes("/hooks"))) as port:
        yield Inbox(port)


def signed(body: bytes) -> Mapping[str, str]:
    return headers_of("1", body, [SECRET], at=int(time()))


async def test_it_tells_what_came_and_whether_it_was_signed_by_the_webhooks_secret(inbox: Inbox) -> None:
    body = json.dumps(EVENT).encode()
    assert await inbox.post(PATH, body, signed(body)) == 204
    assert await inbox.post(PATH, body + b" ", signed(body)) == 204
    assert await inbox.post("/hooks/204/another", body, signed(body)) == 204
    assert [(got["path"], got["verified"], got["event"]) for got in await inbox.got()] == [
        ("/hooks/204/another", False, EVENT),
        (PATH, False, EVENT),
        (PATH, True, EVENT),
    ]


@pytest.mark.parametrize(("path", "status"), [("204", 204), ("503", 503), ("410", 410), ("100", 404), ("900", 404)])
async def test_it_answers_the_status_of_its_path(inbox: Inbox, path: str, status: int) -> None:
    assert await inbox.post(f"/hooks/{path}/x", b"{}") == status


async def test_what_is_no_event_is_kept_too_and_what_is_large_is_not(inbox: Inbox) -> None:
    assert await inbox.post(PATH, b"no json") == 204
    assert await inbox.post(PATH, bytes(100_000)) == 413
    assert [(got["event"], got["webhookId"], got["verified"]) for got in await inbox.got()] == [(None, None, False)]


async def test_who_asks_may_wait_for_an_event_of_a_type(inbox: Inbox) -> None:
    waiting = asyncio.create_task(inbox.got("?type=ping.v1&wait=20"))
    await inbox.post(PATH, b'{"type": "other"}')
    assert not waiting.done()
    await inbox.post(PATH, json.dumps(EVENT).encode())
    assert [got["event"] for got in await waiting] == [EVENT]
    assert await inbox.got("?type=nothing&wait=x") == []
    assert await inbox.got("?type=nothing&wait=0.01") == []
