"""SMS through LINK's XML gateway (channels 3.3): documents of at most 100 messages, answers matched by `ID`.

The documents hold the account's password: they are never logged, and no text of an answer is repeated but an `INFO`'s
first words.
"""

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from varsel.clock import Clock
from varsel.delivery.ports import (
    Accepted,
    Blame,
    Confirms,
    Deferred,
    Indeterminate,
    Refused,
    SendResult,
    Sms,
    Unknown,
)
from varsel.domain.address import e164
from varsel.domain.notification import Reason
from varsel.domain.sms_text import Alphabet, alphabet_of, clean, fits_link, link_parts
from varsel.log import Log
from varsel.providers.http_gateway import Answer, HttpGateway, concerns_us, fault
from varsel.providers.kind import Kind, Tools
from varsel.providers.link_xml import Document, Malformed, read_document
from varsel.settings import LinkProviderSettings

log = Log(__name__)

MAX_BATCH: Final = 100  # messages in one document
MAX_TTL: Final = 2_880  # minutes
_BACK_AFTER: Final = 300.0  # seconds with the other host
_HEADERS: Final = {"Content-Type": "text/xml; charset=iso-8859-1"}
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # XML forbids them; never in a sender
_NUMERIC_SENDER: Final = re.compile(r"\+?[0-9]{3,15}")
_FIRST_WORDS: Final = re.compile(r"[A-Za-z][A-Za-z _-]{0,39}")


@dataclass(frozen=True, slots=True)
class _Message:
    xml: str  # all elements of its MSG but the ID
    segments: int


class LinkProvider:
    """One account at the gateway. At most `connections` documents are on their way at once."""

    confirms = Confirms.ARRIVAL
    max_batch = MAX_BATCH  # more are taken too, in several documents

    def __init__(
        self, settings: LinkProviderSettings, clock: Clock, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises `ValueError` for a URL that would carry the password in the clear beyond this machine.

        `monotonic`: machine time in seconds.
        """
        self._urls = [settings.url, *([settings.failover_url] if settings.failover_url else [])]
        for url in self._urls:
            _require_safe(url, settings.name)
        self._monotonic = monotonic
        self._away_until = 0.0  # from the first host
        self.name = settings.name
        self.step = settings.connections * MAX_BATCH
        self.on_indeterminate = Indeterminate(settings.on_indeterminate)
        self._settings = settings
        self._clock = clock
        self._slots = asyncio.Semaphore(settings.connections)
        self._http = HttpGateway(connections=settings.connections, timeout=settings.timeout)
        self._head = (
            '<?xml version="1.0" encoding="ISO-8859-1"?><SESSION>'
            f"<CLIENT>{escape(settings.username)}</CLIENT>"
            f"<PW>{escape(settings.password.get_secret_value())}</PW><MSGLST>"
        )

    async def send(self, batch: Sequence[Sms]) -> list[SendResult]:
        now = self._clock.now()
        results: list[SendResult | None] = []
        places: list[int] = []
        messages: list[_Message] = []
        for place, sms in enumerate(batch):
            prepared = _prepare(sms, now)
            if isinstance(prepared, Refused):
                results.append(prepared)
            else:
                results.append(None)
                places.append(place)
                messages.append(prepared)
        for place, result in zip(places, await self._deliver_all(messages, MAX_BATCH), strict=True):
            results[place] = result
        return [result for result in results if result is not None]

    async def close(self) -> None:
        await self._http.close()

    async def _deliver_all(self, messages: Sequence[_Message], size: int) -> list[SendResult]:
        """One result per message, sent in documents of `size`."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._deliver(messages[start : start + size]))
                for start in range(0, len(messages), size)
            ]
        return [result for task in tasks for result in task.result()]

    async def _deliver(self, messages: Sequence[_Message]) -> list[SendResult]:
        async with self._slots:
            answer = await self._exchange(self._document(messages))
        if not isinstance(answer, Answer):
            return [answer] * len(messages)
        if 200 <= answer.status < 300:
            return _read_answer(answer, messages)
        if 400 <= answer.status < 500 and not concerns_us(answer.status):
            return await self._find_the_refused(messages, answer.status)
        return [_fault(answer)] * len(messages)

    async def _exchange(self, document: bytes) -> Answer | Deferred | Unknown:
        """With the host that is up: the other one is asked at once when this one surely did not take it."""
        first, *others = self._urls[::-1] if self._monotonic() < self._away_until else self._urls
        answer = await self._http.post(first, document, _HEADERS)
        for other in others:
            if not _is_down(answer):
                break
            log.warning("gateway is down", provider=self.name, host=urlsplit(first).hostname)
            self._away_until = self._monotonic() + _BACK_AFTER if first == self._settings.url else 0.0
            answer = await self._http.post(other, document, _HEADERS)
        return answer

    async def _find_the_refused(self, messages: Sequence[_Message], status: int) -> list[SendResult]:
        """One message must not cost its neighbours their place: they go one by one (design 8)."""
        refused = Refused(Reason.UNSPECIFIED, f"the gateway answered {status}")
        if len(messages) == 1:
            return [refused]
        results = await self._deliver_all(messages, 1)
        if all(result == refused for result in results):  # then it is not about the messages
            return [Deferred(f"the gateway answers {status} to every message", Blame.PROVIDER)] * len(messages)
        return results

    def _document(self, messages: Sequence[_Message]) -> bytes:
        listed = "".join(f"<MSG><ID>{number}</ID>{message.xml}</MSG>" for number, message in enumerate(messages, 1))
        return f"{self._head}{listed}</MSGLST></SESSION>".encode("iso-8859-1", "xmlcharrefreplace")


