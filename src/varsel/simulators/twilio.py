"""A REST gateway of Twilio's kind, simulated (channels 8.5): the last three digits of a number choose its fate.

Its signatures are its own code, so that a mistake in ours shows.
"""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID, uuid4

from aiohttp import web

from varsel.domain.captured import Captured
from varsel.domain.ids import NotificationId
from varsel.domain.notification import Channel
from varsel.simulators.gateway import ANSWERED_WITH, Capture, GatewaySimulator, parts_and_alphabet

_FORM: Final = "application/x-www-form-urlencoded"
_HANG: Final = 60  # seconds
_WAIT: Final = 0.2  # seconds before each callback
_MAX_CHARACTERS: Final = 1_600


class Habit(Enum):
    PLAIN = auto()
    HANG = auto()  # taken, and never answered
    DROP = auto()  # taken, and the connection is cut
    NOT_JSON = auto()  # taken, and answered with something else
    EARLY = auto()  # called back before the answer
    UNSIGNED_FIRST = auto()
    WRONG_SIGNATURE = auto()
    EXTRA_PARAMETER = auto()  # signed
    MISSING_PARAMETER = auto()  # signed, and then left out
    JSON = auto()
    WITHOUT_STATUS = auto()


@dataclass(frozen=True, slots=True)
class Script:
    """`status` and `code`: of the answer; other than 201, nothing is taken. `states`: of the callbacks, in order."""

    name: str
    status: int = 201
    code: int | None = None
    states: tuple[str, ...] = ("queued", "sent", "delivered")
    error_code: int | None = None
    habit: Habit = Habit.PLAIN


ORDINARY: Final = Script("")

_REFUSALS: Final = (
    *((400, code) for code in (21211, 21614, 21408, 21612, 21610, 21611, 21212, 21606, 21607, 21602, 21617, 21999)),
    *((401, 20003), (429, 20429), (500, None), (503, None), (504, None), (404, 20404), (302, None)),
)
_CARRIERS: Final = (30001, 30002, 30003, 30004, 30005, 30006, 30007, 30008, 30010, 30034, 30036, 30999)
_ENDS: Final = ("undelivered", "failed", "canceled", "read", "invented")

SCRIPTS: Final[Mapping[str, Script]] = {
    **{str(n): Script(f"{code or status}", status, code) for n, (status, code) in enumerate(_REFUSALS, 101)},
    **{
        str(n): Script(f"undelivered, {code}", states=("sent", "undelivered"), error_code=code)
        for n, code in enumerate(_CARRIERS, 201)
    },
    **{str(n): Script(state, states=("sent", state)) for n, state in enumerate(_ENDS, 221)},
    "301": Script("out of order", states=("delivered", "sent", "queued")),
    "302": Script("unsigned first", habit=Habit.UNSIGNED_FIRST),
    "303": Script("wrong signature", habit=Habit.WRONG_SIGNATURE),
    "304": Script("delivered twice", states=("delivered", "delivered")),
    "305": Script("called back before the answer", states=("delivered",), habit=Habit.EARLY),
    "306": Script("an unknown parameter", habit=Habit.EXTRA_PARAMETER),
    "307": Script("a parameter too few", habit=Habit.MISSING_PARAMETER),
    "308": Script("JSON", habit=Habit.JSON),
    "309": Script("never called back", states=()),
    "310": Script("never answered", habit=Habit.HANG),
    "311": Script("connection cut", habit=Habit.DROP),
    "312": Script("answered with HTML", habit=Habit.NOT_JSON),
    "313": Script("no status", states=("delivered",), habit=Habit.WITHOUT_STATUS),
}


@dataclass(frozen=True, slots=True)
class Taken:
    sid: str
    form: Mapping[str, str]
    script: Script


