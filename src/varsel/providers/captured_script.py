"""What the captured provider does with a message, by its recipient (channels 8.2, 8.3): the outcomes of the simulators.

Addresses by their local part up to the first `+`, numbers by their last three digits. What happens on the wire there is
its outcome here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from varsel.delivery.ports import Accepted, Blame, Deferred, Refused, SendResult, Suppress, Unknown, Verdict
from varsel.domain.notification import Reason
from varsel.providers.link_reports import STATES, Meaning


@dataclass(frozen=True, slots=True)
class Told:
    """One report, `after` so many seconds more than the provider takes anyway."""

    state: str
    meaning: Meaning
    after: float = 0


_ACCEPTED: Final = Accepted()
DELIVERED: Final = Told("DELIVRD", STATES["DELIVRD"])


@dataclass(frozen=True, slots=True)
class Outcome:
    """`times`: so often `result`, and then accepted. `kept`: it is captured although the result is not acceptance.

    `wait`: seconds before the answer. `early`: reported before it.
    """

    name: str = ""
    result: SendResult = _ACCEPTED
    told: tuple[Told, ...] = (DELIVERED,)
    times: int | None = None
    kept: bool = False
    wait: float = 0
    early: bool = False


def _refused(name: str, reason: Reason, suppress: Suppress | None = None) -> Outcome:
    return Outcome(name, Refused(reason, f"scripted: {name}", suppress))


def _deferred(
    name: str, blame: Blame = Blame.MESSAGE, *, rest: float | None = None, times: int | None = None
) -> Outcome:
    pause = None if rest is None else timedelta(seconds=rest)
    return Outcome(name, Deferred(f"scripted: {name}", blame, pause), times=times)


def _unknown(name: str, *, kept: bool) -> Outcome:
    return Outcome(name, Unknown(f"scripted: {name}"), kept=kept)


def _failed(reason: Reason, suppress: Suppress | None = None, after: float = 0) -> Told:
    return Told("failed", Meaning(Verdict.FAILED, reason, suppress=suppress), after)


_DELAYED: Final = Told("delayed", Meaning(Verdict.DELAYED))
_RELAYED: Final = Told("relayed", Meaning(Verdict.RELAYED))
_COMPLAINT: Final = Told("abuse", Meaning(Verdict.COMPLAINT, suppress=Suppress.COMPLAINT))
_NO_SUCH: Final = _failed(Reason.BOUNCED, Suppress.HARD_BOUNCE)
_BOUNCED: Final = _failed(Reason.BOUNCED)

EMAIL: Final[Mapping[str, Outcome]] = {
    outcome.name: outcome
    for outcome in (
        _refused("bounce", Reason.BOUNCED, Suppress.HARD_BOUNCE),
        _refused("disabled", Reason.BOUNCED, Suppress.DISABLED),
        _refused("full", Reason.BOUNCED),
        _deferred("fullsoft"),
        _refused("badaddr", Reason.INVALID_EMAIL_FORMAT, Suppress.HARD_BOUNCE),
        _deferred("norelay"),
        _refused("badsender", Reason.UNSPECIFIED),
        _deferred("defer"),
        _deferred("grey", times=1),
        _deferred("ratelimit", Blame.PROVIDER, rest=3, times=1),
        _deferred("busy", Blame.PROVIDER),
        _refused("toolarge", Reason.PAYLOAD_TOO_LARGE),
        _refused("spam", Reason.FILTERED_SPAM),
        _refused("refuse", Reason.BOUNCED),
        _unknown("hang", kept=True),
        _unknown("drop", kept=True),
        _deferred("drop-rcpt", Blame.PROVIDER),
        _unknown("drop-data", kept=False),
        _deferred("junk", Blame.PROVIDER),
        Outcome("quiet", told=()),
        Outcome("dsn-fail", told=(_NO_SUCH,)),
        Outcome("dsn-full", told=(_BOUNCED,)),
        Outcome("dsn-delay", told=(_DELAYED,)),
        Outcome("dsn-relayed", told=(_RELAYED,)),
        Outcome("dsn-expired", told=(_DELAYED, _BOUNCED)),
        Outcome("dsn-dup", told=(DELIVERED, DELIVERED)),
        Outcome("dsn-early", early=True),
        Outcome("dsn-garbage", told=()),
        Outcome("dsn-loose", told=(_BOUNCED,)),
        Outcome("dsn-novrp", told=(_NO_SUCH,)),
        Outcome("arf", told=(DELIVERED, _COMPLAINT)),
        Outcome("perm-fail", told=(_NO_SUCH,)),  # this and the next: as GOV.UK Notify's simulators
        Outcome("temp-fail", told=(_BOUNCED,)),
    )
}
_NUMBERED: Final = re.compile(r"(defer|slow|dsn-late)-(\d{1,3})")


def _reported(*states: str) -> Outcome:
    unknown = Meaning(Verdict.UNRECOGNISED)
    return Outcome(" then ".join(states), told=tuple(Told(state, STATES.get(state, unknown)) for state in states))


_STATES: Final = (
    *(
        "EXPIRED",
        "DELETED",
        "UNDELIV",
        "REJECTD",
        "FAILED",
        "NULL",
        "UNKNOWN",
        "BARRED",
        "BARREDA",
        "ZEROBAL",
        "INVENTD",
    ),
)

SMS: Final[Mapping[str, Outcome]] = {
    **{str(number): _reported(state) for number, state in enumerate(_STATES, 101)},
    "201": _refused("invalid receiver", Reason.INVALID_RECIPIENT),
    "202": _refused("refused", Reason.UNSPECIFIED),
    "203": _unknown("no answer", kept=False),
    "204": Outcome("no reference", Accepted(silent=True), told=()),
    "301": _deferred("HTTP 500"),
    "302": _unknown("HTTP 504", kept=False),
    "303": _deferred("HTTP 429", Blame.PROVIDER, rest=2),
    "304": _deferred("HTTP 403", Blame.FAULT),
    "305": _unknown("HTML", kept=False),
    "306": _unknown("empty answer", kept=False),
    "307": _deferred("login refused", Blame.FAULT),
    "308": _deferred("login refused without reason", Blame.FAULT),
    "309": _unknown("hangs", kept=True),
    "310": _unknown("reset", kept=False),
    "401": Outcome("reported before the answer", early=True),
    "402": Outcome("reported after 3 s", told=(replace(DELIVERED, after=3),)),
    "403": Outcome("never reported", told=()),
    "404": Outcome("reported twice", told=(DELIVERED, DELIVERED)),
    "405": _reported("UNDELIV", "DELIVRD"),
    "406": _reported("NULL", "DELIVRD"),
    "416": _reported("1"),
}

ORDINARY: Final = Outcome()


def of_email(address: str) -> Outcome:
    name = address.strip().partition("@")[0].partition("+")[0].lower()
    numbered = _NUMBERED.fullmatch(name)
    if numbered is None:
        return EMAIL.get(name, ORDINARY)
    number = int(numbered[2])
    match numbered[1]:
        case "defer":
            return replace(EMAIL["defer"], name=name, times=number)
        case "slow":
            return Outcome(name, wait=number)
        case _:
            return Outcome(name, told=(DELIVERED, replace(_BOUNCED, after=number)))


def of_number(number: str) -> Outcome:
    return SMS.get(number[-3:], ORDINARY)
