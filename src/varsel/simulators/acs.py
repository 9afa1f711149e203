"""Azure Communication Services' email, simulated (channels 8.5): the local part of an address chooses what happens.

It checks signatures exactly, remembers operations, answers questions about them, and tells events over real HTTP. Its
waiting times are those of the specification times `time_factor`.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID, uuid4

from aiohttp import web

from varsel.simulators.acs_events import Events, EventsSent, Happened
from varsel.simulators.acs_script import SCRIPTS, Refusal, Script, script_for

_JOURNAL: Final = 10_000
_MAX_BODY: Final = 12 * 1024 * 1024
_SKEW: Final = timedelta(minutes=5)
_ASK_AFTER: Final = "1"


@dataclass(frozen=True, slots=True)
class Sent:
    """An email that was taken and leaves. `document`: the request."""

    operation: str
    recipient: str
    document: dict[str, Any]

    @property
    def subject(self) -> str:
        return str(self.document["content"]["subject"])

    @property
    def plain_text(self) -> str:
        return str(self.document["content"].get("plainText", ""))


@dataclass(slots=True)
class _Operation:
    sent: Sent
    script: Script
    asked: int = 0
    told: bool = False
    unasked: asyncio.TimerHandle | None = field(default=None)


class AcsSimulator:
    """`async with AcsSimulator(…) as azure` serves on `azure.port`. `behind`: how far its clock is behind ours.

    An email is reported when it was asked for and has succeeded, or nobody asked for `unasked` seconds; None: for ever.
    """

    def __init__(
        self,
        report_url: str | None = None,
        time_factor: float = 1.0,
        *,
        cloud_events: bool = False,
        behind: timedelta = timedelta(),
        unasked: float | None = 10.0,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """`report_url`: with its secret. It also gives tokens to the client `client` with the secret `secret`."""
        self.port = port
        self.key = base64.b64encode(secrets.token_bytes(64)).decode()
        self.journal: deque[Sent | EventsSent] = deque(maxlen=_JOURNAL)
        self.questions = 0
        self.tries = 0
        self.gate: asyncio.Event | None = None  # set: answers wait here, after the email was taken
        self._host = host
        self._behind = behind
        self._unasked = unasked
        self._tokens: set[str] = set()
        self._time_factor = time_factor
        self._operations: dict[str, _Operation] = {}
        self._refused: dict[tuple[str, str], int] = {}  # by script and recipient
        self._next: deque[Script] = deque()
        self.events = Events(report_url, time_factor, self.journal.append, cloud_events=cloud_events)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_post("/emails:send", self._send)
        app.router.add_get("/emails/operations/{id}", self._ask)
        app.router.add_post("/{tenant}/oauth2/v2.0/token", self._give_token)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        for operation in self._operations.values():
            if operation.unasked:
                operation.unasked.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
        await self.events.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.port}"

    @property
    def connection_string(self) -> str:
        return f"endpoint={self.url}/;accesskey={self.key}"

    @property
    def sent(self) -> list[Sent]:
        return [entry for entry in self.journal if isinstance(entry, Sent)]

    @property
    def told(self) -> list[EventsSent]:
        return [entry for entry in self.journal if isinstance(entry, EventsSent)]

    def next(self, n: int, behaviour: str) -> None:
        """The next `n` requests to send follow `behaviour`, whatever their addresses."""
        self._next.extend([SCRIPTS[behaviour]] * n)

    def expire_tokens(self) -> None:
        self._tokens.clear()

    async def idle(self) -> None:
        """Wait until no event is on its way."""
        await self.events.idle()

    async def _send(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.tries += 1
        if not self._knows(request, body):
            return self._error(401, "Denied", "Denied by the resource provider.")
        document = await request.json()
        [to] = document["recipients"]["to"]
        script = self._next.popleft() if self._next else script_for(to["address"])
        if script.refusal and self._refuses(script, script.refusal, to["address"]):
            return self._refusal(script.refusal, to["address"])
        operation = await self._take(request.headers.get("Operation-Id", ""), to["address"], document, script)
        if self.gate:
            await self.gate.wait()
        if script.lost and request.transport is not None:
            request.transport.abort()
        location = f"{self.url}/emails/operations/{operation}?api-version=2023-03-31"
        headers = {"Operation-Location": location, "retry-after": _ASK_AFTER}
        return web.json_response({"id": operation, "status": "Running"}, status=202, headers=headers)

    async def _take(self, wanted: str, recipient: str, document: dict[str, Any], script: Script) -> str:
        """The id of the operation; an email leaves only for a new one."""
        id_ = str(UUID(wanted)) if wanted else str(uuid4())
        if id_ not in self._operations:
            sent = Sent(id_, recipient, document)
            operation = self._operations[id_] = _Operation(sent, script)
            self.journal.append(sent)
            if script.early:
                operation.told = True
                await self.events.tell_each(_happened(operation))
            elif script.events and self._unasked is not None:
                later = asyncio.get_running_loop().call_later
                operation.unasked = later(self._unasked * self._time_factor, self._tell, operation)
        return id_

    async def _ask(self, request: web.Request) -> web.StreamResponse:
        self.questions += 1
        if not self._knows(request, b""):
            return self._error(401, "Denied", "Denied by the resource provider.")
        operation = self._operations.get(request.match_info["id"])
        if operation is None:
            return self._error(404, "OperationNotFound", "There is no such operation.")
        polls = operation.script.polls
        answer = polls[min(operation.asked, len(polls) - 1)]
        operation.asked += 1
        if isinstance(answer, int):
            return self._error(answer, "TooManyRequests" if answer == 429 else "InternalServerError", "Wait")
        if answer == "Succeeded":
            self._tell(operation)
        told: dict[str, Any] = {"id": operation.sent.operation, "status": answer}
        if answer == "Failed":
            told["error"] = {"code": operation.script.error, "message": f"Dropped for {operation.sent.recipient}"}
        headers = {"retry-after": _ASK_AFTER} if answer in {"Running", "NotStarted"} else {}
        return web.json_response(told, headers=headers)

    def _tell(self, operation: _Operation) -> None:
        """What became of the email, once."""
        if not operation.told:
            operation.told = True
            self.events.start(_happened(operation), held=operation.script.held)

    async def _give_token(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        login = base64.b64encode(b"client:secret").decode()
        scope = "https://communication.azure.com//.default"
        if request.headers.get("Authorization") != f"Basic {login}" or form.get("scope") != scope:
            return web.json_response({"error": "invalid_client"}, status=401)
        token = secrets.token_urlsafe(32)
        self._tokens.add(token)
        return web.json_response({"access_token": token, "expires_in": 3599, "token_type": "Bearer"})

    def _knows(self, request: web.Request, body: bytes) -> bool:
        shown = request.headers.get("Authorization", "")
        if shown.startswith("Bearer "):
            return shown.removeprefix("Bearer ") in self._tokens
        date, hash_ = request.headers.get("x-ms-date", ""), request.headers.get("x-ms-content-sha256", "")
        try:
            skew = abs(datetime.now(UTC) - self._behind - parsedate_to_datetime(date))
        except (ValueError, TypeError):
            return False
        signed = f"{request.method}\n{request.raw_path}\n{date};{request.headers['Host']};{hash_}"
        signature = base64.b64encode(hmac.digest(base64.b64decode(self.key), signed.encode(), "sha256")).decode()
        wanted = f"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={signature}"
        genuine = hash_ == base64.b64encode(hashlib.sha256(body).digest()).decode()
        return skew < _SKEW and genuine and hmac.compare_digest(shown, wanted)

    def _refuses(self, script: Script, refusal: Refusal, recipient: str) -> bool:
        """Whether this try is still one too few."""
        tries = self._refused.get((script.name, recipient), 0)
        self._refused[script.name, recipient] = tries + 1
        return refusal.times is None or tries < refusal.times

    def _refusal(self, refusal: Refusal, recipient: str) -> web.Response:
        headers = {}
        if refusal.retry_after == "date":
            headers["Retry-After"] = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        elif refusal.retry_after:
            headers["Retry-After"] = refusal.retry_after
        message = refusal.message.replace("%s", recipient)
        return self._error(refusal.status, refusal.code, message, headers)

    def _error(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
        date = format_datetime(datetime.now(UTC) - self._behind, usegmt=True)
        headers = {"x-ms-error-code": code, "Date": date, **(headers or {})}
        return web.json_response({"error": {"code": code, "message": message}}, status=status, headers=headers)


def _happened(operation: _Operation) -> list[Happened]:
    script, sent = operation.script, operation.sent
    sender, id_ = str(sent.document["senderAddress"]), str(uuid4())  # the same event, should it come twice
    return [Happened(sent.operation, sender, sent.recipient, status, id_, bare=script.bare) for status in script.events]
