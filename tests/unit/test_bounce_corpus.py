"""Bounces that came in the wild, as two packages ship them for their own tests (channels 2.3).

What each says was read by us and is written here; the packages' own readers are measured by the same list.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email import message_from_bytes
from importlib.resources import files
from importlib.resources.abc import Traversable
from uuid import UUID

import bounced
import pytest
from flufl.bounce import all_failures

from varsel.delivery.ports import Report, Verdict
from varsel.domain.ids import NotificationId
from varsel.providers.dsn import read_mail
from varsel.providers.verp import Verp

VERP = Verp("bounce.varsel.example", [b"key"])
ID = NotificationId(UUID("019ab000-0000-7000-8000-000000000001"))

FLUFL = "flufl.bounce"
BOUNCED = "bounced"
FOLDERS = {
    FLUFL: ["tests/data"],
    BOUNCED: ["tests/bounces", "tests/bounce_email/bounces", "tests/bounce_email/non_bounces", "tests/flufl_bounce"],
}

# all others say that a message failed
STILL_TRYING = {
    *("dsn_05", "dsn_06", "dsn_07", "dsn_08", "dsn_17"),
    *("simple_03", "simple_21", "simple_22", "simple_28", "simple_35", "simple_40"),
    *("tt_bounce_12_soft", "tt_bounce_18", "tt_bounce_19"),
}
NO_BOUNCE = {
    *("groupwise_03", "tt_1234241664"),  # ordinary mail
    *("qmail_08", "tt_1234210666", "tt_1234211024"),  # answers in somebody's absence
    "bounce-auto-respond",  # a complaint
}

Reading = Verdict | None
"""Failed, still trying, or no bounce."""


@dataclass(frozen=True)
class Specimen:
    package: str
    name: str
    raw: bytes

    @property
    def meaning(self) -> Reading:
        if self.name in NO_BOUNCE:
            return None
        return Verdict.DELAYED if self.name in STILL_TRYING else Verdict.FAILED


def specimens() -> Iterator[Specimen]:
    for package, folders in FOLDERS.items():
        for folder in folders:
            for file in sorted(files(package).joinpath(folder).iterdir(), key=lambda file: file.name):
                if file.name.endswith((".txt", ".eml")):
                    yield Specimen(package, stem(file), file.read_bytes())


def stem(file: Traversable) -> str:
    return file.name.rpartition(".")[0]


CORPUS = list(specimens())


def ours(raw: bytes) -> Reading:
    found = read_mail(raw, recipient=VERP.make(ID), sender="<>", verp=VERP)
    if not isinstance(found, Report) or found.verdict not in (Verdict.FAILED, Verdict.DELAYED):
        return None
    assert found.notification == ID
    return found.verdict


def by_flufl(raw: bytes) -> Reading:
    temporary, permanent = all_failures(message_from_bytes(raw))
    if permanent:
        return Verdict.FAILED
    return Verdict.DELAYED if temporary else None


def by_bounced(raw: bytes) -> Reading:
    found = bounced.get_bounces(message_from_bytes(raw))
    if not found:
        return None
    return Verdict.DELAYED if all(bounce.action == "delayed" for bounce in found) else Verdict.FAILED


def score(read: Callable[[bytes], Reading], package: str | None = None) -> tuple[int, int]:
    """How many are read rightly, of how many."""
    chosen = [specimen for specimen in CORPUS if package in (None, specimen.package)]
    return sum(read(specimen.raw) is specimen.meaning for specimen in chosen), len(chosen)


def test_there_are_over_two_hundred_of_them() -> None:
    assert len({specimen.raw for specimen in CORPUS if specimen.meaning}) >= 200  # many names come twice: abridged
    assert {specimen.name for specimen in CORPUS} > STILL_TRYING | NO_BOUNCE


@pytest.mark.parametrize(("package", "theirs"), [(FLUFL, by_flufl), (BOUNCED, by_bounced), (None, by_flufl)])
def test_bounces_in_the_wild_are_read_no_worse_than_by_the_packages_that_bring_them(
    package: str | None, theirs: Callable[[bytes], Reading]
) -> None:
    (right, of), (right_of_theirs, _) = score(ours, package), score(theirs, package)
    print(f"{package or 'both'}: {right} of {of} right; {theirs.__name__} {right_of_theirs}")
    assert right >= right_of_theirs
    assert right / of > 0.95


def test_what_is_no_bounce_is_never_taken_for_a_failure() -> None:
    for specimen in CORPUS:
        if specimen.meaning is not Verdict.FAILED:
            assert ours(specimen.raw) is not Verdict.FAILED, specimen.name
