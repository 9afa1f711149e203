"""The events of the simulated Azure Communication Services (channels 2.4, 8.5): real calls, until they are taken."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import aiohttp
from yarl import URL

RETRIES: Final = (1, 2, 4)  # seconds
_HELD_TOGETHER: Final = 3
_TOPIC: Final = "/subscriptions/0/resourceGroups/sim/providers/Microsoft.Communication/communicationServices/sim"
_DELIVERY: Final = "Microsoft.Communication.EmailDeliveryReportReceived"


@dataclass(frozen=True, slots=True)
class EventsSent:
    """One call. `status` is None when no answer came."""

    statuses: tuple[str, ...]
    attempt: int
    status: int | None


@dataclass(frozen=True, slots=True)
class Happened:
    """To one email. `id`: of the event."""

    operation: str
    sender: str
    recipient: str
    status: str
    id: str
    bare: bool = False


class Events:
    """Calls `url`, secret and all; without one nothing is told. `seen` gets every call. `copies`: of each, at once."""

    def __init__(
        self, url: str | None, time_factor: float, seen: Callable[[EventsSent], None], *, cloud_events: bool
    ) -> None:
        self.url = url
        self._time_factor = time_factor
        self._seen = seen
        self._cloud_events = cloud_events
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: list[Happened] = []
        self.copies = 1

    def start(self, happened: Sequence[Happened], *, held: bool) -> None:
        """Tell one after the other, in the background. `held`: when three such have come together."""
        if held:
            self._held.extend(happened)
            if len(self._held) >= _HELD_TOGETHER:
                together, self._held = self._held, []
                self._run(self.tell(together))
            return
        self._run(self.tell_each(happened))

    async def tell_each(self, happened: Sequence[Happened]) -> None:
        for one in happened:
            await self.tell([one])

    async def tell(self, happened: Sequence[Happened]) -> None:
        """In one call; tried again until it is answered 2xx."""
        if self.url is None:
            return
        events = [self._event(one) for one in happened]
        for attempt, pause in enumerate((0, *RETRIES), 1):
            await asyncio.sleep(pause * self._time_factor)
            answers = await asyncio.gather(*(self._post(events) for _ in range(self.copies)))
            for status in answers:
                self._seen(EventsSent(tuple(one.status for one in happened), attempt, status))
            if all(status is not None and 200 <= status < 300 for status in answers):
                return

    async def validate(self) -> bool:
        """Ask whether the receiver wants our events, as the schema has it. Whether it does."""
        assert self.url
        async with self._open() as session:
            if self._cloud_events:
                headers = {"WebHook-Request-Origin": "eventgrid.azure.net"}
                async with session.options(URL(self.url, encoded=True), headers=headers) as answer:
                    return answer.status == 200 and answer.headers.get("WebHook-Allowed-Origin") in {
                        "eventgrid.azure.net",
                        "*",
                    }
            code = str(uuid4())
            event = {
                "id": str(uuid4()),
                "topic": _TOPIC,
                "subject": "",
                "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
                "eventTime": datetime.now(UTC).isoformat(),
                "dataVersion": "2",
                "metadataVersion": "1",
                "data": {"validationCode": code, "validationUrl": "https://eventgrid.invalid/validate"},
            }
            headers = {"aeg-event-type": "SubscriptionValidation"}
            async with session.post(URL(self.url, encoded=True), json=[event], headers=headers) as answer:
                return answer.status == 200 and (await answer.json(content_type=None))["validationResponse"] == code

    async def idle(self) -> None:
        """Wait until no event is on its way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _event(self, happened: Happened) -> dict[str, Any]:
        subject = f"sender/{happened.sender}/message/{happened.operation}"
        data = {
            "sender": happened.sender,
            "recipient": happened.recipient,
            "internetMessageId": f"<{happened.operation}@azurecomm.invalid>",
            "status": happened.status,
            "deliveryStatusDetails": {
                "statusMessage": f"the mailbox of {happened.recipient} was asked",
                "recipientMailServerHostName": "mx.mottaker.example",
            },
        }
        if not happened.bare:
            data["messageId"] = happened.operation
        now = datetime.now(UTC).isoformat()
        if self._cloud_events:
            data["deliveryAttemptTimestamp"] = now
            told = {"id": happened.id, "source": _TOPIC, "subject": subject, "type": _DELIVERY, "time": now}
            return {**told, "specversion": "1.0", "data": data}
        data["deliveryAttemptTimeStamp"] = now
        told = {"id": happened.id, "topic": _TOPIC, "subject": subject, "eventType": _DELIVERY, "eventTime": now}
        return {**told, "dataVersion": "1.0", "metadataVersion": "1", "data": data}

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _post(self, events: list[dict[str, Any]]) -> int | None:
        assert self.url
        single = self._cloud_events and len(events) == 1
        kind = "application/cloudevents+json" if single else "application/cloudevents-batch+json"
        headers = {"Content-Type": f"{kind if self._cloud_events else 'application/json'}; charset=utf-8"}
        if not self._cloud_events:
            headers["aeg-event-type"] = "Notification"
        try:
            async with (
                self._open() as session,
                session.post(
                    URL(self.url, encoded=True), json=events[0] if single else events, headers=headers
                ) as answer,
            ):
                return answer.status
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None

    @staticmethod
    def _open() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10), trust_env=False)
