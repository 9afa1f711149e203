"""Trying again: what the API promises makes it safe (docs/chains.md, Twice; docs/instant.md).

Every request of this client may be repeated: it reads, it cancels, or it carries an idempotency id.
"""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from varsel.client.errors import LimitReached, Unavailable, VarselError, refusal
from varsel.client.exchange import Lost, Pause, Reply, Request, Steps

_log = logging.getLogger("varsel.client")

_FIRST_PAUSE: Final = 0.2  # s
_LONGEST_PAUSE: Final = 10.0
_AGAIN: Final = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds that only grow, and a number from 0 to 1 by chance, which spreads those who try again."""

    now: Callable[[], float]
    chance: Callable[[], float] = random.random


def exchange(request: Request, within: float | None, clock: Clock) -> Steps[Reply]:
    """The 2xx answer to a request, tried again for `within` seconds in all; None: for ever.

    Raises `Refused` at once where trying again is of no use, `LimitReached` when its time lies too far ahead, and
    `Unavailable` when the time is over.
    """
    deadline = None if within is None else clock.now() + within
    tries, unknown = 0, False
    while True:
        left = request.patience if deadline is None else min(request.patience, deadline - clock.now())
        outcome = yield replace(request, patience=max(left, 0.001))
        assert outcome is not None
        if isinstance(outcome, Reply):
            if 200 <= outcome.status < 300:
                return outcome
            if outcome.status not in _AGAIN:
                raise refusal(outcome)
            # of these two the service says that nothing is stored; any other may be a proxy's word
            unknown = unknown or outcome.status not in (429, 503)
        else:
            unknown = unknown or outcome.sent
        wait = _wait(outcome, tries, clock)
        if deadline is not None and clock.now() + wait >= deadline:
            raise _given_up(outcome, unknown=unknown)
        tries += 1
        _log.info("%s: trying again in %.1f s", _trouble(outcome), wait)
        yield Pause(wait)


def _wait(outcome: Reply | Lost, tries: int, clock: Clock) -> float:
    """Longer each time, by chance; never shorter than the service asks for."""
    pause = min(_FIRST_PAUSE * 2.0 ** min(tries, 10), _LONGEST_PAUSE) * (0.5 + clock.chance() / 2)
    asked = outcome.headers.get("retry-after", "") if isinstance(outcome, Reply) else ""
    return max(pause, int(asked)) if asked.isascii() and asked.isdigit() and len(asked) < 10 else pause


def _trouble(outcome: Reply | Lost) -> str:
    return f"the service answers {outcome.status}" if isinstance(outcome, Reply) else outcome.why


def _given_up(outcome: Reply | Lost, *, unknown: bool) -> VarselError:
    if isinstance(outcome, Reply) and outcome.status == 429:
        return LimitReached(outcome)
    return Unavailable(_trouble(outcome), outcome_unknown=unknown)
