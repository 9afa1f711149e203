"""The other side of a generic webhook, simulated (channels 3.6): a gateway that checks what it is sent.

The last three digits of a number, or the local part of an address, choose what becomes of a message. It remembers
idempotency keys: a message that comes again is answered 409 with its reference. Its signatures are its own code.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, Final
from uuid import UUID, uuid4

from aiohttp import web

from varsel.domain.captured import Captured
from varsel.domain.ids import NotificationId
from varsel.domain.notification import Channel
from varsel.simulators.gateway import ANSWERED_WITH, Capture, GatewaySimulator, parts_and_alphabet

_HANG: Final = 60  # seconds
_WAIT: Final = 0.2  # seconds before each report
_TOKENS_AT: Final = "/token"


class Habit(Enum):
    PLAIN = auto()
    HANG = auto()  # taken, and never answered
    DROP = auto()  # taken, and the connection is cut
    NOT_JSON = auto()  # taken, and answered with something else
    SILENT = auto()  # taken, and answered without a word of it
    EARLY = auto()  # reported before the answer
    BY_ATTEMPT = auto()  # reported by our id
    UNSIGNED_FIRST = auto()
    WRONG_SIGNATURE = auto()
    OLD_SIGNATURE = auto()
    LIST = auto()  # reported in a list, after one that names no message
    MALFORMED = auto()


@dataclass(frozen=True, slots=True)
class Script:
    """`status`: of the answer; other than 2xx and 409, nothing is taken. `cause`: it is rejected."""

    name: str
    status: int = 202
    cause: str | None = None
    states: tuple[str, ...] = ("Delivered",)
    habit: Habit = Habit.PLAIN


ORDINARY: Final = Script("")

_CAUSES: Final = (
    *("invalid_address", "no_such_recipient", "suppressed", "refused_by_recipient_system", "content_filtered"),
    *("quarantined", "too_large", "attachment_unavailable", "expired_at_provider", "deleted_at_provider"),
    *("undeliverable", "sender_refused", "other", "invented"),
)
_STATUSES: Final = (200, 201, 400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504, 302)
_STATES: Final = (
    *("Failed", "Failed_InvalidRecipient", "Failed_BarredReceiver", "Failed_Deleted", "Failed_Expired"),
    *("Failed_Undelivered", "Failed_Rejected", "Accepted", "Failed_RecipientReserved", "delivered", "invented"),
)

SCRIPTS: Final[Mapping[str, Script]] = {
    **{str(n): Script(cause, cause=cause, states=()) for n, cause in enumerate(_CAUSES, 101)},
    **{str(n): Script(f"HTTP {status}", status) for n, status in enumerate(_STATUSES, 201)},
    **{str(n): Script(state, states=(state,)) for n, state in enumerate(_STATES, 301)},
    "400": Script("never reported", states=()),
    "401": Script("never answered", habit=Habit.HANG),
    "402": Script("connection cut", habit=Habit.DROP),
    "403": Script("answered with HTML", habit=Habit.NOT_JSON),
    "404": Script("answered without a word", habit=Habit.SILENT),
    "405": Script("reported before the answer", habit=Habit.EARLY),
    "406": Script("reported by our id", habit=Habit.BY_ATTEMPT),
    "407": Script("unsigned first", habit=Habit.UNSIGNED_FIRST),
    "408": Script("wrong signature", habit=Habit.WRONG_SIGNATURE),
    "409": Script("old signature", habit=Habit.OLD_SIGNATURE),
    "410": Script("a list", habit=Habit.LIST),
    "411": Script("no report", habit=Habit.MALFORMED),
    "412": Script("delivered twice", states=("Delivered", "Delivered")),
}


@dataclass(frozen=True, slots=True)
class Taken:
    reference: str
    message: Mapping[str, Any]
    headers: Mapping[str, str]
    script: Script


class WebhookSimulator(GatewaySimulator[Taken, Script]):
    """`clients`: name → secret; with some, a bearer token of `/token` is wanted."""

    def __init__(
        self,
        secret: str,
        time_factor: float = 1.0,
        capture: Capture | None = None,
        *,
        clients: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """`secret`: `whsec_` and base64."""
        super().__init__(SCRIPTS, time_factor, capture, host, port)
        self._key = base64.b64decode(secret.removeprefix("whsec_"))
        self._clients = clients or {}
        self._tokens: set[str] = set()
        self._known: dict[str, str] = {}
        self.tokens_given = 0

    def forget_tokens(self) -> None:
        """Those that were given hold no longer."""
        self._tokens.clear()

    async def receive(self, request: web.Request) -> web.StreamResponse:
        if request.path == _TOKENS_AT:
            return self._give_token(request)
        body = await request.read()
        if not (self._authorised(request.headers) and self._signed(request.headers, body)):
            return web.Response(status=401)
        message: dict[str, Any] = json.loads(body)
        key = request.headers["Idempotency-Key"]
        if key in self._known:
            return web.json_response({"reference": self._known[key]}, status=409)
        script = self.script(_choice(message["to"]), ORDINARY)
        if script.cause:
            return web.json_response({"status": "rejected", "cause": script.cause})
        taken = Taken(uuid4().hex, message, dict(request.headers), script)
        if script.status >= 300 and script.status != 409:
            return web.Response(status=script.status, headers=ANSWERED_WITH.get(script.status))
        self._known[key] = taken.reference
        await self.keep(taken, _captured(taken))
        return await self._answer(request, taken)

    async def _answer(self, request: web.Request, taken: Taken) -> web.StreamResponse:
        habit = taken.script.habit
        if habit is Habit.EARLY:
            await self._report(taken)
        else:
            self.run(self._report(taken))
        if habit is Habit.HANG:
            await asyncio.sleep(_HANG * self._time_factor)
        if habit is Habit.DROP and request.transport is not None:
            request.transport.abort()
        if habit is Habit.NOT_JSON:
            return web.Response(text="<html>Welcome</html>", content_type="text/html")
        told = {} if habit is Habit.SILENT else {"reference": taken.reference, "status": "accepted"}
        return web.json_response(told, status=taken.script.status)

    async def _report(self, taken: Taken) -> None:
        address = taken.message.get("callbackUrl")
        for state in taken.script.states if address else ():
            if taken.script.habit is not Habit.EARLY:
                await self.pause(_WAIT)
            await self._report_state(taken, state, str(address))

    async def _report_state(self, taken: Taken, state: str, address: str) -> None:
        habit, url = taken.script.habit, self.real(address)
        body = _report_body(taken, state)
        if habit is Habit.UNSIGNED_FIRST:
            await self.call(state, url, body, {"Content-Type": "application/json"})
        await self.call_until_taken(state, url, body, lambda: self._sign(body, habit))

    def _sign(self, body: bytes, habit: Habit) -> dict[str, str]:
        message = f"msg_{uuid4().hex}"
        at = int(time.time()) - (600 if habit is Habit.OLD_SIGNATURE else 0)
        signed = self._signature(message, str(at), body + (b"x" if habit is Habit.WRONG_SIGNATURE else b""))
        return {
            "Content-Type": "application/json",
            "webhook-id": message,
            "webhook-timestamp": str(at),
            "webhook-signature": f"v1a,other v1,{signed}",
        }

    def _authorised(self, headers: Mapping[str, str]) -> bool:
        return not self._clients or headers.get("Authorization", "").removeprefix("Bearer ") in self._tokens

    def _signed(self, headers: Mapping[str, str], body: bytes) -> bool:
        message, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        return f"v1,{self._signature(message, at, body)}" in headers.get("webhook-signature", "").split(" ")

    def _signature(self, message: str, at: str, body: bytes) -> str:
        content = message.encode() + b"." + at.encode() + b"." + body
        return base64.b64encode(hmac.new(self._key, content, hashlib.sha256).digest()).decode()

    def _give_token(self, request: web.Request) -> web.Response:
        known = [base64.b64encode(f"{name}:{secret}".encode()).decode() for name, secret in self._clients.items()]
        if request.headers.get("Authorization") not in [f"Basic {login}" for login in known]:
            return web.json_response({"error": "invalid_client"}, status=401)
        token = uuid4().hex
        self._tokens.add(token)
        self.tokens_given += 1
        return web.json_response({"access_token": token, "token_type": "Bearer", "expires_in": 600})


def _choice(to: str) -> str:
    """Of an address, its local part up to the first `+`."""
    return to.partition("@")[0].partition("+")[0] if "@" in to else to


def _report_body(taken: Taken, state: str) -> bytes:
    habit = taken.script.habit
    by_id = {"attemptId": taken.message["attemptId"]}
    named = by_id if habit is Habit.BY_ATTEMPT else {"reference": taken.reference}
    report = {**named, "state": state, "time": datetime.now(UTC).isoformat(), "detail": "as it is"}
    if habit is Habit.MALFORMED:
        return json.dumps([report, "and more"]).encode()
    return json.dumps([{"state": "Delivered"}, report] if habit is Habit.LIST else report).encode()


def _captured(taken: Taken) -> Captured:
    message = taken.message
    sms = "text" in message
    parts, alphabet = parts_and_alphabet(message["text"]) if sms else (1, None)
    html = None if sms or message["contentType"] != "Html" else message["body"]
    return Captured(
        channel=Channel.SMS if sms else Channel.EMAIL,
        sender=message["from"],
        recipient=message["to"],
        subject=message.get("subject"),
        text=message["text"] if sms else message["body"],
        html=html,
        raw=json.dumps(message).encode(),
        parts=parts,
        alphabet=alphabet,
        notification_id=NotificationId(UUID(message["id"])),
        outcome=taken.script.name,
        received_at=datetime.now(UTC),
        reference=taken.reference,
    )
