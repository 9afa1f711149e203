"""The server and the frame around every route: limits, slow clients, faults, health, OpenAPI (design 8)."""

import asyncio
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from serving import DEFAULTS, ORDERS, Client, Orders, make_parts, served, serving
from varsel.api.app import OPENAPI_PATH, create_app
from varsel.api.frame import JsonRoute
from varsel.api.parts import ApiParts
from varsel.api.server import Timeouts, serve
from varsel.clock import SystemClock
from varsel.db import Database, execute
from varsel.domain.errors import Unavailable
from varsel.domain.order import Order
from varsel.orders.register import Registration
from varsel.settings import ServerSettings, Settings

EMAIL: Final = f"{ORDERS}/email"
MAIL: Final = {"subject": "Receipt", "body": "Thank you.", "recipients": [{"emailAddress": "kari@example.com"}]}
SHORT: Final = Timeouts(header=timedelta(seconds=0.3), body_chunk=timedelta(seconds=0.3))
NOWHERE: Final = "host=127.0.0.1 port=1 connect_timeout=1"


def parts_of(home: Path, register: Any = None, **limits: Any) -> ApiParts:
    nowhere = Database(NOWHERE, size=1, name="never opened")
    settings = DEFAULTS.model_copy(update={"server": ServerSettings(**limits)})
    return make_parts(home, SystemClock(), nowhere, register or Orders().register, settings)


@contextmanager
def client_of(parts: ApiParts, app: ASGIApp | None = None, timeouts: Timeouts = SHORT) -> Iterator[Client]:
    with served(app or create_app(parts), timeouts) as port:
        assert parts.issuer
        yield Client(port, parts.issuer)


def raw(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def everything(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    received = b""
    while chunk := connection.recv(65_536):
        received += chunk
    return received


# Bodies


def mail_of(size: int) -> bytes:
    body = json.dumps({**MAIL, "body": "x"}).encode()
    return body.replace(b'"x"', b'"' + b"x" * (size - len(body) + 1) + b'"')


def test_a_body_up_to_the_limit_is_taken_and_one_over_it_is_413(tmp_path: Path) -> None:
    with client_of(parts_of(tmp_path, max_body_bytes=100_000)) as client:
        assert client.post(EMAIL, mail_of(100_000)).status == 202
        for size in (100_001, 150_000, 200_000):
            reply = client.post(EMAIL, mail_of(size))
            assert (reply.status, reply.json["status"]) == (413, 413)
        assert client.post(EMAIL, mail_of(100_000)).status == 202


def test_a_body_without_a_declared_length_is_limited_alike(tmp_path: Path) -> None:
    with client_of(parts_of(tmp_path, max_body_bytes=100_000)) as client:
        headers = {"Authorization": f"Bearer {client.token('ttd', ['altinn:serviceowner/notifications.create'])}"}
        for size, status in ((100_000, 202), (100_001, 413)):
            connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=10)
            chunks = (mail_of(size)[start : start + 30_000] for start in range(0, size, 30_000))
            connection.request(
                "POST", EMAIL, chunks, {**headers, "Content-Type": "application/json"}, encode_chunked=True
            )
            assert connection.getresponse().status == status
            connection.close()


def test_a_body_far_over_the_limit_is_not_even_read(tmp_path: Path) -> None:
    with client_of(parts_of(tmp_path, max_body_bytes=1_000)) as client, raw(client.port) as connection:
        token = client.token("ttd", ["altinn:serviceowner/notifications.create"])
        head = f"POST {EMAIL} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: 30000000000\r\n\r\n".encode())
        answer = everything(connection)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in answer.lower()


def test_bodies_that_wait_share_one_limit_and_leave_it_when_they_are_done(tmp_path: Path) -> None:
    waiting, go_on = threading.Event(), threading.Event()

    async def register(order: Order) -> Registration:
        if len(order.recipients) == 1 and order.senders_reference == "slow":
            waiting.set()
            await asyncio.to_thread(go_on.wait, 10)
        return Registration(order.id, None)

    slow = json.dumps({**MAIL, "body": "x" * 70_000, "sendersReference": "slow"}).encode()
    with client_of(parts_of(tmp_path, register, max_body_bytes=100_000, max_waiting_body_bytes=100_000)) as client:
        first = threading.Thread(target=client.post, args=(EMAIL, slow))
        first.start()
        assert waiting.wait(10)
        reply = client.post(EMAIL, mail_of(50_000))
        assert (reply.status, reply.json["code"]) == (503, "NOT-00004")
        assert reply.headers["Retry-After"] == "1"
        assert client.post(EMAIL, mail_of(20_000)).status == 202
        go_on.set()
        first.join()
        for _ in range(3):
            assert client.post(EMAIL, mail_of(90_000)).status == 202
            assert client.post(EMAIL, mail_of(90_000)[:-1]).status == 400


