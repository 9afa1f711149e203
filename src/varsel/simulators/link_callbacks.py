"""The delivery reports of LINK's simulator (channels 3.3, 8.3): real HTTP calls, tried again until acknowledged."""

import asyncio
import base64
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4
from xml.etree.ElementTree import ParseError

import aiohttp
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from varsel.simulators.link_script import Form, Script

RETRIES: Final = (1, 2, 4)  # seconds; what the real gateway does is not documented
_HELD_TOGETHER: Final = 3
_HUGE: Final = 5 * 1024 * 1024

_HEADS: Final = {
    Form.DOCTYPE: '<!DOCTYPE MSGLST SYSTEM "pswincom_report_request.dtd">',
    Form.EXTERNAL_ENTITY: '<!DOCTYPE MSGLST [<!ENTITY x SYSTEM "file:///etc/hostname">]>',
    Form.ENTITY_BOMB: "<!DOCTYPE MSGLST [<!ENTITY a 'ha'>"
    + "".join(f"<!ENTITY {chr(98 + n)} '{f'&{chr(97 + n)};' * 10}'>" for n in range(8))
    + "<!ENTITY x '&i;'>]>",
}


@dataclass(frozen=True, slots=True)
class ReportSent:
    """One call, as the journal keeps it. `status` is None when no answer came."""

    references: tuple[str, ...]
    states: tuple[str, ...]
    attempt: int
    status: int | None
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class Reported:
    reference: str
    receiver: str
    state: str


class Callbacks:
    """Calls `url` with basic credentials; without a URL nothing is reported. `seen` gets every call."""

    def __init__(
        self, url: str | None, auth: tuple[str, str], time_factor: float, seen: Callable[[ReportSent], None]
    ) -> None:
        self._url = url
        self._auth = auth
        self._time_factor = time_factor
        self._seen = seen
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: list[Reported] = []
        self._session: aiohttp.ClientSession | None = None

    def start(self, script: Script, reference: str, receiver: str) -> None:
        """Report in the background."""
        if script.held:
            self._hold(Reported(reference, receiver, script.states[0]))
        elif script.states:
            self._run(self.report(script, reference, receiver))

    async def report(self, script: Script, reference: str, receiver: str) -> None:
        """The reports of one message, one after another; returns when the last is acknowledged or given up."""
        for state in script.states:
            if not script.early:
                await self._sleep(script.after)
            reported = Reported(reference, receiver, state)
            if script.form is Form.UNKNOWN_REFERENCE_FIRST:
                await self._post_until_acknowledged([replace(reported, reference=str(uuid4()).upper())], Form.PLAIN)
            if script.form is Form.WRONG_PASSWORD_FIRST:
                await self._post([reported], Form.PLAIN, ("wrong", "wrong"), attempt=1)
            await self._post_until_acknowledged([reported], script.form)

    async def idle(self) -> None:
        """Wait until no report is on its way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _hold(self, reported: Reported) -> None:
        self._held.append(reported)
        if len(self._held) >= _HELD_TOGETHER:
            together, self._held = self._held, []
            self._run(self._post_until_acknowledged(together, Form.PLAIN))

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self._time_factor)

    async def _post_until_acknowledged(self, reports: list[Reported], form: Form) -> None:
        for attempt, pause in enumerate((0, *RETRIES), 1):
            await self._sleep(pause)
            if await self._post(reports, form, self._auth, attempt):
                return

    async def _post(self, reports: list[Reported], form: Form, auth: tuple[str, str], attempt: int) -> bool:
        """Whether every report was acknowledged by its id."""
        if self._url is None:
            return True
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10), trust_env=False)
        credentials = base64.b64encode(":".join(auth).encode()).decode()
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/xml"}
        status, acknowledged = None, False
        try:
            async with self._session.post(self._url, data=document(reports, form), headers=headers) as response:
                status = response.status
                wanted = {str(number) for number, _ in enumerate(reports, 1)}
                acknowledged = status == 200 and wanted <= _acknowledged(await response.read())
        except (aiohttp.ClientError, OSError, TimeoutError):
            acknowledged = False
        self._seen(
            ReportSent(
                tuple(report.reference for report in reports),
                tuple(report.state for report in reports),
                attempt,
                status,
                acknowledged,
            )
        )
        return acknowledged


def document(reports: list[Reported], form: Form) -> bytes:
    """A report document in one of the forms, with ids from 1."""
    encoding = "UTF-16" if form is Form.UTF_16 else "ISO-8859-1"
    entity = "<INFO>&x;</INFO>" if form in {Form.EXTERNAL_ENTITY, Form.ENTITY_BOMB} else ""
    padding = f"<!--{' ' * _HUGE}-->" if form is Form.HUGE else ""
    messages = "".join(_message(number, report, form, entity) for number, report in enumerate(reports, 1))
    text = f'<?xml version="1.0" encoding="{encoding}"?>{_HEADS.get(form, "")}<MSGLST>{messages}{padding}</MSGLST>'
    return text.encode(encoding)


def _message(number: int, report: Reported, form: Form, more: str) -> str:
    state = "" if form is Form.WITHOUT_STATE else f"<STATE>{report.state}</STATE>"
    time = ""
    if report.state == "DELIVRD":
        time = f"<DELIVERYTIME>{datetime.now(UTC):%Y.%m.%d %H:%M:%S}</DELIVERYTIME>"
    return f"<MSG><ID>{number}</ID><REF>{report.reference}</REF><RCV>{report.receiver}</RCV>{state}{time}{more}</MSG>"


def _acknowledged(body: bytes) -> set[str]:
    try:
        root = fromstring(body)
    except (ParseError, DefusedXmlException):
        return set()
    return {m.findtext("ID", "") for m in root.iter("MSG") if m.findtext("STATUS") == "OK"}
