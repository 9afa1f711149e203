"""Pure: the pictures of the overview, in units of their view boxes, y downwards: hours as stacked bars, and lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from varsel.ui.overview_figures import Ends, Hour

_LEFT, _RIGHT, _BASE, _TOP = 44.0, 560.0, 210.0, 24.0
_SHARE: Final = 0.76  # of an hour's width, that its bar has
_LEAST: Final = 1.0  # of a part, to be seen
_EVERY: Final = 3  # hours that have a word below them
_STACKED: Final = ("delivered", "handed", "failed")
_STEPS: Final = (1, 2, 5)
_LINES: Final = 5
_WIDTH, _HEIGHT, _MARGIN = 200.0, 36.0, 3.0


@dataclass(frozen=True, slots=True)
class Block:
    """`kind`: whose colour it has; `expected` for what was finished a week ago in an hour that is still to come."""

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A line across, and what stands at its left; or what stands below an hour."""

    at: float
    value: int | str


@dataclass(frozen=True, slots=True)
class Chart:
    blocks: Sequence[Block]
    lines: Sequence[Mark]
    labels: Sequence[Mark]
    busiest: Hour | None
    empty: bool


def chart_of(hours: Sequence[Hour]) -> Chart:
    most = max((max(_stacked(hour.ends), hour.before or 0) for hour in hours), default=0)
    top, step = _scale(most)
    slot = (_RIGHT - _LEFT) / max(len(hours), 1)
    unit = (_BASE - _TOP) / top
    blocks: list[Block] = []
    for place, hour in enumerate(hours):
        x, width = _LEFT + slot * (place + (1 - _SHARE) / 2), slot * _SHARE
        blocks += _bar(hour, x, width, unit)
    labels = [
        Mark(round(_LEFT + slot * (place + 0.5), 1), hour.clock)
        for place, hour in enumerate(hours)
        if int(hour.clock) % _EVERY == 0
    ]
    busiest = max(hours, key=lambda hour: _stacked(hour.ends), default=None)
    lines = [Mark(round(_BASE - value * unit, 1), value) for value in range(step, top + 1, step)]
    some = busiest is not None and _stacked(busiest.ends) > 0
    return Chart(blocks, lines, labels, busiest if some else None, not most)


def _bar(hour: Hour, x: float, width: float, unit: float) -> list[Block]:
    blocks, y = [], _BASE
    if hour.before and hour.before > _stacked(hour.ends):
        height = max(hour.before * unit, _LEAST)
        blocks.append(Block("expected", round(x, 1), round(_BASE - height, 1), round(width, 1), round(height, 1)))
    for group in _STACKED:
        n = max(hour.ends.counts[group], 0)
        if n:
            height = max(n * unit, _LEAST)
            y -= height
            blocks.append(Block(group, round(x, 1), round(y, 1), round(width, 1), round(height, 1)))
    return blocks


def _stacked(ends: Ends) -> int:
    return sum(max(ends.counts[group], 0) for group in _STACKED)


def _scale(most: int) -> tuple[int, int]:
    """A round number that is not less, and steps of at most five lines up to it."""
    power = 1
    while True:
        for step in (step * power for step in _STEPS):
            if step * _LINES >= most:
                return max(-(-most // step), 1) * step, step
        power *= 10


def line_of(values: Sequence[float], *, lowest: float | None = None, spread: float = 0) -> str:
    """Points of a line through the values, from left to right. `lowest`: what stands at the bottom.

    `spread`: how far apart values must be to fill the picture, so that little is not made to look like much.
    """
    if len(values) < 2:
        values = [*values, *values] if values else [0, 0]
    low, high = min(values) if lowest is None else lowest, max(values)
    low -= max(spread - (high - low), 0) / 2
    whole = max(high - low, spread) or 1
    step = _WIDTH / (len(values) - 1)
    scale = (_HEIGHT - 2 * _MARGIN) / whole
    return " ".join(
        f"{place * step:.1f},{_HEIGHT - _MARGIN - (value - low) * scale:.1f}" for place, value in enumerate(values)
    )