def _is_down(answer: Answer | Deferred | Unknown) -> bool:
    """And has not taken the document: a proxy in front of it may tell of a gateway that has."""
    if isinstance(answer, Answer):
        throttles = "Retry-After" in answer.headers  # whoever is asked
        return answer.status >= 500 and answer.status not in {502, 504} and not throttles
    return isinstance(answer, Deferred)


def _require_safe(url: str, name: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        return
    raise ValueError(f"provider {name}: the gateway's URL must begin with https:// (http:// only to this machine)")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _prepare(sms: Sms, now: datetime) -> _Message | Refused:
    number = e164(sms.to)
    if number is None:
        return Refused(Reason.INVALID_RECIPIENT, "not a valid number")
    text = clean(sms.text)
    if not fits_link(text):
        return Refused(Reason.UNSPECIFIED, "the text is longer than the gateway carries", unfit=True)
    unicode = alphabet_of(text) is Alphabet.UCS_2
    content = text.encode("utf-16-be").hex().upper() if unicode else escape(text)
    return _Message(
        f"<TEXT>{content}</TEXT><SND>{escape(_sender(sms.sender))}</SND><RCV>{number[1:]}</RCV>"
        f"{'<OP>9</OP>' if unicode else ''}<TTL>{_minutes_left(sms.expires_at - now)}</TTL><RCPREQ>Y</RCPREQ>",
        link_parts(text),
    )


def _sender(given: str) -> str:
    sender = _CONTROLS.sub("", given)
    return sender.removeprefix("+") if _NUMERIC_SENDER.fullmatch(sender) else sender


def _minutes_left(left: timedelta) -> int:
    """Rounded up, for 0 means the gateway's own time."""
    return min(max(-(-left // timedelta(minutes=1)), 1), MAX_TTL)


def _fault(answer: Answer) -> Deferred | Unknown:
    """What an answer other than 2xx says about every message of its document."""
    found = fault(answer)
    stumbled = answer.status >= 500 and answer.status not in {502, 503, 504}
    return Deferred(found.detail) if stumbled else found  # over one message of the document, perhaps


def _read_answer(answer: Answer, messages: Sequence[_Message]) -> list[SendResult]:
    try:
        document = read_document(answer.body, answer.headers.get("Content-Type"))
    except Malformed:
        return [Unknown("the gateway's answer is not XML")] * len(messages)
    login = document.fields.get("LOGON", "").upper()
    if login == "FAIL":
        return [Deferred("the gateway refused the login", Blame.FAULT)] * len(messages)
    if login != "OK":
        return [Unknown("the gateway's answer says nothing of the login")] * len(messages)
    return _results(document, messages)


def _results(document: Document, messages: Sequence[_Message]) -> list[SendResult]:
    answers = {answer.get("ID", ""): answer for answer in document.messages}
    return [_result(answers.get(str(number)), message) for number, message in enumerate(messages, 1)]


def _result(answer: dict[str, str] | None, message: _Message) -> SendResult:
    status = (answer or {}).get("STATUS", "").upper()
    if answer is None or not status:
        return Unknown("the gateway's answer leaves the message out")
    if status == "OK":
        reference = answer.get("REF") or None
        detail = "" if reference else "without a reference: no report can follow"
        return Accepted(reference, detail, message.segments, silent=not reference)
    info = answer.get("INFO", "")
    words = _FIRST_WORDS.match(info)  # what follows them may be a number or a text
    detail = f"the gateway refused it: {words[0].strip()}" if words else "the gateway refused it"
    if info.lower().startswith("invalid rcv"):
        return Refused(Reason.INVALID_RECIPIENT, detail)
    if info.lower().startswith("invalid snd"):
        return Refused(Reason.REJECTED, detail)
    return Refused(Reason.UNSPECIFIED, detail)


def _make(settings: LinkProviderSettings, tools: Tools) -> LinkProvider:
    return LinkProvider(settings, tools.clock)


PROVIDER: Final = Kind(LinkProviderSettings, _make)
