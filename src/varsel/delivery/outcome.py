"""Pure: what is stored of a provider's answer about one message (design 8: states, settling, waiting)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, assert_never

from varsel.delivery.gate import Gate, Withheld
from varsel.delivery.ports import (
    Accepted,
    Asking,
    Blame,
    Confirms,
    Deferred,
    Indeterminate,
    Pending,
    Refused,
    SendResult,
    Unknown,
)
from varsel.delivery.retry import doubt_delay, return_delay, send_delay
from varsel.delivery.store import Claimed, Recorded
from varsel.delivery.suppression import NewEntry, ground_of
from varsel.domain.ids import ClaimId
from varsel.domain.notification import Channel, Reason, State
from varsel.domain.schedule import SendWindow


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings of this stage. `settle_after` None: at expiry. `gate`: what must not leave; None: all may."""

    settle_after: timedelta | None
    unknown_wait: timedelta
    max_attempts: int
    window: SendWindow
    max_resends: int = 2  # after tries of unknown outcome
    gate: Gate | None = None


class Answering(Protocol):
    """What must be known of a provider to judge its answer."""

    @property
    def name(self) -> str: ...
    @property
    def confirms(self) -> Confirms: ...
    @property
    def on_indeterminate(self) -> Indeterminate: ...


def recorded(
    row: Claimed,
    claim: ClaimId,
    result: SendResult,
    *,
    channel: Channel,
    provider: Answering,
    rules: Rules,
    now: datetime,
    elsewhere: bool = False,
) -> Recorded:
    """What becomes of a claimed notification by its provider's answer. `elsewhere`: another provider could take it."""
    if isinstance(result, Accepted):
        return _accepted(row, claim, result, provider=provider, rules=rules, now=now)
    base = Recorded(row.id, claim, provider.name, row.attempt, State.NEW, detail=result.detail)
    match result:
        case Refused():
            suppress = _suppressed(row, result, channel, provider.name, rules, now)
            failed = base._replace(state=State.FAILED, outcome="refused", reason=result.reason)
            return failed._replace(suppress=suppress, parts=result.parts)
        case Deferred():
            return _deferred(base, row, result, channel=channel, rules=rules, now=now, elsewhere=elsewhere)
        case Unknown():
            wait = _doubt(row, provider, rules)
            wake_at = None if wait is None else now + wait
            return base._replace(state=State.UNKNOWN, outcome="unknown", wake_at=wake_at, parts=result.parts)
        case Pending():  # stands as one whose outcome is unknown, and is asked for
            return base._replace(state=State.UNKNOWN, reference=result.reference, wake_at=now + result.ask_after)
        case _:
            assert_never(result)


def _doubt(row: Claimed, provider: Answering, rules: Rules) -> timedelta | None:
    """How long only a report can end the doubt; None: to the end."""
    if isinstance(provider, Asking):
        return doubt_delay(rules.unknown_wait)
    # each try may have arrived, and after a few of them it is not tried again
    resend = provider.on_indeterminate is Indeterminate.RESEND and row.unknowns < rules.max_resends
    return rules.unknown_wait if resend else None


def _deferred(
    base: Recorded,
    row: Claimed,
    result: Deferred,
    *,
    channel: Channel,
    rules: Rules,
    now: datetime,
    elsewhere: bool,
) -> Recorded:
    """It is tried again, by another provider if there is one: at once unless the message is to blame."""
    base = base._replace(outcome="deferred", missed=True)
    if result.blame is not Blame.MESSAGE:
        wait = max(result.retry_after or timedelta(), return_delay(row.returns))
        return base._replace(uncharged=1, returned=1, wake_at=None if elsewhere else now + wait)
    if row.attempt >= rules.max_attempts:
        return base._replace(state=State.FAILED, reason=Reason.UNSPECIFIED)
    return base._replace(wake_at=now + (result.retry_after or send_delay(channel, row.lane, row.attempt)))


def withheld(
    row: Claimed, claim: ClaimId, held: Withheld, *, provider: str, now: datetime, elsewhere: bool = False
) -> Recorded:
    """What becomes of a claimed notification that the gate does not let out. It is not counted as a try.

    `elsewhere`: a provider is left to which the ground does not apply; the message waits for that one.
    """
    base = Recorded(row.id, claim, provider, row.attempt, State.NEW, detail=held.detail, uncharged=1)
    if held.by and elsewhere:
        return base._replace(returned=1, missed=True, wake_at=now + return_delay(row.returns))
    return base._replace(state=State.FAILED, outcome=held.outcome, reason=held.reason, entry=held.entry)


def _suppressed(
    row: Claimed, result: Refused, channel: Channel, provider: str, rules: Rules, now: datetime
) -> NewEntry | None:
    """What a refusal means for the next message to the address."""
    key = rules.gate.key if rules.gate else None
    if result.suppress is None or key is None:
        return None
    return key.entry(
        ground_of(result.suppress),
        channel,
        row.address,
        creator=row.creator_name,
        provider=provider,
        source=f"refusal of {provider}, notification {row.id}",
        now=now,
    )


def _accepted(
    row: Claimed,
    claim: ClaimId,
    result: Accepted,
    *,
    provider: Answering,
    rules: Rules,
    now: datetime,
) -> Recorded:
    """What nobody will confirm settles after a while: it counts as a fate, and is never called delivered."""
    settled, wake_at = False, None
    if result.silent or provider.confirms is not Confirms.ARRIVAL:
        settles = row.expires_at if rules.settle_after is None else min(now + rules.settle_after, row.expires_at)
        settled, wake_at = (True, None) if settles <= now else (False, settles)
    return Recorded(
        row.id,
        claim,
        provider.name,
        row.attempt,
        State.ACCEPTED,
        outcome="accepted" if row.attempt > 1 else None,
        wake_at=wake_at,
        settled=settled,
        reference=result.reference,
        segments=result.segments,
        detail=result.detail,
        parts=result.parts,
    )