class TwilioSimulator(GatewaySimulator[Taken, Script]):
    """One account."""

    def __init__(
        self,
        account_sid: str,
        auth_token: str,
        time_factor: float = 1.0,
        capture: Capture | None = None,
        *,
        logins: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """`logins`: name → secret, beside the account's own."""
        super().__init__(SCRIPTS, time_factor, capture, host, port)
        self._account = account_sid
        self._token = auth_token
        self._logins = {account_sid: auth_token, **(logins or {})}
        self._path = f"/2010-04-01/Accounts/{account_sid}/Messages.json"

    async def receive(self, request: web.Request) -> web.StreamResponse:
        if not self._knows(request.headers.get("Authorization", "")):
            return _error(401, 20003)
        if request.path != self._path:
            return _error(404, 20404)
        form = {name: str(value) for name, value in (await request.post()).items()}
        if not form.get("Body"):
            return _error(400, 21602)
        if len(form["Body"]) > _MAX_CHARACTERS:
            return _error(400, 21617)
        script = self.script(form.get("To", ""), ORDINARY)
        if script.status != 201:
            return _error(script.status, script.code)
        taken = Taken(f"SM{uuid4().hex}", form, script)
        await self.keep(taken, self._captured(taken))
        return await self._answer(request, taken)

    async def _answer(self, request: web.Request, taken: Taken) -> web.StreamResponse:
        script = taken.script
        if script.habit is Habit.EARLY:
            await self._report(taken)
        else:
            self.run(self._report(taken))
        if script.habit is Habit.HANG:
            await asyncio.sleep(_HANG * self._time_factor)
        if script.habit is Habit.DROP and request.transport is not None:
            request.transport.abort()
        if script.habit is Habit.NOT_JSON:
            return web.Response(status=201, text="<html>Welcome</html>", content_type="text/html")
        parts, _ = parts_and_alphabet(taken.form["Body"])
        told = {"sid": taken.sid, "status": "queued", "num_segments": str(parts), "error_code": None}
        return web.json_response(told, status=201)

    def _knows(self, header: str) -> bool:
        known = [base64.b64encode(f"{name}:{secret}".encode()).decode() for name, secret in self._logins.items()]
        return header in [f"Basic {login}" for login in known]

    async def _report(self, taken: Taken) -> None:
        for state in taken.script.states:
            if taken.script.habit is not Habit.EARLY:
                await self.pause(_WAIT)
            await self._report_state(taken, state)

    async def _report_state(self, taken: Taken, state: str) -> None:
        address = taken.form.get("StatusCallback")
        if address is None:
            return
        fields = self._fields(taken, state)
        sent, habit = dict(fields), taken.script.habit
        if habit is Habit.MISSING_PARAMETER:
            del sent["AccountSid"]
        if habit is Habit.JSON:
            body = json.dumps(fields).encode()
            address += f"?bodySHA256={hashlib.sha256(body).hexdigest()}"
            headers = {"Content-Type": "application/json", "X-Twilio-Signature": self._sign(address, {})}
        else:
            body = urlencode(sent).encode()
            headers = {"Content-Type": _FORM, "X-Twilio-Signature": self._sign(address, fields)}
        if habit is Habit.WRONG_SIGNATURE:
            headers["X-Twilio-Signature"] = self._sign(address + "x", fields)
        url = self.real(address)
        if habit is Habit.UNSIGNED_FIRST:
            await self.call(state, url, body, {"Content-Type": headers["Content-Type"]})
        await self.call_until_taken(state, url, body, lambda: headers)

    def _fields(self, taken: Taken, state: str) -> dict[str, str]:
        fields = {"MessageSid": taken.sid, "MessageStatus": state, "AccountSid": self._account}
        fields |= {"To": taken.form["To"], "From": taken.form.get("From", "service")}
        if taken.script.error_code and state == "undelivered":
            fields["ErrorCode"] = str(taken.script.error_code)
        if taken.script.habit is Habit.EXTRA_PARAMETER:
            fields["Æther & more"] = "= &é "
        if taken.script.habit is Habit.WITHOUT_STATUS:
            del fields["MessageStatus"]
        return fields

    def _sign(self, address: str, fields: Mapping[str, str]) -> str:
        text = address
        for name in sorted(fields):
            text += name + fields[name]
        digest = hmac.new(self._token.encode(), text.encode(), hashlib.sha1).digest()
        return base64.b64encode(digest).decode()

    def _captured(self, taken: Taken) -> Captured:
        text = taken.form["Body"]
        parts, alphabet = parts_and_alphabet(text)
        return Captured(
            channel=Channel.SMS,
            sender=taken.form.get("From", taken.form.get("MessagingServiceSid", "")),
            recipient=taken.form["To"],
            subject=None,
            text=text,
            html=None,
            raw=urlencode(taken.form).encode(),
            parts=parts,
            alphabet=alphabet,
            notification_id=_named(taken.form.get("StatusCallback", "")),
            outcome=taken.script.name,
            received_at=datetime.now(UTC),
            reference=taken.sid,
        )


def _named(callback: str) -> NotificationId | None:
    try:
        return NotificationId(UUID(callback.rpartition("/")[2]))
    except ValueError:
        return None


def _error(status: int, code: int | None) -> web.Response:
    told: dict[str, Any] = {"code": code, "message": "refused", "more_info": "", "status": status}
    return web.json_response(told if code else {}, status=status, headers=ANSWERED_WITH.get(status))
