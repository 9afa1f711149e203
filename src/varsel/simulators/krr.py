"""KRR, simulated (registries 2, 8): the look-up, and a change feed over a log that only grows."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from aiohttp import web

from varsel.recipients.load.rows import Kind, Person
from varsel.simulators.registry_server import Fault, FaultKind, Handler, RegistrySimulator, Reply, now_utc
from varsel.simulators.world import World, is_stale

LOOKUP: Final = "/rest/v2/personer"
CHANGES: Final = "/rest/v2/krr/hentEndringer"
CONTACT_SCOPE: Final = "krr:global/kontaktinformasjon.read"
FEED_SCOPE: Final = "krr:global/hentendring.read"
_MAX_PERSONS: Final = 1_000
_OSLO_IN_SUMMER: Final = timezone(timedelta(hours=2))

Claims = Callable[[str | None], Mapping[str, Any] | None]
"""From a request's `Authorization` to what its token says; None for a bad one."""


class KrrSimulator(RegistrySimulator):
    """A change of the world is a change of the register.

    `page_size`: change numbers in a page. `history`: every snapshot is told, not only each person's present one.
    `include_from`: a page begins with the change that was named.
    """

    def __init__(
        self,
        world: World,
        claims: Claims,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        now: Callable[[], datetime] = now_utc,
        page_size: int = 1_000,
        history: bool = False,
        include_from: bool = False,
    ) -> None:
        routes: dict[str, Handler] = {CHANGES: self._changes, LOOKUP: self._lookup, "/rest/v1/personer": self._lookup}
        super().__init__(world, routes, host=host, port=port, now=now)
        self.page_size = page_size
        self.history = history
        self.include_from = include_from
        self.log: list[Person] = []  # the first change has number 1
        self.instead: list[Any] | None = None  # told in the place of each page's people
        self._claims = claims
        self._told: dict[str, Person] = {}
        self._notice()

    @property
    def latest(self) -> int:
        return len(self.log)

    def change(self, person: Person) -> None:
        """Also when it says what is known already."""
        self.world.put(person)
        self._log(person)

    def put_fields(self, kind: Kind, fields: Mapping[str, str]) -> None:
        super().put_fields(kind, fields)
        self._notice()

    def bend(self, reply: Reply, fault: Fault) -> Reply:
        if reply.status != 200:
            return reply
        page = reply.body
        match fault.kind:
            case FaultKind.EMPTY_PAGE:
                return replace(reply, body={**page, "list": []})
            case FaultKind.STANDSTILL:
                latest = max(page["sisteEndringsId"], page["fraEndringsId"] + 1)
                still = {"list": [], "tilEndringsId": page["fraEndringsId"], "sisteEndringsId": latest}
                return replace(reply, body={**page, **still})
            case FaultKind.RESET_LOG:
                begun = {"tilEndringsId": 0, "sisteEndringsId": 0, "list": []}
                return replace(reply, body={**page, **begun})
            case _:
                return super().bend(reply, fault)

    def _notice(self) -> None:
        """Note what has changed in the world."""
        for number, person in list(self.world.persons.items()):
            if self._told.get(number) is not person:
                self._log(person)

    def _log(self, person: Person) -> None:
        self.log.append(person)
        self._told[person.subject_key] = person

    def _changes(self, request: web.Request, body: Any) -> Reply:
        claims = self._claims(request.headers.get("Authorization"))
        if claims is None:
            return Reply({}, status=401)
        scopes = claims["scope"].split()
        if FEED_SCOPE not in scopes:
            return Reply({}, status=403)
        since = body.get("fraEndringsId") if isinstance(body, dict) else None
        if not isinstance(since, int) or since < 0:
            return Reply({"error": "fraEndringsId"}, status=400)
        self._notice()
        until = max(since, min(since + self.page_size, self.latest))
        first = max(since - 1, 0) if self.include_from else since
        people = self.log[first:until]
        if not self.history:
            people = [self._told[number] for number in dict.fromkeys(p.subject_key for p in people)]
        return Reply(
            {
                "list": self.instead or [_snapshot(person, scopes, self.now()) for person in people],
                "fraEndringsId": since,
                "tilEndringsId": until,
                "sisteEndringsId": self.latest,
            },
            entries="list",
        )

    def _lookup(self, request: web.Request, body: Any) -> Reply:
        claims = self._claims(request.headers.get("Authorization"))
        if claims is None:
            return Reply({}, status=401)
        numbers = body.get("personidentifikatorer") if isinstance(body, dict) else None
        if not isinstance(numbers, list) or not 0 < len(numbers) <= _MAX_PERSONS:
            return Reply({"error": "personidentifikatorer"}, status=400)
        return Reply({"personer": self._people(numbers, claims["scope"].split())}, entries="personer")

    def _people(self, numbers: Iterable[str], scopes: list[str]) -> list[dict[str, Any]]:
        found = []
        for number in dict.fromkeys(numbers):
            person = self.world.persons.get(number)
            if person is None:
                unknown = {"status": "IKKE_REGISTRERT", "varslingsstatus": "KAN_IKKE_VARSLES"}
                found.append({"personidentifikator": number, "reservasjon": "NEI", **unknown})
            else:
                found.append(_snapshot(person, scopes, self.now()))
        return found


def _snapshot(person: Person, scopes: list[str], now: datetime) -> dict[str, Any]:
    """What the register says of somebody to who has these scopes."""
    told: dict[str, Any] = {
        "personidentifikator": person.subject_key,
        "reservasjon": "JA" if person.reserved else "NEI",
        "status": "SLETTET" if person.deleted else "AKTIV",
    }
    if CONTACT_SCOPE not in scopes:
        return told
    contact = _contact(person)
    can = contact and not person.reserved and not _all_stale(person, now)
    told["varslingsstatus"] = "KAN_VARSLES" if can else "KAN_IKKE_VARSLES"
    if not person.deleted:
        told |= {"spraak": person.language or "nb"}
        if contact:
            told["kontaktinformasjon"] = contact
    return told


def _contact(person: Person) -> dict[str, str]:
    members = {
        "epostadresse": person.email,
        "epostadresse_oppdatert": _spelled(person.email_updated_at, 0),
        "epostadresse_sist_verifisert": _spelled(person.email_verified_at, 1),
        "mobiltelefonnummer": person.mobile,
        "mobiltelefonnummer_oppdatert": _spelled(person.mobile_updated_at, 2),
        "mobiltelefonnummer_sist_verifisert": _spelled(person.mobile_verified_at, 0),
    }
    return {name: value for name, value in members.items() if value is not None}


def _all_stale(person: Person, now: datetime) -> bool:
    return is_stale(person.email_updated_at, person.email_verified_at, now) and is_stale(
        person.mobile_updated_at, person.mobile_verified_at, now
    )


def _spelled(time: datetime | None, spelling: int) -> str | None:
    """In one of the register's three spellings (registries 2.2)."""
    if time is None:
        return None
    local = time.astimezone(_OSLO_IN_SUMMER).isoformat()
    return (local.removesuffix(":00"), local, time.astimezone(UTC).isoformat().replace("+00:00", "Z"))[spelling]