# Slow and broken clients


@pytest.mark.parametrize(
    "sent", [b"", b"POST /", b"POST / HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "half a line", "half the headers"]
)
def test_a_client_that_does_not_finish_its_headers_is_cut_off(tmp_path: Path, sent: bytes) -> None:
    with client_of(parts_of(tmp_path)) as client, raw(client.port) as connection:
        connection.sendall(sent)
        assert everything(connection).startswith(b"HTTP/1.1 408 ")


def trickle(connection: socket.socket, data: bytes) -> None:
    """Send a little again and again, until the other side hangs up; fails when it never does."""
    for _ in range(200):
        try:
            connection.sendall(data)
        except OSError:
            return
        time.sleep(0.05)
    pytest.fail("the connection was kept")


def test_headers_that_trickle_are_cut_off_too(tmp_path: Path) -> None:
    with client_of(parts_of(tmp_path)) as client, raw(client.port) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\n")
        trickle(connection, b"X-Trickle: x\r\n")


def test_a_client_that_stops_within_its_body_is_cut_off(tmp_path: Path) -> None:
    orders = Orders()
    with client_of(parts_of(tmp_path, orders.register)) as client, raw(client.port) as connection:
        token = client.token("ttd", ["altinn:serviceowner/notifications.create"])
        head = f"POST {EMAIL} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        connection.sendall(f'{head}Content-Length: 1000\r\n\r\n{{"subject"'.encode())
        assert everything(connection).startswith(b"HTTP/1.1 408 ")
        assert client.post(EMAIL, MAIL).status == 202
    assert len(orders.accepted) == 1


def test_a_body_that_comes_slowly_but_steadily_is_taken(tmp_path: Path) -> None:
    with client_of(parts_of(tmp_path)) as client, raw(client.port) as connection:
        token = client.token("ttd", ["altinn:serviceowner/notifications.create"])
        body = json.dumps(MAIL).encode()
        head = f"POST {EMAIL} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode())
        for start in range(0, len(body), 16):
            time.sleep(0.06)
            connection.sendall(body[start : start + 16])
        assert everything(connection).startswith(b"HTTP/1.1 202 ")


def test_endless_headers_are_refused(tmp_path: Path) -> None:
    with client_of(parts_of(tmp_path), timeouts=Timeouts()) as client, raw(client.port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        try:
            for _ in range(2_000):
                connection.sendall(b"X-Long: " + b"x" * 100 + b"\r\n")
            answer = everything(connection)
        except OSError:
            return  # the answer was lost on the way: we were still writing
        assert answer.startswith(b"HTTP/1.1 431 ")


def test_an_idle_connection_is_kept_between_requests(tmp_path: Path) -> None:
    with client_of(parts_of(tmp_path)) as client:
        connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=10)
        connection.request("GET", "/health/live")
        connection.getresponse().read()
        kept = connection.sock
        time.sleep(0.5)  # longer than both time-outs: neither counts between requests
        connection.request("GET", "/health/live")
        assert connection.getresponse().read() == b"Healthy"
        assert connection.sock is kept
        connection.close()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n",
        b"GET /health\0/live HTTP/1.1\r\nHost: x\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_nul_in_a_header_or_path_and_nonsense_are_400(tmp_path: Path, request_: bytes) -> None:
    with client_of(parts_of(tmp_path)) as client, raw(client.port) as connection:
        connection.sendall(request_)
        assert everything(connection).startswith(b"HTTP/1.1 400 ")


def test_nul_in_a_query_is_400_and_named(tmp_path: Path) -> None:
    with client_of(parts_of(tmp_path)) as client:
        assert list(client.get(f"{ORDERS}?x=1&other=a%00b").errors) == ["other"]
        assert list(client.get("/health/live?%00=1").errors) == [""]
        assert client.get("/health/live?x=%2500").status == 200


# Faults of ours


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Client]:
    """/bug fails at once, /late after its answer has begun, /down says that something is unavailable."""

    async def bug(_request: Request) -> Response:
        raise ValueError("kari@example.com 01817012345")

    async def down(_request: Request) -> Response:
        raise Unavailable("the register", timedelta(seconds=7))

    async def half() -> AsyncIterator[bytes]:
        yield b"half"
        raise ValueError("kari@example.com")

    async def late(_request: Request) -> Response:
        return StreamingResponse(half(), headers={"Content-Length": "100"})

    parts = parts_of(tmp_path)
    routes = [
        JsonRoute("/bug", bug, method="GET", answers={200: None}),
        JsonRoute("/down", down, method="GET", answers={200: None}),
        Route("/late", late),
    ]
    with client_of(parts, create_app(parts, routes)) as client:
        yield client


