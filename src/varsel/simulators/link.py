"""LINK's XML gateway, simulated (channels 8.3): the last three digits of a number choose what becomes of its message.

It answers and reports over real HTTP. Its waiting times are those of the specification times `time_factor`.
"""

import asyncio
import itertools
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self
from uuid import uuid4
from xml.etree.ElementTree import Element, ParseError, tostring
from xml.sax.saxutils import escape

from aiohttp import web
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from varsel.domain.captured import Captured
from varsel.domain.notification import Channel
from varsel.domain.sms_text import MAX_LINK_UNITS, Alphabet, alphabet_of, link_parts, link_units
from varsel.simulators.link_callbacks import Callbacks, ReportSent
from varsel.simulators.link_script import SCRIPTS, Answer, Fault, Script, script_for

Capture = Callable[[Sequence[Captured]], Awaitable[None]]
"""Stores what one document brought, before it is answered."""

MAX_MESSAGES: Final = 100
_HANG: Final = 60  # seconds
_JOURNAL: Final = 10_000
_DOCUMENTS: Final = 200
_MAX_BODY: Final = 8 * 1024 * 1024
_RECEIVER: Final = re.compile(r"[1-9][0-9]{8,14}")
_NUMERIC_SENDER: Final = re.compile(r"[0-9]{3,15}")
_NAMED_SENDER: Final = re.compile(r"""(?=.*[A-Za-z])[A-Za-z0-9 !"#%&'()*+\-./?><;]{1,11}""")
_REPLY: Final = {"Content-Type": "text/xml; charset=iso-8859-1"}


@dataclass(frozen=True, slots=True)
class Submitted:
    """A message as the gateway took it. `flags`: `mangled`, `truncated`, `default ttl`."""

    client: str
    sender: str
    receiver: str
    text: str
    op: str
    ttl: int
    alphabet: Alphabet
    reference: str
    script: Script
    flags: frozenset[str]
    raw: bytes


class LinkSimulator:
    """`async with LinkSimulator(…) as gateway` serves on `gateway.port`. `quiet`: see `_accept_quietly`."""

    def __init__(
        self,
        accounts: Mapping[str, str],
        callback_url: str | None,
        callback_auth: tuple[str, str] = ("", ""),
        time_factor: float = 1.0,
        capture: Capture | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        quiet: bool = False,
    ) -> None:
        """`accounts`: user name → password. `port` 0: any free one."""
        self.port = port
        self.journal: deque[Submitted | ReportSent] = deque(maxlen=_JOURNAL)
        self.documents: deque[bytes] = deque(maxlen=_DOCUMENTS)  # as received, passwords and all
        self.accepted = 0
        self._host = host
        self._accounts = accounts
        self._time_factor = time_factor
        self._capture = capture
        self._quiet = quiet
        self._quiet_answers: dict[int, bytes] = {}
        self._quiet_numbers = itertools.count(1)
        self._next: deque[Script] = deque()
        self._callbacks = Callbacks(callback_url, callback_auth, time_factor, self.journal.append)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_post("/{path:.*}", self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        await self._callbacks.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.port}/"

    @property
    def submitted(self) -> list[Submitted]:
        return [entry for entry in self.journal if isinstance(entry, Submitted)]

    @property
    def reports(self) -> list[ReportSent]:
        return [entry for entry in self.journal if isinstance(entry, ReportSent)]

    def next(self, n: int, behaviour: str) -> None:
        """The next `n` messages follow `behaviour` (three digits of the table), whatever their numbers."""
        self._next.extend([SCRIPTS[behaviour]] * n)

    async def idle(self) -> None:
        """Wait until no report is on its way."""
        await self._callbacks.idle()

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if self._quiet:
            return self._accept_quietly(body)
        self.documents.append(body)
        try:
            session = fromstring(body)
        except (ParseError, DefusedXmlException):
            return web.Response(status=400, text="not XML")
        client = session.findtext("CLIENT", "")
        if client not in self._accounts or self._accounts[client] != session.findtext("PW"):
            return _login_refused("<REASON>Invalid user name or password</REASON>")
        messages = session.findall("MSGLST/MSG")
        if len(messages) > MAX_MESSAGES:
            return _answered([_failed(message, "Too many messages") for message in messages])
        scripts = [self._next.popleft() if self._next else script_for(_field(m, "RCV")) for m in messages]
        fault = next((script.fault for script in scripts if script.fault), None)
        if fault and fault is not Fault.HANG:
            return _faulty(request, fault)
        return await self._take(client, messages, scripts, hang=fault is Fault.HANG)

    async def _take(
        self, client: str, messages: Sequence[Element], scripts: Sequence[Script], *, hang: bool
    ) -> web.StreamResponse:
        taken: list[Submitted] = []
        answers: list[str] = []
        for message, script in zip(messages, scripts, strict=True):
            result = _submit(client, message, script)
            if isinstance(result, Submitted):
                taken.append(result)
                answers.append(_accepted(message, result))
            else:
                answers.append(result)
        await self._keep(taken)
        if hang:
            await asyncio.sleep(_HANG * self._time_factor)
        if any(script.reverse for script in scripts):
            answers.reverse()
        return _answered(answers)

    async def _keep(self, taken: Sequence[Submitted]) -> None:
        if self._capture is not None and taken:
            await self._capture([_captured(message) for message in taken])
        self.accepted += len(taken)
        self.journal.extend(taken)
        for message in taken:
            if message.script.early:
                await self._callbacks.report(message.script, message.reference, message.receiver)
            else:
                self._callbacks.start(message.script, message.reference, message.receiver)

    def _accept_quietly(self, body: bytes) -> web.Response:
        """Everything is taken unread and nothing reported or kept: as little work as can be, for benchmarks."""
        count = body.count(b"<MSG>")
        self.accepted += count
        answer = self._quiet_answers.get(count)
        if answer is None:
            listed = [f"<MSG><ID>{n}</ID><REF>@-{n}</REF><STATUS>OK</STATUS></MSG>" for n in range(1, count + 1)]
            answer = self._quiet_answers[count] = _session(listed)
        reference = b"%08X" % next(self._quiet_numbers)
        return web.Response(body=answer.replace(b"@", reference), headers=_REPLY)


