"""What the simulated mail server does with a message, chosen by the local part of its recipient (channels 8.1)."""

import re
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final


class Fault(Enum):
    """How the dialogue goes wrong."""

    CLOSE_AT_RCPT = auto()
    CLOSE_IN_CONTENT = auto()  # nothing is stored
    CLOSE_AFTER_CONTENT = auto()  # stored, no answer
    HANG = auto()  # stored, no answer
    JUNK = auto()  # an answer to RCPT that is not SMTP


class Form(Enum):
    """Of a mail to the return path."""

    REPORT = auto()
    BROKEN = auto()  # a report without its parts
    PROSE = auto()
    COMPLAINT = auto()
    VACATION = auto()


@dataclass(frozen=True, slots=True)
class Notice:
    """One mail to the return path, `after` so many seconds. `damaged`: to an address whose token is wrong."""

    action: str = "delivered"
    status: str = "2.0.0"
    after: float = 0.0
    form: Form = Form.REPORT
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Script:
    """`refusal` answers RCPT: the first `times` tries, or for so many seconds after the first, or always.

    `answer` is the one to the content; what it refuses is not stored. A message that is stored is reported delivered
    when the sender asked for that, unless `silent`; then come the `notices`, or before the answer when `early`.
    """

    name: str
    refusal: str | None = None
    times: int | None = None
    seconds: float | None = None
    fault: Fault | None = None
    answer: bytes = b""
    wait: float = 0.0
    notices: tuple[Notice, ...] = ()
    silent: bool = False
    early: bool = False


ORDINARY: Final = Script("ok")
_DELIVERED: Final = Notice()
_NO_SUCH: Final = Notice("failed", "5.1.1")


def _reported(name: str, *notices: Notice, early: bool = False) -> Script:
    return Script(name, notices=notices, silent=True, early=early)


_ALL: Final = (
    ORDINARY,
    Script("quiet", silent=True),
    Script("bounce", "550 5.1.1 No such user here"),
    Script("disabled", "550 5.2.1 Mailbox disabled"),
    Script("full", "552 5.2.2 Mailbox full"),
    Script("fullsoft", "452 4.2.2 Mailbox full"),
    Script("badaddr", "553 5.1.3 Bad address syntax"),
    Script("norelay", "554 5.7.1 Relay access denied"),
    Script("badsender", "550 5.1.8 Sender address rejected"),
    Script("defer", "451 4.7.1 Try again later"),
    Script("grey", "450 4.2.0 Greylisted", seconds=2.0),
    Script("ratelimit", "452 4.7.0 Rate limit exceeded", seconds=3.0),
    Script("busy", "421 4.3.2 Service shutting down", fault=Fault.CLOSE_AT_RCPT),
    Script("drop-rcpt", fault=Fault.CLOSE_AT_RCPT),
    Script("junk", fault=Fault.JUNK),
    Script("toolarge", answer=b"552 5.3.4 Message too big"),
    Script("spam", answer=b"554 5.7.1 Message refused as spam"),
    Script("refuse", answer=b"550 5.0.0 Refused"),
    Script("multi", answer="250-2.0.0 Takk for blåbærene\r\n250 2.0.0 Queued".encode("latin-1")),
    Script("hang", fault=Fault.HANG),
    Script("drop", fault=Fault.CLOSE_AFTER_CONTENT),
    Script("drop-data", fault=Fault.CLOSE_IN_CONTENT),
    _reported("dsn-fail", _NO_SUCH),
    _reported("dsn-full", Notice("failed", "5.2.2")),
    _reported("dsn-delay", Notice("delayed", "4.4.1")),
    _reported("dsn-ok", _DELIVERED),
    _reported("dsn-relayed", Notice("relayed")),
    _reported("dsn-expired", Notice("delayed", "4.4.7", after=0.2), Notice("failed", "4.4.7", after=0.4)),
    _reported("dsn-dup", _DELIVERED, _DELIVERED),
    _reported("dsn-early", _DELIVERED, early=True),
    _reported("dsn-novrp", replace(_NO_SUCH, damaged=True)),
    _reported("dsn-garbage", replace(_NO_SUCH, form=Form.BROKEN)),
    _reported("dsn-loose", replace(_NO_SUCH, form=Form.PROSE)),
    Script("arf", notices=(Notice("abuse", form=Form.COMPLAINT),)),
    Script("arf-notspam", notices=(Notice("not-spam", form=Form.COMPLAINT),)),
    Script("ooo", notices=(Notice(form=Form.VACATION),)),
)
SCRIPTS: Final = {script.name: script for script in _ALL}

_SCRIPTED_DOMAIN: Final = re.compile(r".+\.(?:example|test)", re.IGNORECASE)
_NUMBERED: Final = re.compile(r"(defer|slow|dsn-late)-(\d{1,3})")


def script_named(name: str) -> Script | None:
    """Also `defer-N`, `slow-S` and `dsn-late-S` (seconds)."""
    numbered = _NUMBERED.fullmatch(name)
    if numbered is None:
        return SCRIPTS.get(name)
    number = int(numbered[2])
    match numbered[1]:
        case "defer":
            return replace(SCRIPTS["defer"], name=name, times=number)
        case "slow":
            return Script(name, wait=number)
        case _:
            return _reported(name, _DELIVERED, Notice("failed", "5.0.0", after=number))


def script_for(address: str) -> Script:
    """By the local part up to the first `+`, in any case, at a domain under `.example` or `.test`; else ordinary."""
    local, _, domain = address.rpartition("@")
    if not _SCRIPTED_DOMAIN.fullmatch(domain):
        return ORDINARY
    return script_named(local.partition("+")[0].lower()) or ORDINARY
