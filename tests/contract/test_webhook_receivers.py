"""Events over real sockets (channels 7.4): whom we speak to, what counts as taken, and what is never followed."""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from certificates import tls_for
from receivers import Got, Receiver, hang, receiving
from road import until
from varsel.providers import webhook_http as http
from varsel.providers.webhook_http import HttpReceivers
from varsel.webhooks.address import Addresses
from varsel.webhooks.ports import Answer

LOOPBACK: Final = Addresses(loopback_http=True)
PUBLIC: Final = Addresses()
NAME: Final = "hooks.example"
BODY: Final = b'{"type": "x"}'


class Names(AbstractResolver):
    """Answers with these addresses, one list for each question; the last again and again."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        found = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]

    async def close(self) -> None: ...


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def posted(url: str, addresses: Addresses = LOOPBACK, **options: Any) -> Answer:
    client = HttpReceivers(addresses, **{"timeout": timedelta(seconds=20), **options})
    try:
        return await client.post(url, {"webhook-id": "1", "Content-Type": "x/y"}, BODY)
    finally:
        await client.close()


# Answers


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_every_2xx_is_taken(receiver: Receiver, status: int) -> None:
    receiver.answer = lambda _: status
    answer = await posted(receiver.url)
    assert answer == Answer(status)
    assert answer.taken


@pytest.mark.parametrize("status", [400, 401, 404, 410, 429, 500, 503])
async def test_every_other_status_is_a_failure(receiver: Receiver, status: int) -> None:
    receiver.answer = lambda _: status
    answer = await posted(receiver.url)
    assert (answer.status, answer.taken, answer.gone) == (status, False, status == 410)


async def test_a_request_is_what_it_was_signed_as_and_nothing_more(receiver: Receiver) -> None:
    await posted(receiver.url + "?a=%2F&b=c d".replace(" ", "%20"))
    [got] = receiver.got
    assert got.path == "/hook?a=%2F&b=c%20d"
    assert got.body == BODY
    assert got.headers["user-agent"] == "Varsel-Webhooks/1"
    assert got.headers["accept-encoding"] == "identity"
    assert got.headers["content-length"] == str(len(BODY))
    assert not got.headers.keys() & {"cookie", "authorization", "proxy-authorization"}


@pytest.mark.assertion("channels", 103)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.assertion("channels-faults", 33)
async def test_a_redirect_is_a_failure_and_no_second_request(receiver: Receiver, status: int) -> None:
    """F33."""
    redirect = {"Location": "http://169.254.169.254/latest/"}
    receiver.answer = lambda _: web.Response(status=status, headers=redirect)
    answer = await posted(receiver.url)
    assert answer == Answer(status)
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("120", 120), ("0", 0), ("999999999", 86_400), ("-1", None), ("soon", None), ("", None), ("1.5", None),
        ("9" * 400, None), ("Thu, 01 Jan 1970 00:00:00 GMT", None), ("Mon, 99 Jan", None), ("１２０", None),
    ],
)  # fmt: skip
async def test_a_wish_to_be_left_alone_is_read_or_left(receiver: Receiver, text: str, wait: int | None) -> None:
    receiver.answer = lambda _: web.Response(status=503, headers={"Retry-After": text})
    answer = await posted(receiver.url)
    assert answer.retry_after == (None if wait is None else timedelta(seconds=wait))


async def test_a_wish_may_be_a_date(receiver: Receiver) -> None:
    later = formatdate(time.time() + 1_000, usegmt=True)
    receiver.answer = lambda _: web.Response(status=503, headers={"Retry-After": later})
    answer = await posted(receiver.url)
    assert answer.retry_after is not None
    assert timedelta(seconds=800) < answer.retry_after <= timedelta(seconds=1_000)


# Trouble


@pytest.mark.assertion("channels-faults", 35)
async def test_a_receiver_that_hangs_is_given_up_after_the_time_out(receiver: Receiver) -> None:
    receiver.answer = hang
    assert await posted(receiver.url, timeout=timedelta(seconds=0.2)) == Answer(None, http.NO_ANSWER)


async def test_an_answer_without_end_is_not_read(receiver: Receiver) -> None:
    async def endless(got: Got) -> web.StreamResponse:
        response = web.StreamResponse(status=200)
        await response.prepare(got.request)
        while True:
            await response.write(bytes(65_536))

    receiver.answer = endless
    assert (await posted(receiver.url)).taken


async def test_nobody_there_is_no_connection() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://localhost:{closed.getsockname()[1]}/"
        assert await posted(url) == Answer(None, http.NO_CONNECTION)


@pytest.mark.parametrize(
    "said", [b"", b"SSH-2.0-nothing\r\n", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nA: " + bytes(70_000)]
)
async def test_what_is_no_answer_is_a_lost_connection(said: bytes) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        answer = await posted(f"http://localhost:{server.sockets[0].getsockname()[1]}/")
    assert answer == Answer(None, http.LOST)


# Whom we speak to

PRIVATE: Final = [
    *("0.1.2.3", "10.1.2.3", "100.64.1.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.0.0.1", "192.168.1.1"),
    *("198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.88.99.1"),
    *("::", "::1", "::7f00:1", "fc00::1", "fe80::1", "fec0::1", "ff02::1", "2001:db8::1", "100::1"),
    *("::ffff:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1"),
    "2001:0:0:0:0:0:f5ff:fffe",
]


@pytest.mark.assertion("channels", 104)
@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.assertion("channels-faults", 34)
async def test_a_name_that_leads_to_a_private_address_is_refused_alone_and_among_public_ones(address: str) -> None:
    """F34."""
    for found in ([address], ["8.8.8.8", address], [address, "2001:4860:4860::8888"]):
        names = Names(found)
        answer = await posted(f"https://{NAME}/", PUBLIC, resolver=names)
        assert answer == Answer(None, http.NOT_ALLOWED)
        assert names.asked == [NAME]


@pytest.mark.assertion("channels", 104)
@pytest.mark.assertion("channels-faults", 34)
async def test_the_address_that_was_looked_at_is_the_one_that_is_spoken_to_and_each_request_looks_anew(
    receiver: Receiver,
) -> None:
    """F34: nothing can change between the look and the connection."""
    names = Names(["127.0.0.1"], ["127.0.0.2"], ["127.0.0.1"])
    url = f"http://{NAME}:{receiver.port}/"
    client = HttpReceivers(
        Addresses((f"{NAME}:{receiver.port}",), http=True), timeout=timedelta(seconds=20), resolver=names
    )
    assert (await client.post(url, {}, BODY)).taken
    assert names.asked == [NAME]
    assert await client.post(url, {}, BODY) == Answer(None, http.NO_CONNECTION)
    assert (await client.post(url, {}, BODY)).taken
    assert names.asked == [NAME] * 3
    await client.close()


@pytest.mark.assertion("channels", 104)
async def test_localhost_passes_only_when_it_is_allow_listed(receiver: Receiver) -> None:
    assert (await posted(receiver.url, LOOPBACK)).taken
    assert await posted(receiver.url, PUBLIC) == Answer(None, http.NOT_ALLOWED)
    assert await posted("https://localhost/", PUBLIC) == Answer(None, http.NOT_ALLOWED)
    listed = Addresses((f"localhost:{receiver.port}",), http=True)
    assert (await posted(receiver.url, listed)).taken
    in_production = Addresses((f"localhost:{receiver.port}",), http=False)
    assert await posted(receiver.url, in_production) == Answer(None, http.NOT_ALLOWED)


async def test_networks_of_the_operator_are_refused_as_well() -> None:
    denied = [ipaddress.ip_network("8.8.0.0/16"), ipaddress.ip_network("2001:4860::/32")]
    for address in ("8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808", "::ffff:8.8.8.8"):
        answer = await posted(f"https://{NAME}/", PUBLIC, resolver=Names([address]), denied=denied)
        assert answer == Answer(None, http.NOT_ALLOWED)


async def test_a_host_that_is_allow_listed_may_be_private_over_tls_for_its_name(tmp_path: Path) -> None:
    """The connection goes to the address that was found, and the certificate is for the name."""
    seen: list[str | None] = []
    server_side, client_side = tls_for(NAME, tmp_path)

    def note(_socket: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        seen.append(name)

    server_side.sni_callback = note
    async with receiving(server_side) as receiver:
        allowed = Addresses((f"{NAME}:{receiver.port}", f"other.example:{receiver.port}"))
        options: dict[str, Any] = {"resolver": Names(["127.0.0.1"]), "tls": client_side}
        assert (await posted(f"https://{NAME}:{receiver.port}/", allowed, **options)).taken
        assert receiver.got[0].headers["host"] == f"{NAME}:{receiver.port}"
        other = await posted(f"https://other.example:{receiver.port}/", allowed, **options)
        assert other == Answer(None, http.NO_TLS)
        unknown = await posted(f"https://{NAME}:{receiver.port}/", allowed, resolver=Names(["127.0.0.1"]))
        assert unknown == Answer(None, http.NO_TLS)
    assert seen[:2] == [NAME, "other.example"]
    assert len(receiver.got) == 1


async def test_a_name_that_does_not_exist_is_told_so() -> None:
    assert await posted("https://nowhere.invalid/", PUBLIC) == Answer(None, http.NOT_FOUND)


async def test_proxies_of_the_environment_are_not_asked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await posted(receiver.url)).taken


async def test_a_hundred_receivers_at_once_are_all_served(receiver: Receiver) -> None:
    gate = asyncio.Event()

    async def wait(_: Got) -> int:
        await gate.wait()
        return 204

    receiver.answer = wait
    client = HttpReceivers(LOOPBACK, timeout=timedelta(seconds=20))
    posting = [asyncio.create_task(client.post(receiver.url, {}, b'{"type": "x"}')) for _ in range(100)]
    await until(lambda: receiver.now == 100)
    gate.set()
    assert all(answer.taken for answer in await asyncio.gather(*posting))
    await client.close()
