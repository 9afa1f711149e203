"""The result file: each row's line, its recipient, what became of it, and why. CSV in UTF-8 with a byte order mark."""

import csv
import io
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

from varsel.bulk.job import FLAWS, Flaw, Job, RowState
from varsel.bulk.keywords import fold
from varsel.bulk.row_store import Result
from varsel.domain.notification import Channel, Reason, State, result_name

HEADER: Final = ("line", "recipient", "fate", "why", "messages", "orderId")
_MARK: Final = "\ufeff"
_CHUNK: Final = 500
_FORMULA: Final = ("=", "@", "-", "\t", "+")  # what makes a spreadsheet calculate

_WHY: Final[Mapping[RowState, str]] = {
    RowState.DUPLICATE: "It says the same to the same recipient as an earlier row.",
    RowState.UNREACHABLE: "No contact details were found when it was ordered.",
    RowState.STOPPED: "The job was stopped before its turn.",
}


async def result_file(
    job: Job,
    results: AsyncIterator[Result],
    *,
    delimiter: str = ",",
    words: Mapping[RowState, str] | None = None,
    shown: Callable[[str], str] = str,
) -> AsyncIterator[bytes]:
    """`words`: for the states, instead of their public names. `shown`: how a recipient is written."""
    place = next(
        (n for n, name in enumerate(job.columns) if job.wish and fold(name) == fold(job.wish.recipient_column)), 0
    )
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter)
    buffer.write(_MARK)
    writer.writerow(HEADER)
    waiting = 0
    async for result in results:
        writer.writerow(_line(result, shown(result.fields[place]), words or {}))
        waiting += 1
        if waiting == _CHUNK:
            yield _taken(buffer)
            waiting = 0
    yield _taken(buffer)


def _line(result: Result, recipient: str, words: Mapping[RowState, str]) -> Sequence[str]:
    return (
        str(result.line),
        harmless(recipient),
        words.get(result.state, result.state.value),
        _why(result),
        "; ".join(map(_name, result.messages)),
        str(result.order or ""),
    )


def _why(result: Result) -> str:
    if result.problems:
        return " ".join(f"{f'{p.column}: ' if p.column else ''}{FLAWS[p.problem]}" for p in result.problems)
    if result.state is RowState.FAILED and result.order is None:
        return FLAWS[Flaw.REFUSED]
    return _WHY.get(result.state, "")


def _name(message: str) -> str:
    channel, state, reason = message.split(" ")
    return result_name(Channel(channel), State(state), Reason(reason) if reason else None).v2


def harmless(field: str) -> str:
    """A field that no spreadsheet takes for a formula. A telephone number is none."""
    if field.startswith(_FORMULA) and not field[1:].replace(" ", "").isdigit():
        return f"'{field}"
    return field


def _taken(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()
