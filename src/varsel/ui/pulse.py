"""The pulse of a provider: sixty bars, one for each minute of the last hour, as the server draws them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from varsel.ui.providers_store import Minute

MINUTES: Final = 60
_HEIGHT: Final = 32.0
_LEAST: Final = 3.0  # of a bar, to be seen


@dataclass(frozen=True, slots=True)
class Bar:
    """In units of the picture, y downwards. `bad`: how much of it failed, from the top."""

    x: int
    y: float
    height: float
    bad: float


@dataclass(frozen=True, slots=True)
class Stretch:
    """Ten minutes. `ago`: minutes since its beginning."""

    ago: int
    attempts: int
    errors: int


@dataclass(frozen=True, slots=True)
class Pulse:
    """The oldest minute first."""

    bars: Sequence[Bar]
    attempts: int
    errors: int
    stretches: Sequence[Stretch]


def pulse_of(minutes: Sequence[Minute]) -> Pulse:
    """Of one provider; minutes without any traffic may be left out."""
    by_ago = {m.ago: m for m in minutes if 0 <= m.ago < MINUTES}
    most = max((m.attempts for m in by_ago.values()), default=0)
    bars = [_bar(4 * (MINUTES - 1 - ago), by_ago.get(ago), most) for ago in reversed(range(MINUTES))]
    stretches = []
    for ago in range(MINUTES, 0, -10):
        within = [m for m in by_ago.values() if ago - 10 <= m.ago < ago]
        stretches.append(Stretch(ago, sum(m.attempts for m in within), sum(m.errors for m in within)))
    return Pulse(bars, sum(s.attempts for s in stretches), sum(s.errors for s in stretches), stretches)


def _bar(x: int, minute: Minute | None, most: int) -> Bar:
    """Without traffic a flat tick, of height 0 here."""
    if minute is None or not minute.attempts:
        return Bar(x, _HEIGHT - _LEAST, 0, 0)
    height = round(max(_LEAST, (_HEIGHT - 2) * minute.attempts / most), 1)
    bad = round(height * min(1.0, minute.errors / minute.attempts), 1)
    return Bar(x, round(_HEIGHT - height, 1), height, max(bad, 1.5) if minute.errors else 0)
