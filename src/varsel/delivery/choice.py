"""Pure: which provider gets a message, and how weights move (channels 1.9)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol, TypeVar

MOVE: Final = 10  # points that one decision moves
_LEAST: Final = 1  # weight that is left to a provider: it keeps getting something to show that it is well again


@dataclass(frozen=True, slots=True)
class Routing:
    """Which messages a provider instance takes, and how many.

    `countries`: calling codes. `creators`: in lower case. Empty: all. Limits are of all processes together; of SMS,
    they count parts.
    """

    group: int = 1
    weight: int = 50
    creators: frozenset[str] = frozenset()
    countries: tuple[str, ...] = ()
    rate: float | None = None  # a second
    burst: int | None = None
    per_hour: int | None = None
    per_day: int | None = None

    def takes(self, creator: str, address: str) -> bool:
        return (not self.creators or creator.lower() in self.creators or "*" in self.creators) and (
            not self.countries or _digits(address).startswith(self.countries)
        )


class Candidate(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def weight(self) -> int:
        """At this moment."""
        ...

    @property
    def routing(self) -> Routing: ...


C = TypeVar("C", bound=Candidate)


def choose(candidates: Sequence[C], creator: str, address: str, tried: Sequence[str], dice: Random) -> C | None:
    """One of those that take the message: who was tried less often, in the lowest group, by weight.

    If all of them have weight 0, any. None: nobody takes it.
    """
    fit = [c for c in candidates if c.routing.takes(creator, address)]
    if len(fit) > 1 and tried:
        least = min(tried.count(c.name) for c in fit)
        fit = [c for c in fit if tried.count(c.name) == least]
    if len(fit) > 1:
        group = min(c.routing.group for c in fit)
        fit = [c for c in fit if c.routing.group == group]
    if len(fit) > 1:
        weights = [c.weight for c in fit]
        return dice.choices(fit, weights if any(weights) else None)[0]
    return fit[0] if fit else None


def shifted(weights: Mapping[str, int], resting: Mapping[str, int], failing: str) -> dict[str, int]:
    """`MOVE` points go from one provider to the others of `weights`, in proportion to what they have at rest.

    `weights`: of the healthy ones of the group, and of the failing one. The sum stays.
    """
    others = [name for name in weights if name != failing]
    points = min(MOVE, max(0, weights[failing] - _LEAST))
    if not others or not points:
        return dict(weights)
    return {**_spread(weights, resting, others, points), failing: weights[failing] - points}


def drifted(weights: Mapping[str, int], resting: Mapping[str, int]) -> dict[str, int]:
    """Every provider at most `MOVE` points closer to its weight at rest."""
    return {name: now + max(-MOVE, min(MOVE, resting[name] - now)) for name, now in weights.items()}


def _spread(
    weights: Mapping[str, int], resting: Mapping[str, int], names: Sequence[str], points: int
) -> dict[str, int]:
    total = sum(resting[name] for name in names)
    exact = {name: points * (resting[name] / total if total else 1 / len(names)) for name in names}
    given = {name: int(share) for name, share in exact.items()}
    left = points - sum(given.values())
    for name in sorted(names, key=lambda n: given[n] - exact[n])[:left]:
        given[name] += 1
    return {name: weights[name] + given[name] for name in names}


def _digits(address: str) -> str:
    """Of a number in international form, from its calling code on."""
    digits = "".join(c for c in address if c.isdigit())
    return digits if address.lstrip().startswith("+") else digits.removeprefix("00")
