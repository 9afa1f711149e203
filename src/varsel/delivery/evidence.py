"""Pure: what a provider's report does to a notification (design 8 "States, completion, evidence"; channels 1.10)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from varsel.delivery.ports import Verdict
from varsel.domain.notification import NEXT, Reason, State

# after "delivered", only these say that it did not stay delivered
_OVERRULES_DELIVERED: Final = frozenset(
    {Reason.BOUNCED, Reason.FILTERED_SPAM, Reason.QUARANTINED, Reason.SUPPRESSED_RECIPIENT}
)

_NO_FATE: Final = {
    Verdict.DELAYED: "still on its way",
    Verdict.COMPLAINT: "said of a message that arrived",
}


class Fit(StrEnum):
    """What became of a report: its state in the inbox."""

    APPLIED = "applied"  # it changed the notification, or said what was known
    LATE = "late"  # kept and explained; the fate stands
    DEAD = "dead"  # an operator has to look at it


@dataclass(frozen=True, slots=True)
class Standing:
    """A notification as it stands. `accepted_at`: when it was handed over, or None when we do not know of it."""

    state: State
    settled: bool
    soft: bool
    reason: Reason | None
    accepted_at: datetime | None

    @property
    def has_fate(self) -> bool:
        return self.settled or self.state in (State.DELIVERED, State.FAILED, State.EXPIRED)

    @property
    def succeeded(self) -> bool:
        return self.state in (State.ACCEPTED, State.DELIVERED)


@dataclass(frozen=True, slots=True)
class Effect:
    """`after` is None when nothing changes. `why` explains it, for the inbox."""

    fit: Fit
    after: Standing | None = None
    why: str = ""


def apply(
    standing: Standing,
    verdict: Verdict,
    *,
    reason: Reason | None,
    soft: bool,
    now: datetime,
    correction_period: timedelta,
) -> Effect:
    """Forward moves at once; a fate is left only as a correction, on evidence, within the correction period."""
    match verdict:
        case Verdict.UNRECOGNISED:
            return Effect(Fit.DEAD, why="UNRECOGNIZED_STATE")
        case Verdict.DELAYED | Verdict.COMPLAINT:
            return _no_fate(standing, verdict)
        case Verdict.RELAYED:
            return _relayed(standing)
        case Verdict.DELIVERED:
            after = Standing(State.DELIVERED, False, False, None, standing.accepted_at)
        case Verdict.FAILED:
            after = Standing(State.FAILED, False, soft, reason or Reason.UNSPECIFIED, standing.accepted_at)
    if (after.state, after.reason) == (standing.state, standing.reason) and after.soft >= standing.soft:
        return Effect(Fit.APPLIED, why="already known")
    if standing.state not in (State.DELIVERED, State.FAILED, State.EXPIRED):
        return Effect(Fit.APPLIED, after)
    return _correction(standing, after, now=now, period=correction_period)


def _no_fate(standing: Standing, verdict: Verdict) -> Effect:
    """Who is still trying has the message: whoever did not know that need not send it again."""
    after = None
    if verdict is Verdict.DELAYED and standing.state is State.UNKNOWN:
        after = Standing(State.ACCEPTED, False, False, None, standing.accepted_at)
    return Effect(Fit.APPLIED, after, _NO_FATE[verdict])


def _relayed(standing: Standing) -> Effect:
    """It left for a system that will not report: nothing more is to be expected, and nothing is claimed."""
    if standing.has_fate:
        return Effect(Fit.APPLIED, why="already known")
    return Effect(Fit.APPLIED, Standing(State.ACCEPTED, True, False, None, standing.accepted_at), "relayed")


def _correction(standing: Standing, after: Standing, *, now: datetime, period: timedelta) -> Effect:
    match standing.state:
        case State.DELIVERED:
            allowed = after.reason in _OVERRULES_DELIVERED and not after.soft
        case State.FAILED:
            allowed = standing.soft
        case _:
            allowed = True
    if standing.accepted_at is None or now > standing.accepted_at + period:
        return Effect(Fit.LATE, why="later than corrections are made")
    if after.state not in NEXT[standing.state] or not allowed:
        return Effect(Fit.LATE, why=f"the notification was {standing.state} already")
    return Effect(Fit.APPLIED, after, "correction")
