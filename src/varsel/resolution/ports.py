"""What the resolution stage needs from a send condition's endpoint (processing 3.4)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Verdict(StrEnum):
    MET = "met"
    NOT_MET = "not met"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` is the HTTP status when one came; `detail` is short and holds no content of the answer."""

    verdict: Verdict
    status: int | None = None
    detail: str = ""


class Conditions(Protocol):
    async def check(self, url: str) -> Answer:
        """Ask whether the notification shall be sent. Never raises; what cannot be told is inconclusive."""
        ...
