"""Writes `docs/states.md` from the tables that the code obeys, `docs/api-reference.md` from the OpenAPI document.

Also the meanings of settings that the pages show.

`make docs` runs it; tests compare what it writes with what there is.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from varsel.domain.notification import FATES, NAMES, NEXT, Channel, Reason, State
from varsel.domain.order import ORDER_STATE_NAMES

FILE: Final = Path(__file__).with_name("states.md")
OPERATIONS: Final = Path(__file__).with_name("operations.md")
MEANINGS: Final = Path(__file__).parents[1] / "src/varsel/ui/settings.toml"

_MEANINGS: Final = {
    State.NEW: "nobody holds it: it is due, or waits until its `wake_at`",
    State.CLAIMED: "a worker holds it and nothing has left",
    State.SENDING: "bytes may have left. Never stored: a claimed row up to its claim's hand-over mark",
    State.UNKNOWN: "it left, or may have, and no answer came",
    State.ACCEPTED: "the provider took it",
    State.DELIVERED: "somebody reported that it arrived",
    State.FAILED: "it will not arrive; the reason says why",
    State.EXPIRED: "its time ran out: nothing left, or a provider that does confirm stayed silent",
}

_ORDER_MOVES: Final = (
    ("Registered", "Processing", "a worker claimed it, because it is due"),
    ("Processing", "Registered", "it waits: a register is down, a condition could not be checked, or its worker died"),
    ("Processing", "Processed", "its notifications are stored, and some of them have no fate yet"),
    ("Processing", "Completed", "its notifications are stored, and all of them have a fate at once"),
    ("Processing", "SendConditionNotMet", "its condition said no"),
    ("Processed", "Completed", "the last of its notifications got a fate"),
    ("Registered", "Cancelled", "its creator cancelled it in time"),
)


def document() -> str:
    parts = (_heading(), _notification(), _names(), _order())
    return "\n".join(line for part in parts for line in part)


def _heading() -> Iterator[str]:
    yield "# States"
    yield ""
    yield "Generated from `src/varsel/domain/notification.py` and `src/varsel/domain/order.py`: change those, run"
    yield "`make docs`, and never edit this page. What the moves mean, and who makes them, is in [flow.md](flow.md)."
    yield ""


def _notification() -> Iterator[str]:
    yield "## A notification"
    yield ""
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield "    [*] --> new"
    yield "    [*] --> failed: nobody to send to"
    yield "    [*] --> expired: too late already"
    for state, following in NEXT.items():
        yield from (f"    {state} --> {after}" for after in State if after in following)
    yield "```"
    yield ""
    moves = (
        (f"`{state}`", _MEANINGS[state], ", ".join(f"`{after}`" for after in State if after in following))
        for state, following in NEXT.items()
    )
    yield from _table(("State", "Meaning", "May become"), sorted(moves, key=_by_state))
    yield f"Fates: {', '.join(f'`{state}`' for state in State if state in FATES)}; and `accepted` once it has settled,"
    yield "because nobody will confirm it. A fate is left only by a correction: a later report, within the correction"
    yield "period."
    yield ""


def _by_state(row: Sequence[str]) -> int:
    return [f"`{state}`" for state in State].index(row[0])


def _names() -> Iterator[str]:
    yield "## What the API calls an outcome"
    yield ""
    yield "`claimed`, `sending` and `unknown` are all shown as *Sending*. *Succeeded* says whether v1 counts the"
    yield "notification among the succeeded ones. The v2 names are those of the entries in the status feed."
    yield ""
    for channel, title in ((Channel.EMAIL, "Email"), (Channel.SMS, "SMS")):
        yield f"### {title}"
        yield ""
        rows = (
            (_cause(outcome), f"`{name.v1}`", f"`{name.v2}`", "yes" if name.succeeded else "", name.description)
            for outcome, name in NAMES[channel].items()
        )
        yield from _table(("Stored as", "v1 status", "v2 status", "Succeeded", "v1 description"), rows)


def _cause(outcome: State | Reason) -> str:
    return f"`{outcome}`" if isinstance(outcome, State) else f"`{State.FAILED}`, {outcome.name}"


def _order() -> Iterator[str]:
    yield "## An order"
    yield ""
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield "    [*] --> Registered"
    yield from (f"    {before} --> {after}" for before, after, _ in _ORDER_MOVES)
    yield "```"
    yield ""
    yield from _table(("From", "To", "When"), ((f"`{a}`", f"`{b}`", why) for a, b, why in _ORDER_MOVES))
    names = ((f"`{s}`", f"`{n.v1}`", f"`{n.v2}`", n.description) for s, n in ORDER_STATE_NAMES.items())
    yield from _table(("Stored as", "v1 status", "v2 status", "v1 description"), names)


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heading)} |"
    yield f"|{' --- |' * len(heading)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def meanings() -> str:
    """What each setting means, as the page of operations says it, in plain text."""
    section = OPERATIONS.read_text(encoding="utf-8").partition("\n## Settings\n")[2]
    rows = re.findall(r"^\| `([a-z_.0-9]+)` \| [^|]+ \| ([^|]*)\|$", section, re.MULTILINE)
    lines = [f"{json.dumps(name)} = {json.dumps(_plain(meaning), ensure_ascii=False)}" for name, meaning in rows]
    return "\n".join(["# Written by `make docs` from docs/operations.md.", *lines, ""])


def _plain(markdown: str) -> str:
    return re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", markdown).replace("`", "").strip()


if __name__ == "__main__":
    import reference  # beside this file, which is where Python looks first

    MEANINGS.write_text(meanings(), encoding="utf-8")
    FILE.write_text(document(), encoding="utf-8")
    reference.FILE.write_text(reference.document(), encoding="utf-8")
