"""Pure: an order's story as a page tells it, from the same facts and events as `GET …/explain`.

An outcome takes in the report that brought it, and the end of an order the entry of the feed that told of it; long
waits are told as such.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from varsel.domain.ids import NotificationId
from varsel.domain.notification import Channel
from varsel.status.explain import Event, EventKind, Facts, NotificationFacts, Story
from varsel.ui.masking import Covered, Masks
from varsel.ui.outcome import Outcome, Standing, outcome_of
from varsel.ui.words import Words

_LONG: Final = timedelta(minutes=1)
_CLOSE: Final = timedelta(seconds=5)

_LOOKS: Final[Mapping[EventKind, tuple[str, str]]] = {  # family and icon
    EventKind.ORDER_REGISTERED: ("waiting", "inbox"),
    EventKind.CONDITION_CHECKED: ("working", "fork"),
    EventKind.NOTIFICATION_CREATED: ("working", "plus"),
    EventKind.ATTEMPT_ACCEPTED: ("handed", "send"),
    EventKind.ATTEMPT_REFUSED: ("failed", "failed"),
    EventKind.ATTEMPT_DEFERRED: ("attention", "attention"),
    EventKind.ATTEMPT_UNKNOWN: ("attention", "attention"),
    EventKind.ATTEMPT_ABANDONED: ("attention", "attention"),
    EventKind.ATTEMPT_SUPPRESSED: ("stopped", "stopped"),
    EventKind.ATTEMPT_WITHHELD: ("failed", "failed"),
    EventKind.REPORT_DEAD: ("attention", "attention"),
    EventKind.FALLBACK_OPENED: ("working", "turn"),
    EventKind.FALLBACK_DECIDED: ("working", "fork"),
    EventKind.ORDER_PROCESSED: ("working", "working"),
    EventKind.ORDER_COMPLETED: ("waiting", "book"),
    EventKind.ORDER_STOPPED: ("stopped", "stopped"),
    EventKind.ORDER_CANCELLED: ("stopped", "stopped"),
}
_TURNS: Final = frozenset(
    {
        EventKind.NOTIFICATION_FAILED,
        EventKind.NOTIFICATION_EXPIRED,
        EventKind.NOTIFICATION_UNREACHABLE,
        EventKind.ATTEMPT_DEFERRED,
        EventKind.ATTEMPT_UNKNOWN,
        EventKind.ATTEMPT_ABANDONED,
        EventKind.ATTEMPT_SUPPRESSED,
        EventKind.ATTEMPT_WITHHELD,
        EventKind.FALLBACK_OPENED,
        EventKind.ORDER_STOPPED,
        EventKind.ORDER_CANCELLED,
    }
)
_BOXED: Final = frozenset(
    {EventKind.NOTIFICATION_FAILED, EventKind.NOTIFICATION_EXPIRED, EventKind.NOTIFICATION_UNREACHABLE}
)
_FATES: Final = frozenset(
    {EventKind.NOTIFICATION_DELIVERED, EventKind.NOTIFICATION_FAILED, EventKind.NOTIFICATION_EXPIRED}
)
_WAITED_FOR: Final[Mapping[EventKind, str]] = {
    EventKind.NOTIFICATION_CREATED: "time",
    EventKind.NOTIFICATION_UNREACHABLE: "time",
    EventKind.CONDITION_CHECKED: "time",
    EventKind.NOTIFICATION_DELIVERED: "receipt",
    EventKind.NOTIFICATION_FAILED: "receipt",
    EventKind.NOTIFICATION_EXPIRED: "receipt",
    EventKind.REPORT_APPLIED: "receipt",
}


@dataclass(frozen=True, slots=True)
class Line:
    """`key`: of `story.<key>.title` and `.text`. `outcome`: its sentence is the text. `wait`: before it, and for what.

    `notes` are technical: codes, and what providers said.
    """

    at: datetime
    key: str
    family: str
    icon: str
    channel: Channel | None = None
    outcome: Outcome | None = None
    provider: str = ""
    attempt: int = 0
    to: Covered | None = None
    notes: tuple[str, ...] = ()
    turn: bool = False
    boxed: bool = False
    end: bool = False
    wait: timedelta | None = None
    waited_for: str = ""
    verdict: str = ""
    report: str = ""

    def values(self, words: Words) -> dict[str, object]:
        """What the texts of the line fill in."""
        said: dict[str, object] = {"provider": self.provider, "attempt": self.attempt}
        if self.channel:
            said |= {"thing": words.say(f"thing.{self.channel}"), "channel": words.say(f"inbox.{self.channel}")}
        if self.outcome:
            word = words.say(f"state.{self.outcome.key}.word")
            said["word"] = word if word[:3].isupper() else word[:1].lower() + word[1:]
        if self.verdict:
            said["verdict"] = words.say(f"story.verdict.{self.verdict}")
        return said


@dataclass
class _Teller:
    facts: Facts
    masks: Masks
    _by_id: dict[NotificationId, NotificationFacts] = field(init=False)

    def __post_init__(self) -> None:
        self._by_id = {n.id: n for n in self.facts.notifications}

    def lines(self, events: Sequence[Event]) -> list[Line]:
        lines: list[Line] = []
        kinds: list[Event] = []
        for event in events:
            previous = kinds[-1] if kinds else None
            if previous and lines and _belongs(event, previous):
                folded = replace(lines[-1], notes=(*lines[-1].notes, *_notes(event)))
                if event.kind in _FATES:  # the report came first: what it brought is the line
                    folded = replace(
                        self._line(event), notes=folded.notes, wait=folded.wait, waited_for=folded.waited_for
                    )
                    kinds[-1] = event
                lines[-1] = folded
            else:
                lines.append(self._line(event))
                kinds.append(event)
        return list(_with_waits(lines, kinds))

    def _line(self, event: Event) -> Line:
        found = self._by_id.get(event.notification) if event.notification else None
        family, icon = _LOOKS.get(event.kind, ("waiting", "waiting"))
        line = Line(
            event.at,
            event.kind.replace(".", "_"),
            family,
            icon,
            provider=event.provider or "",
            attempt=event.attempt or 0,
        )
        line = replace(line, notes=_notes(event), turn=event.kind in _TURNS, boxed=event.kind in _BOXED)
        if event.kind is EventKind.CONDITION_CHECKED:
            line = replace(line, key=f"{line.key}_{event.code}")
        if self.facts.fallback and event.kind.startswith("fallback."):
            line = replace(line, channel=self.facts.fallback.channel)
            if event.kind is EventKind.FALLBACK_DECIDED:
                line = replace(line, key=f"{line.key}_{event.code}")
        if event.kind.startswith("report."):
            line = replace(line, key="report", verdict=event.code or "", report=event.kind.partition(".")[2])
            if event.kind is not EventKind.REPORT_DEAD:
                line = replace(line, family="working", icon="inbox")
        if found:
            line = self._about(line, event, found)
        return line

    def _about(self, line: Line, event: Event, found: NotificationFacts) -> Line:
        line = replace(line, channel=found.channel)
        if event.kind is EventKind.NOTIFICATION_CREATED:
            line = replace(line, to=self.masks.address(found.address), icon=found.channel.value)
        elif event.kind in _FATES or event.kind is EventKind.NOTIFICATION_UNREACHABLE:
            outcome = outcome_of(standing_of(found))
            line = replace(line, outcome=outcome, family=outcome.family, icon=outcome.family)
            if event.kind is EventKind.NOTIFICATION_EXPIRED and found.accepted_at is None:
                line = replace(line, key="expired_here")
        return line


def told(story: Story, masks: Masks) -> list[Line]:
    """What has happened, oldest first; the last line is marked when nothing lies ahead."""
    lines = _Teller(story.facts, masks).lines(story.past)
    if lines and not story.ahead:
        lines[-1] = replace(lines[-1], end=True)
    return lines


def ahead(story: Story, masks: Masks) -> list[Line]:
    """What will happen by itself, soonest first."""
    lines = _Teller(story.facts, masks).lines(story.ahead)
    return [replace(line, key=f"ahead_{line.key}", icon="waiting", wait=None) for line in lines]


def standing_of(n: NotificationFacts) -> Standing:
    return Standing(n.channel, n.state, n.reason, n.settled, n.daytime, n.attempts, n.wake_at, n.expires_at)


def turning_points(lines: Iterable[Line]) -> list[Line]:
    kept = list(lines)
    return [line for line in kept if line.turn or line.end or line is kept[0] or line.key == "notification_delivered"]


def _belongs(event: Event, previous: Event) -> bool:
    """Whether it is told within the line of the event before it."""
    soon = event.at - previous.at <= _CLOSE
    if event.kind is EventKind.FEED_ENTRY:
        return previous.kind in (EventKind.ORDER_COMPLETED, EventKind.ORDER_STOPPED, EventKind.ORDER_CANCELLED)
    same = event.notification is not None and event.notification == previous.notification
    if event.kind in _FATES:
        return soon and same and previous.kind is EventKind.REPORT_APPLIED
    return soon and same and event.kind is EventKind.REPORT_APPLIED and previous.kind in _FATES


def _notes(event: Event) -> tuple[str, ...]:
    """Not the sentence of what holds an address."""
    said = [f"{event.kind}{f': {event.code}' if event.code else ''}"]
    if event.kind is EventKind.FEED_ENTRY or event.kind.startswith("report."):
        said.append(event.text)
    return (*said, event.detail) if event.detail else tuple(said)


def _with_waits(lines: Sequence[Line], events: Sequence[Event]) -> Iterator[Line]:
    before: datetime | None = None
    for line, event in zip(lines, events, strict=True):
        if before and line.at - before >= _LONG:
            waited_for = _WAITED_FOR.get(event.kind, "retry" if (event.attempt or 0) > 1 else "")
            yield replace(line, wait=line.at - before, waited_for=waited_for)
        else:
            yield line
        before = line.at
