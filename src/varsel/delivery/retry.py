"""Pure: how long a message waits before its next try (design 8, "Waiting"; channels 6.1)."""

import random
from datetime import timedelta
from typing import Final

from varsel.domain.notification import Channel
from varsel.domain.order import Lane

_EMAIL: Final = tuple(timedelta(seconds=s) for s in (30, 120, 300, 900, 1800, 3600))
_SMS: Final = tuple(timedelta(minutes=m) for m in (5, 10, 15, 30, 60))
_INSTANT: Final = tuple(timedelta(seconds=s) for s in (2, 5, 10, 30))
_REPORT: Final = tuple(timedelta(seconds=s) for s in (1, 5, 10, 60, 120, 120))
_DOWNLOAD: Final = tuple(timedelta(seconds=s) for s in (1, 5, 10, 60, 120, 120, 300, 900, 1800, 3600))
_DOUBT: Final = timedelta(seconds=60)
_LONGEST_ASK: Final = timedelta(seconds=60)
_JITTER: Final = 0.2


def send_delay(channel: Channel, lane: Lane, attempt: int) -> timedelta:
    """After the `attempt`-th try that was charged to the message, from 1; ± 20 %. The last one repeats."""
    ladder = _INSTANT if lane is Lane.INSTANT else _EMAIL if channel is Channel.EMAIL else _SMS
    return _about(ladder[min(attempt, len(ladder)) - 1])


def download_delay(attempt: int) -> timedelta:
    """After the `attempt`-th try of an email whose attachments could not be had; the same way."""
    return _about(_DOWNLOAD[min(attempt, len(_DOWNLOAD)) - 1])


def return_delay(returns: int) -> timedelta:
    """Before a message is tried again that its provider gave back `returns` times before: 5 s, doubling to 5 min.

    So the message that met the trouble is not the first to come back, should it be the trouble.
    """
    return min(timedelta(seconds=5) * (1 << min(returns, 6)), timedelta(minutes=5))


def doubt_delay(unknown_wait: timedelta) -> timedelta:
    """Before a provider that can be asked is asked of a message whose outcome is unknown."""
    return min(unknown_wait, _DOUBT)


def ask_delay(wanted: timedelta, elapsed: timedelta) -> timedelta:
    """Before a provider is asked again of a message that was handed over `elapsed` ago.

    What the provider `wanted`, and more and more: a minute after five (channels 2.4).
    """
    return max(wanted, min(elapsed / 5, _LONGEST_ASK))


def report_delay(tries: int) -> timedelta | None:
    """Before a report that matched nothing is tried again, after `tries` tries from 1; None: seven are enough."""
    return _REPORT[tries - 1] if tries <= len(_REPORT) else None


def _about(delay: timedelta) -> timedelta:
    return delay * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load, guards nothing