def test_a_bug_is_an_empty_500_and_the_log_tells_where_but_not_what(
    faulty: Client, caplog: pytest.LogCaptureFixture
) -> None:
    reply = faulty.get("/bug")
    assert (reply.status, reply.content) == (500, b"")
    (record,) = (r for r in caplog.records if r.getMessage() == "request failed")
    fields = record.__dict__["fields"]
    assert (fields["error"], fields["path"]) == ("ValueError", "/bug")
    assert any("test_http_frame.py" in place for place in fields["where"])
    assert "kari" not in caplog.text


def test_an_answer_that_fails_halfway_is_cut_short(faulty: Client, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(http.client.IncompleteRead):
        faulty.get("/late")
    assert "kari" not in caplog.text


def test_unavailable_is_503_with_the_time_to_wait(faulty: Client) -> None:
    reply = faulty.get("/down")
    assert reply.status == 503
    assert reply.headers["Retry-After"] == "7"
    problem = reply.json
    assert problem.pop("traceId").startswith("00-")
    assert problem == {
        "type": "urn:altinn:error:NOT-00004",
        "title": "A temporary network failure occurred",
        "status": 503,
        "code": "NOT-00004",
        "statusDescription": "Service Unavailable",
    }


def test_a_problem_carries_on_the_callers_trace(faulty: Client) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    reply = faulty.get("/down", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    assert reply.json["traceId"].startswith(f"00-{trace}-")
    for bad in ("", "x", f"00-{'0' * 32}-00f067aa0ba902b7-01"):
        assert trace not in faulty.get("/down", headers={"traceparent": bad}).json["traceId"]


def test_answers_do_not_tell_what_serves_them(faulty: Client) -> None:
    assert "Server" not in faulty.get("/health/live").headers


# Health


@pytest.mark.assertion("http-api", 153)
async def test_health_answers_everybody(database: Database, tmp_path: Path) -> None:
    parts = make_parts(tmp_path, SystemClock(), database, Orders().register)
    async with serving(create_app(parts)) as port:
        assert parts.issuer
        client = Client(port, parts.issuer)
        for path in ("/health", "/Health/", "/health/live"):
            reply = await client.aget(path, headers={"Authorization": None})
            assert (reply.status, reply.content) == (200, b"Healthy")
            assert reply.headers["Content-Type"].startswith("text/plain")
            assert reply.headers["Cache-Control"] == "no-store, no-cache"


async def test_ready_means_database_and_migrations_and_says_what_else_is_amiss(
    database: Database, tmp_path: Path
) -> None:
    parts = make_parts(tmp_path, SystemClock(), database, Orders().register)
    async with serving(create_app(parts)) as port:
        assert parts.issuer
        client = Client(port, parts.issuer)
        reply = await client.aget("/health/ready")
        assert (reply.status, reply.json["ready"], reply.json["problems"]) == (200, True, [])
        assert "no worker is alive" in reply.json["warnings"][0]
        async with database.autocommit() as conn:
            await execute(
                conn,
                """INSERT INTO worker (kind, host, pid, started_at, lease_until)
                   VALUES ('worker', 'here', 1, now(), now() + interval '1 hour')""",
                {},
            )
        assert not any("worker" in warning for warning in (await client.aget("/health/ready")).json["warnings"])
        async with database.autocommit() as conn:
            await execute(conn, "DELETE FROM schema_migration WHERE number = 1", {})
        reply = await client.aget("/health/ready")
        assert (reply.status, reply.json["ready"]) == (503, False)
        assert reply.json["problems"][0].startswith("migrations are missing: 0001")


async def test_a_database_without_any_table_is_not_ready(empty_dsn: str, tmp_path: Path) -> None:
    database = Database(empty_dsn, size=2, name="test")
    await database.open()
    parts = make_parts(tmp_path, SystemClock(), database, Orders().register)
    async with serving(create_app(parts)) as port:
        assert parts.issuer
        client = Client(port, parts.issuer)
        assert (await client.aget("/health/ready")).status == 503
        assert (await client.aget("/health")).status == 200
    await database.close()


def test_without_a_database_the_process_lives_but_is_not_well(tmp_path: Path) -> None:
    with client_of(parts_of(tmp_path)) as client:
        assert client.get("/health/live").status == 200
        reply = client.get("/health")
        assert (reply.status, reply.content) == (503, b"Unhealthy")
        assert client.get("/health/ready").json["problems"] == ["the database does not answer"]


# The published document


def test_the_document_describes_every_v1_operation(tmp_path: Path) -> None:
    with client_of(parts_of(tmp_path)) as client:
        document = client.get(OPENAPI_PATH.upper(), headers={"Authorization": None})
        described = json.loads(document.content)
    operations = {(path, method) for path, item in described["paths"].items() for method in item}
    assert operations >= {
        (ORDERS, "post"),
        (ORDERS, "get"),
        (f"{ORDERS}/email", "post"),
        (f"{ORDERS}/sms", "post"),
        (f"{ORDERS}/{{id}}", "get"),
        (f"{ORDERS}/{{id}}/status", "get"),
        (f"{ORDERS}/{{id}}/cancel", "put"),
        (f"{ORDERS}/{{id}}/notifications/email", "get"),
        (f"{ORDERS}/{{id}}/notifications/sms", "get"),
    }
    assert described["components"]["securitySchemes"]["bearerAuth"]["scheme"] == "bearer"
    body = described["components"]["schemas"]["OrderBody"]
    assert body["required"] == ["recipients"]
    assert "additionalProperties" not in body
    assert {"type": "integer", "enum": [0, 1, 2, 3, 4]} in body["properties"]["notificationChannel"]["anyOf"]
    assert "default" not in body["properties"]["requestedSendTime"]
    text = json.dumps(described)
    references = {part.split('"')[0] for part in text.split('"$ref": "#/components/schemas/')[1:]}
    assert references <= described["components"]["schemas"].keys()


def test_production_publishes_no_document(tmp_path: Path) -> None:
    parts = parts_of(tmp_path)
    production = replace(parts, settings=Settings(environment="production"), issuer=None)
    with client_of(parts, create_app(production)) as client:
        assert client.get(OPENAPI_PATH).status == 404
        assert client.get("/dev/issuer/jwks").status == 404


# Stopping


async def until_refused(client: Client) -> None:
    """Until the server takes no new connections."""
    async with asyncio.timeout(10):
        while True:
            try:
                await client.aget("/health/live")
            except ConnectionRefusedError:
                return
            except OSError:  # it was taken in the very moment
                continue


async def test_a_request_that_is_under_way_is_answered_before_the_server_ends(tmp_path: Path) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def register(order: Order) -> Registration:
        begun.set()
        await go_on.wait()
        return Registration(order.id, None)

    parts = parts_of(tmp_path, register)
    stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    server = asyncio.create_task(serve(create_app(parts), "127.0.0.1", 0, stop, on_ready=port.set_result))
    assert parts.issuer
    client = Client(await port, parts.issuer)
    answer = asyncio.create_task(client.apost(EMAIL, MAIL))
    await begun.wait()
    stop.set()
    await until_refused(client)
    go_on.set()
    assert (await answer).status == 202
    await server


async def test_a_request_that_never_ends_is_told_to_come_back_and_does_not_keep_the_server(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def register(_order: Order) -> Registration:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    parts = parts_of(tmp_path, register)
    assert parts.issuer
    async with serving(create_app(parts), Timeouts(shutdown=timedelta(seconds=1))) as port:
        answer = asyncio.create_task(Client(port, parts.issuer).apost(EMAIL, MAIL))
        await begun.wait()
    reply = await answer
    assert (reply.status, reply.json["code"]) == (503, "NOT-00004")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_a_server_that_has_nobody_else_to_stop_it(tmp_path: Path, number: signal.Signals) -> None:
    await serve(create_app(parts_of(tmp_path)), "127.0.0.1", 0, on_ready=lambda _port: os.kill(os.getpid(), number))


async def test_a_listening_socket_can_be_handed_over(tmp_path: Path) -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    parts = parts_of(tmp_path)
    server = asyncio.create_task(serve(create_app(parts), "", 0, stop, sock=sock, on_ready=ready.set_result))
    assert await ready == port
    assert parts.issuer
    assert (await Client(port, parts.issuer).aget("/health/live")).status == 200
    stop.set()
    await server
    assert sock.fileno() == -1


async def test_an_address_that_is_taken_is_an_error_of_the_system(tmp_path: Path) -> None:
    app = create_app(parts_of(tmp_path))
    async with serving(app) as port:
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            await serve(app, "127.0.0.1", port, asyncio.Event())
