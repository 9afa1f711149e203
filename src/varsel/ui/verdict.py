"""Pure: did it arrive? One answer for an order or a recipient, from what became of its notifications (copy guide).

"Yes" is kept for evidence of arrival. Of several recipients the least lucky decides the first word.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from varsel.domain.notification import Reason, State
from varsel.domain.order import OrderState

NOT_SENT: Final = frozenset({Reason.RECIPIENT_RESERVED, Reason.RECIPIENT_NOT_IDENTIFIED, Reason.SUPPRESSED_RECIPIENT})


class Fate(IntEnum):
    """What became of a notification; of two to the same recipient the lower one counts."""

    ARRIVED = 0
    OPEN = 1  # nothing has been handed over, as far as we know
    HANDED = 2  # a receipt may come
    UNCONFIRMED = 3
    FAILED = 4
    NOT_SENT = 5

    @property
    def key(self) -> str:
        return self.name.lower()


FAMILIES: Final = {
    Fate.ARRIVED: "delivered",
    Fate.OPEN: "working",
    Fate.HANDED: "handed",
    Fate.UNCONFIRMED: "handed",
    Fate.FAILED: "failed",
    Fate.NOT_SENT: "stopped",
}


def fate_of(state: State, reason: Reason | None, *, settled: bool, taken: bool) -> Fate:
    """`taken`: a provider took it at some time."""
    match state:
        case State.DELIVERED:
            return Fate.ARRIVED
        case State.ACCEPTED:
            return Fate.UNCONFIRMED if settled else Fate.HANDED
        case State.EXPIRED:
            return Fate.UNCONFIRMED if taken else Fate.FAILED
        case State.FAILED:
            return Fate.NOT_SENT if reason in NOT_SENT else Fate.FAILED
        case _:
            return Fate.OPEN


@dataclass(frozen=True, slots=True)
class Tally:
    """How many recipients each fate has."""

    arrived: int = 0
    open: int = 0
    handed: int = 0
    unconfirmed: int = 0
    failed: int = 0
    not_sent: int = 0

    @classmethod
    def of(cls, fates: Sequence[Fate]) -> "Tally":
        return cls(*(sum(fate is each for fate in fates) for each in Fate))

    @property
    def all(self) -> int:
        return sum(self.counts)

    @property
    def counts(self) -> tuple[int, ...]:
        return (self.arrived, self.open, self.handed, self.unconfirmed, self.failed, self.not_sent)

    @property
    def groups(self) -> list[tuple[Fate, int]]:
        """Those that anybody has."""
        return [(fate, n) for fate, n in zip(Fate, self.counts, strict=True) if n]

    @property
    def taken(self) -> int:
        return self.arrived + self.handed + self.unconfirmed

    @property
    def left(self) -> int:
        """How many left us, or were tried."""
        return self.all - self.open - self.not_sent

    @property
    def deciding(self) -> Fate:
        """The fate that gives the first word; there is at least one recipient."""
        order = (Fate.OPEN, Fate.FAILED, Fate.HANDED, Fate.UNCONFIRMED, Fate.NOT_SENT)
        present = {fate for fate, _ in self.groups}
        return next((fate for fate in order if fate in present), Fate.ARRIVED)


@dataclass(frozen=True, slots=True)
class Word:
    """A state of an order in a list: `order.<key>`, told of `n` recipients when the text counts them."""

    family: str
    key: str
    n: int = 0


_UNFINISHED: Final = {
    OrderState.REGISTERED: Word("waiting", "registered"),
    OrderState.PROCESSING: Word("working", "processing"),
    OrderState.SEND_CONDITION_NOT_MET: Word("stopped", "condition"),
    OrderState.CANCELLED: Word("stopped", "cancelled"),
}


def word_of(state: OrderState, tally: Tally | None) -> Word:
    """`tally`: None when there are too many recipients to count in passing."""
    if found := _UNFINISHED.get(state):
        return found
    if tally is None or not tally.all:
        return Word("working", "processed") if state is OrderState.PROCESSED else Word("waiting", "completed")
    fate = tally.deciding
    n = dict(tally.groups).get(fate, tally.all)
    return Word(FAMILIES[fate], f"{fate.key}_all" if n == tally.all else f"{fate.key}_some", n)