def _field(message: Element, name: str) -> str:
    return message.findtext(name, "").strip()


def _submit(client: str, message: Element, script: Script) -> Submitted | str:
    """The message as taken, or the answer that refuses it."""
    if problem := _problem(message):
        return _failed(message, problem)
    if script.answer is Answer.INVALID_RECEIVER:
        return _failed(message, f"Invalid RCV: {_field(message, 'RCV')}")
    if script.answer is Answer.REFUSED:
        return _failed(message, "Blocked by the operator")
    text, flags = _text(message)
    ttl = _field(message, "TTL")
    if ttl in {"", "0"}:
        flags.add("default ttl")
    return Submitted(
        client=client,
        sender=_field(message, "SND"),
        receiver=_field(message, "RCV"),
        text=text,
        op=_field(message, "OP"),
        ttl=int(ttl or 0),
        alphabet=alphabet_of(text),
        reference=str(uuid4()).upper(),
        script=script,
        flags=frozenset(flags),
        raw=tostring(message, encoding="iso-8859-1"),
    )


def _problem(message: Element) -> str | None:
    sender = _field(message, "SND")
    if not _RECEIVER.fullmatch(_field(message, "RCV")):
        return f"Invalid RCV: {_field(message, 'RCV')}"
    if not (_NUMERIC_SENDER.fullmatch(sender) or _NAMED_SENDER.fullmatch(sender)):
        return f"Invalid SND: {sender}"
    if not re.fullmatch(r"[0-9]{0,5}", _field(message, "TTL")):
        return "Invalid TTL"
    if _field(message, "OP") == "9" and not re.fullmatch(r"(?:[0-9A-Fa-f]{4})*", _field(message, "TEXT")):
        return "Invalid TEXT"
    return None


def _text(message: Element) -> tuple[str, set[str]]:
    """The text as a telephone would show it, and what was done to it."""
    flags: set[str] = set()
    text = message.findtext("TEXT", "")
    if _field(message, "OP") == "9":
        text = bytes.fromhex(text.strip()).decode("utf-16-be", "replace")
    elif alphabet_of(text) is not Alphabet.GSM_7:
        text = "".join(c if alphabet_of(c) is Alphabet.GSM_7 else "?" for c in text)
        flags.add("mangled")
    if link_units(text) > MAX_LINK_UNITS:
        flags.add("truncated")
        text = text[:MAX_LINK_UNITS]
        while link_units(text) > MAX_LINK_UNITS:
            text = text[:-1]
    return text, flags


def _captured(message: Submitted) -> Captured:
    return Captured(
        channel=Channel.SMS,
        sender=message.sender,
        recipient=f"+{message.receiver}",
        subject=None,
        text=message.text,
        html=None,
        raw=message.raw,
        parts=link_parts(message.text),
        alphabet=message.alphabet.value,
        notification_id=None,  # LINK knows a message by its own reference only
        outcome=message.script.name,
        received_at=datetime.now(UTC),
        reference=message.reference,
    )


def _accepted(message: Element, taken: Submitted) -> str:
    if taken.script.answer is Answer.MISSING:
        return ""
    reference = "" if taken.script.answer is Answer.WITHOUT_REFERENCE else f"<REF>{taken.reference}</REF>"
    return f"<MSG><ID>{escape(_field(message, 'ID'))}</ID>{reference}<STATUS>OK</STATUS><INFO/></MSG>"


def _failed(message: Element, info: str) -> str:
    return f"<MSG><ID>{escape(_field(message, 'ID'))}</ID><STATUS>FAIL</STATUS><INFO>{escape(info)}</INFO></MSG>"


def _session(answers: Sequence[str]) -> bytes:
    text = (
        '<?xml version="1.0" encoding="ISO-8859-1"?>'
        f"<SESSION><LOGON>OK</LOGON><REASON/><MSGLST>{''.join(answers)}</MSGLST></SESSION>"
    )
    return text.encode("iso-8859-1", "xmlcharrefreplace")


def _answered(answers: Sequence[str]) -> web.Response:
    return web.Response(body=_session(answers), headers=_REPLY)


def _login_refused(reason: str) -> web.Response:
    text = f'<?xml version="1.0"?><SESSION><LOGON>FAIL</LOGON>{reason}</SESSION>'
    return web.Response(body=text.encode(), headers=_REPLY)


_FAULTY: Final[dict[Fault, Callable[[], web.Response]]] = {
    Fault.HTTP_500: lambda: web.Response(status=500),
    Fault.HTTP_504: lambda: web.Response(status=504),
    Fault.HTTP_429: lambda: web.Response(status=429, headers={"Retry-After": "2"}),
    Fault.HTTP_403: lambda: web.Response(status=403),
    Fault.HTML: lambda: web.Response(text="<html><body>Welcome<br></body></html>", content_type="text/html"),
    Fault.EMPTY: web.Response,
    Fault.LOGON_FAIL: lambda: _login_refused("<REASON>Account is closed</REASON>"),
    Fault.LOGON_FAIL_WITHOUT_REASON: lambda: _login_refused(""),
}


def _faulty(request: web.Request, fault: Fault) -> web.Response:
    if fault is Fault.RESET and request.transport is not None:
        request.transport.abort()
    return _FAULTY.get(fault, web.Response)()
