"""What the simulated SMSC does with a message, chosen by the last three digits of its number (channels 8.4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class Habit(Enum):
    PLAIN = auto()
    NO_ANSWER = auto()  # taken and reported on, and never answered
    DROP = auto()  # taken, and the session cut; reported on the next one
    EARLY = auto()  # reported before the answer
    TWICE = auto()  # each receipt twice
    UNKNOWN_FIRST = auto()  # a receipt for nobody, before the right one
    SECOND_REFUSED = auto()  # of the parts
    BACKWARDS = auto()  # receipts of the last part first
    MALFORMED = auto()  # a receipt that cannot be read
    OVERSIZED = auto()  # a PDU that claims to be huge
    NACK = auto()


@dataclass(frozen=True, slots=True)
class Script:
    """`status`: of the answer, `times` times, and then 0; always, if None. `states`: of the receipts, in order."""

    name: str
    states: tuple[str, ...] = ("DELIVRD",)
    status: int = 0
    times: int | None = None
    habit: Habit = Habit.PLAIN


ORDINARY: Final = Script("")

_STATES: Final = (
    *(("EXPIRED",), ("DELETED",), ("UNDELIV",), ("REJECTD",), ("UNKNOWN",), ("ACCEPTD", "DELIVRD"), ("ENROUTE",)),
    *(("SKIPPED",), ("SCHEDLD",), ("INVENTD",)),
)

SCRIPTS: Final[Mapping[str, Script]] = {
    "000": Script("delivered"),
    **{f"{number:03}": Script(" then ".join(states), states) for number, states in enumerate(_STATES, 1)},
    "020": Script("invalid destination", status=0x0B),
    "021": Script("throttled twice", status=0x58, times=2),
    "022": Script("queue full", status=0x14),
    "023": Script("submit failed", status=0x45),
    "024": Script("invalid source", status=0x0A),
    "025": Script("permanent error", status=0x65),
    "026": Script("vendor's error", status=0x401),
    "030": Script("no answer", habit=Habit.NO_ANSWER),
    "031": Script("session cut", habit=Habit.DROP),
    "032": Script("receipt before the answer", habit=Habit.EARLY),
    "033": Script("receipt twice", habit=Habit.TWICE),
    "034": Script("receipt for nobody first", habit=Habit.UNKNOWN_FIRST),
    "035": Script("second part refused", habit=Habit.SECOND_REFUSED),
    "036": Script("receipts backwards", habit=Habit.BACKWARDS),
    "037": Script("malformed receipt", habit=Habit.MALFORMED),
    "038": Script("oversized PDU", habit=Habit.OVERSIZED),
    "039": Script("nack", habit=Habit.NACK),
}
