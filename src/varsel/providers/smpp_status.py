"""What the status of an SMSC's answer says about a message (channels 4.4.3; design 8: no message opens a breaker)."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from varsel.delivery.ports import Blame, Deferred, Refused
from varsel.domain.notification import Channel, Reason
from varsel.providers.causes import CAUSES
from varsel.smpp.pdu import Status

RESUBMITTED: Final = Status.SUBMIT_FAILED
"""May come again for a message, but not for ever."""

_FIRST_PAUSE: Final = timedelta(seconds=1)  # when it throttles; doubling while it goes on
_LONGEST_PAUSE: Final = timedelta(seconds=30)
_QUEUE_PAUSE: Final = timedelta(seconds=5)
_MOST_PROTOCOL_ERRORS: Final = 3  # in a row, which are then not a message's

_SENDER: Final = frozenset({0x0A, 0x48, 0x49})  # address, type of number, numbering plan of the source
_REFUSED: Final = frozenset({0x65, 0x66})
_CONFIGURATION: Final = frozenset({0x0D, 0x0E, 0x0F, 0x15, 0x50, 0x51, 0x53, 0x61, 0x62})
_PROTOCOL: Final = frozenset({0x01, 0x02, 0x03, 0x43, 0xC0, 0xC1, 0xC2, 0xC3, 0xC4})
_STATE: Final = frozenset({Status.WRONG_BIND_STATE, Status.ALREADY_BOUND})


@dataclass(slots=True)
class Judge:
    """Of one account: it remembers what came before. `vendor`: status → cause of channels 1.3."""

    vendor: Mapping[int, str]
    monotonic: Callable[[], float] = time.monotonic
    _pause: timedelta = _FIRST_PAUSE
    _until: float = 0.0  # the end of the last pause
    _relieved: bool = True  # something was accepted since
    _protocol_errors: int = 0

    def accepted(self) -> None:
        self._protocol_errors = 0
        self._relieved |= self.monotonic() >= self._until

    def verdict(self, status: int) -> Refused | Deferred:
        """Of a status other than 0."""
        detail = f"the gateway answered {status:#04x}"
        if status in _SENDER:
            return Refused(Reason.REJECTED, detail)
        if status == Status.INVALID_DESTINATION:
            return Refused(Reason.INVALID_RECIPIENT, detail)
        if status in _REFUSED:
            return Refused(Reason.REJECTED, detail)
        if cause := CAUSES.get(self.vendor.get(status, "")):
            return Refused(cause.sms, detail, cause.suppression(Channel.SMS))
        return self._deferred(status, detail)

    def _deferred(self, status: int, detail: str) -> Deferred:
        if status == Status.THROTTLED:
            return Deferred(detail, Blame.PROVIDER, self._throttled())
        if status == Status.QUEUE_FULL:
            return Deferred(detail, Blame.PROVIDER, _QUEUE_PAUSE)
        if status in _CONFIGURATION:
            return Deferred(detail, Blame.FAULT)
        if status in _PROTOCOL:
            self._protocol_errors += 1
            lasting = self._protocol_errors >= _MOST_PROTOCOL_ERRORS
            return Deferred(detail, Blame.FAULT if lasting else Blame.PROVIDER)
        return Deferred(detail, Blame.PROVIDER if status in _STATE else Blame.MESSAGE)

    def _throttled(self) -> timedelta:
        """Twice as long as before when the pause did not help. What was on its way meanwhile counts once."""
        now = self.monotonic()
        if now >= self._until:
            self._pause = _FIRST_PAUSE if self._relieved else min(self._pause * 2, _LONGEST_PAUSE)
            self._until = now + self._pause.total_seconds()
            self._relieved = False
        return self._pause


def is_sender_refused(status: int) -> bool:
    return status in _SENDER
