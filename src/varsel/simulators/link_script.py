"""What LINK's simulator does with a message, chosen by the last three digits of its number (channels 8.3)."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class Fault(Enum):
    """Of the whole answer. But for `HANG`, nothing of the document is taken."""

    HTTP_500 = auto()
    HTTP_504 = auto()
    HTTP_429 = auto()
    HTTP_403 = auto()
    HTML = auto()
    EMPTY = auto()
    LOGON_FAIL = auto()
    LOGON_FAIL_WITHOUT_REASON = auto()
    HANG = auto()
    RESET = auto()


class Answer(Enum):
    """To one message of the document."""

    OK = auto()
    INVALID_RECEIVER = auto()
    REFUSED = auto()
    MISSING = auto()
    WITHOUT_REFERENCE = auto()


class Form(Enum):
    """Of a report document."""

    PLAIN = auto()
    WITHOUT_STATE = auto()
    DOCTYPE = auto()
    EXTERNAL_ENTITY = auto()
    ENTITY_BOMB = auto()
    HUGE = auto()
    UTF_16 = auto()
    WRONG_PASSWORD_FIRST = auto()
    UNKNOWN_REFERENCE_FIRST = auto()


@dataclass(frozen=True, slots=True)
class Script:
    """`after`: seconds until each report. `early`: it precedes the answer. `held`: until three such are there."""

    name: str
    states: tuple[str, ...] = ("DELIVRD",)
    after: float = 0.2
    fault: Fault | None = None
    answer: Answer = Answer.OK
    reverse: bool = False
    early: bool = False
    held: bool = False
    form: Form = Form.PLAIN


ORDINARY: Final = Script("")

_STATES: Final = (
    *("EXPIRED", "DELETED", "UNDELIV", "REJECTD", "FAILED", "NULL", "UNKNOWN", "BARRED"),
    *("BARREDA", "ZEROBAL", "INVENTD"),
)

SCRIPTS: Final[dict[str, Script]] = {
    **{str(number): Script(state, (state,)) for number, state in enumerate(_STATES, 101)},
    "201": Script("invalid receiver", (), answer=Answer.INVALID_RECEIVER),
    "202": Script("refused", (), answer=Answer.REFUSED),
    "203": Script("no answer", (), answer=Answer.MISSING),
    "204": Script("no reference", (), answer=Answer.WITHOUT_REFERENCE),
    "205": Script("answers in reverse", reverse=True),
    "301": Script("HTTP 500", fault=Fault.HTTP_500),
    "302": Script("HTTP 504", fault=Fault.HTTP_504),
    "303": Script("HTTP 429", fault=Fault.HTTP_429),
    "304": Script("HTTP 403", fault=Fault.HTTP_403),
    "305": Script("HTML", fault=Fault.HTML),
    "306": Script("empty answer", fault=Fault.EMPTY),
    "307": Script("login refused", fault=Fault.LOGON_FAIL),
    "308": Script("login refused without reason", fault=Fault.LOGON_FAIL_WITHOUT_REASON),
    "309": Script("answer hangs", fault=Fault.HANG),
    "310": Script("connection reset", fault=Fault.RESET),
    "401": Script("report before the answer", early=True),
    "402": Script("late report", after=3),
    "403": Script("no report", ()),
    "404": Script("report twice", ("DELIVRD", "DELIVRD")),
    "405": Script("UNDELIV, then DELIVRD", ("UNDELIV", "DELIVRD")),
    "406": Script("NULL, then DELIVRD", ("NULL", "DELIVRD")),
    "407": Script("three in one report", held=True),
    "408": Script("unknown reference first", form=Form.UNKNOWN_REFERENCE_FIRST),
    "409": Script("report without state", form=Form.WITHOUT_STATE),
    "410": Script("report with DOCTYPE", form=Form.DOCTYPE),
    "411": Script("report with external entity", form=Form.EXTERNAL_ENTITY),
    "412": Script("report with entity bomb", form=Form.ENTITY_BOMB),
    "413": Script("report of 5 MiB", form=Form.HUGE),
    "414": Script("report in UTF-16", form=Form.UTF_16),
    "415": Script("wrong password first", form=Form.WRONG_PASSWORD_FIRST),
    "416": Script("numeric state", ("1",)),
}


def script_for(number: str) -> Script:
    return SCRIPTS.get(number[-3:], ORDINARY)
