"""What can go wrong, sorted by who must act: you (`Refused`), or time (`Unavailable`, `NotEnded`)."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from varsel.client.answers import Shipment
from varsel.client.exchange import Reply


class VarselError(Exception):
    """Anything that this client raises. `idempotency_id`: of the order that it was about, to order it once more."""

    idempotency_id: str | None = None


class Unavailable(VarselError):
    """The service did not answer in time, or not usably. Trying again later may help.

    `outcome_unknown`: a request went out whose answer never came, so that an order may stand. Order it again with the
    same `idempotency_id`: it is not stored twice.
    """

    def __init__(self, message: str, *, outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.outcome_unknown = outcome_unknown


class NotEnded(VarselError):
    """The time that you wait for a fate is over. `shipment`: as it stood last."""

    def __init__(self, shipment: Shipment) -> None:
        super().__init__(f"shipment {shipment.shipment_id} is still {shipment.status}")
        self.shipment = shipment


class Unexpected(VarselError):
    """Something is there, but not this API: another program, a proxy's own page, a certificate that is not trusted."""


class Refused(VarselError):
    """The service said no, and will say so again.

    `errors`: what is wrong, by the path of the property, as `Recipient.RecipientEmail.EmailAddress`. `trace_id`: for
    whoever runs the service.
    """

    def __init__(self, reply: Reply) -> None:
        problem = _problem(reply.content)
        self.status = reply.status
        self.code: str | None = problem.get("code")
        self.trace_id: str | None = problem.get("traceId")
        self.errors: Mapping[str, tuple[str, ...]] = _errors(problem.get("errors"))
        self.detail = str(problem.get("detail") or problem.get("title") or self._in_words())
        super().__init__(f"{self.detail} ({self.status}){self._named()}")

    def _in_words(self) -> str:
        return "the service refused the request"

    def _named(self) -> str:
        return "".join(f"\n  {path}: {' '.join(messages)}" for path, messages in self.errors.items())


class Invalid(Refused):
    """Rules are broken; `errors` has all of a stage."""


class Unauthorised(Refused):
    """No token, or one that is not valid any more."""

    def _in_words(self) -> str:
        return "the service does not take this token"


class Forbidden(Refused):
    """The token lacks a scope, or names no creator."""

    def _in_words(self) -> str:
        return "the token does not allow this"


class NotFound(Refused):
    """There is none, or it is not yours."""

    def _in_words(self) -> str:
        return "there is none, or it is not yours"


class Conflict(Refused):
    """It is too late to cancel it, or the idempotency id was used for another order."""


class NobodyReachable(Refused):
    """Nobody who must be looked up has an address for the channel: nothing is stored."""


class LimitReached(Refused):
    """A limit of yours is used up until `reset_time`: nothing is stored."""

    def __init__(self, reply: Reply) -> None:
        problem = _problem(reply.content)
        self.limit_name: str | None = problem.get("limitName")
        self.limit: int | None = problem.get("limit")
        self.reset_time = _instant(problem.get("resetTime"))
        super().__init__(reply)


_KINDS: Mapping[int, type[Refused]] = {
    400: Invalid,
    401: Unauthorised,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: NobodyReachable,
    429: LimitReached,
}


def refusal(reply: Reply) -> VarselError:
    """What an answer that is no success means."""
    if 400 <= reply.status < 500:
        return _KINDS.get(reply.status, Refused)(reply)
    return Unexpected(f"status {reply.status} is not one of this API's answers")


def untrusted(url: str, error: Exception) -> VarselError:
    """Whoever is there cannot prove to be the service: trying again is of no use."""
    why = getattr(error, "verify_message", "") or type(error).__name__
    return Unexpected(f"the certificate of {url} is not trusted: {why}")


def _problem(content: bytes) -> dict[str, Any]:
    try:
        problem = json.loads(content)
    except ValueError:  # most refusals of tokens have no body
        return {}
    return problem if isinstance(problem, dict) else {}


def _errors(found: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(found, dict):
        return {}
    return {str(path): tuple(map(str, texts)) for path, texts in found.items() if isinstance(texts, list)}


def _instant(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None
