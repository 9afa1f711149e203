"""A provider for tests (channels 2.7, 3.7): messages go nowhere but into our own table, and reports come by script.

Mail is built as SMTP would send it. Production refuses to start with one.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from pydantic import Field

from varsel.delivery.ports import (
    Accepted,
    Blame,
    Confirms,
    Deferred,
    Email,
    Indeterminate,
    Refused,
    Report,
    SendResult,
    Sms,
)
from varsel.domain.address import e164
from varsel.domain.captured import Captured
from varsel.domain.errors import Unavailable
from varsel.domain.ids import NotificationId
from varsel.domain.notification import Channel, Reason
from varsel.domain.order import ContentType
from varsel.domain.sms_text import clean, segment
from varsel.providers.captured_script import Outcome, Told, of_email, of_number
from varsel.providers.html_text import text_of
from varsel.providers.kind import Kind, Tools
from varsel.providers.mailbox import parse_mailbox
from varsel.providers.mime import InvalidSender, Letters
from varsel.settings import ProviderSettings

_RETRY_SECONDS: Final = 1.0  # for a report that could not be stored
_MAX_TRIES: Final = 10_000  # that are remembered


class CapturedProviderSettings(ProviderSettings):
    type: Literal["captured"] = "captured"
    reports: bool = True  # false: nothing is reported, and no arrival confirmed
    report_after: timedelta = timedelta(seconds=0.2)
    step: int = Field(default=10, ge=1, le=1_000)  # messages at once

    def unfit_for_production(self) -> Sequence[str]:
        return ('type = "captured": its messages reach nobody',)


class CapturedProvider:
    """Raises `ValueError` where there is no table to put messages into."""

    max_batch = 1

    def __init__(self, settings: CapturedProviderSettings, tools: Tools) -> None:
        if tools.capture is None or tools.production:
            raise ValueError(f"provider {settings.name}: messages cannot be captured here")
        self.name = settings.name
        self.step = settings.step
        self.confirms = Confirms.ARRIVAL if settings.reports else Confirms.NOTHING
        self.on_indeterminate = Indeterminate(settings.on_indeterminate)
        self._settings = settings
        self._clock = tools.clock
        self._capture = tools.capture
        self._store = tools.store
        self._letters = Letters()
        self._tries: Counter[NotificationId] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, batch: Sequence[Email | Sms]) -> list[SendResult]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._send(message)) for message in batch]
        return [task.result() for task in tasks]

    async def idle(self) -> None:
        """Wait until no report is on its way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Reports that are on their way are dropped."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self, message: Email | Sms) -> SendResult:
        outcome = of_number(message.to) if isinstance(message, Sms) else of_email(message.to)
        captured = self._sms(message, outcome) if isinstance(message, Sms) else self._email(message, outcome)
        if isinstance(captured, Refused):
            return captured
        result = self._result(message.id, outcome, captured)
        if not isinstance(result, Accepted) and not outcome.kept:
            return result
        try:
            await self._capture([captured])
        except Unavailable:
            return Deferred("the table of messages is not there", Blame.PROVIDER)
        if outcome.early:
            await self._report(message, outcome)
        elif self._settings.reports and outcome.told:
            self._run(self._report(message, outcome))
        if outcome.wait:
            await asyncio.sleep(outcome.wait)
        return result

    def _result(self, id_: NotificationId, outcome: Outcome, captured: Captured) -> SendResult:
        result = outcome.result
        if outcome.times is not None and not isinstance(result, Accepted):
            if len(self._tries) > _MAX_TRIES:
                self._tries.clear()
            self._tries[id_] += 1
            if self._tries[id_] > outcome.times:
                result = Accepted()
        if isinstance(result, Accepted):
            parts = captured.parts if captured.channel is Channel.SMS else None
            return replace(result, reference=None if result.silent else str(id_), segments=parts)
        return result

    def _email(self, email: Email, outcome: Outcome) -> Captured | Refused:
        to = parse_mailbox(email.to)
        if to is None:
            return Refused(Reason.INVALID_EMAIL_FORMAT, "the address cannot be sent to")
        try:
            letter = self._letters.letter(email)
        except InvalidSender as error:
            return Refused(Reason.UNSPECIFIED, str(error))
        html = email.body if email.content_type is ContentType.HTML else None
        return self._captured(
            email,
            outcome,
            subject=email.subject,
            text=text_of(html) if html else email.body,
            html=html,
            raw=letter.fill(email.id, to, self._clock.now(), email.files),
        )

    def _sms(self, sms: Sms, outcome: Outcome) -> Captured | Refused:
        number = e164(sms.to)
        if number is None:
            return Refused(Reason.INVALID_RECIPIENT, "not a valid number")
        text = clean(sms.text)
        segments = segment(text)
        captured = self._captured(
            replace(sms, to=number), outcome, subject=None, text=text, html=None, raw=text.encode()
        )
        return replace(captured, parts=len(segments.parts), alphabet=segments.alphabet.value)

    def _captured(
        self, message: Email | Sms, outcome: Outcome, *, subject: str | None, text: str, html: str | None, raw: bytes
    ) -> Captured:
        return Captured(
            channel=Channel.SMS if isinstance(message, Sms) else Channel.EMAIL,
            sender=message.sender,
            recipient=message.to.strip(),
            subject=subject,
            text=text,
            html=html,
            raw=raw,
            parts=1,
            alphabet=None,
            notification_id=message.id,
            outcome=outcome.name,
            received_at=datetime.now(UTC),
            reference=str(message.id),
        )

    async def _report(self, message: Email | Sms, outcome: Outcome) -> None:
        for number, told in enumerate(outcome.told):
            if not outcome.early:
                await asyncio.sleep(self._settings.report_after.total_seconds() + told.after)
            await self._store_report(self._reported(message, told, number))

    async def _store_report(self, report: Report) -> None:
        while True:
            try:
                await self._store([report])
            except Unavailable:
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    def _reported(self, message: Email | Sms, told: Told, number: int) -> Report:
        meaning = told.meaning
        return Report(
            provider=self.name,
            event_key=f"{message.id}:{told.state}:{number}",
            channel=Channel.SMS if isinstance(message, Sms) else Channel.EMAIL,
            verdict=meaning.verdict,
            raw_state=told.state,
            notification=message.id,
            reference=str(message.id),
            reason=meaning.reason,
            soft=meaning.soft,
            payload={"state": told.state},
            suppress=meaning.suppress,
        )

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


PROVIDER: Final = Kind(CapturedProviderSettings, CapturedProvider)
