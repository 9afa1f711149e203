"""The register of businesses' notification addresses, simulated (registries 3, 8): its feed, and who takes changes."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from aiohttp import web

from varsel.domain.identifiers import valid_organisation_number
from varsel.recipients.load.rows import Kind, OrgAddress
from varsel.simulators.registry_server import Fault, FaultKind, Handler, RegistrySimulator, Reply, now_utc
from varsel.simulators.world import World

FEED: Final = "/varslingsadresser/fragments/json/v1"
DEFINE: Final = "/define"
REPLACE: Final = "/replace/"
READ: Final = "/api/varslingsadresser/"
_MAX_PAGE: Final = 10_000
_ACCEPTED: Final = {"status": "OK", "boolResult": True, "details": None}


@dataclass(frozen=True, slots=True)
class Change:
    """`row`: None for a removal."""

    registry_id: str
    updated: datetime
    row: OrgAddress | None


class BusinessAddressesSimulator(RegistrySimulator):
    """`log`: all changes, oldest first. What is sent here shows in the feed after `lag`.

    `history`: every change is told, not only each address's last. `since_inclusive`: also changes of just that time.
    """

    def __init__(
        self,
        world: World,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        now: Callable[[], datetime] = now_utc,
        lag: timedelta = timedelta(seconds=2),
        page_size: int | None = None,
        history: bool = False,
        since_inclusive: bool = False,
    ) -> None:
        """`page_size`: at most so many entries, whatever is asked for."""
        super().__init__(world, {FEED: self._feed, DEFINE: self._define}, host=host, port=port, now=now)
        self.lag = lag
        self.page_size = page_size
        self.history = history
        self.since_inclusive = since_inclusive
        self.log: list[Change] = []
        self.instead: list[Any] | None = None  # told in the place of each page's entries
        self._told: dict[str, OrgAddress] = {}
        self._notice()

    def change(self, row: OrgAddress, *, at: datetime | None = None) -> None:
        """An address is new, or another. A deleted row removes it. `at`: when that became so; None: now."""
        at = at or self.now()
        self.world.put(row)
        if row.deleted:
            self._told.pop(row.registry_id, None)
        else:
            self._told[row.registry_id] = row
        self.log.append(Change(row.registry_id, at, None if row.deleted else row))
        self.log.sort(key=lambda change: change.updated)  # a stable sort: equal times keep their order

    def put_fields(self, kind: Kind, fields: Mapping[str, str]) -> None:
        super().put_fields(kind, fields)
        self._notice()

    def find(self, request: web.Request) -> Handler | None:
        if request.method == "POST" and request.path.startswith(REPLACE):
            return self._replace
        if request.method == "GET" and request.path.startswith(READ):
            return self._addresses
        expected = "GET" if request.path == FEED else "POST"
        return self._routes.get(request.path) if request.method == expected else None

    def bend(self, reply: Reply, fault: Fault) -> Reply:
        match fault.kind:
            case FaultKind.EMPTY_PAGE:
                return replace(reply, body={**reply.body, "entries": []})
            case FaultKind.FOREIGN_PAGE:
                return replace(reply, body={**reply.body, "nextPage": "http://other.example/page"})
            case FaultKind.PAGE_LOOP:
                return replace(
                    reply, body={**reply.body, "nextPage": f"{self.url.rstrip('/')}{FEED}?cursor={_mark(0, None)}"}
                )
            case FaultKind.REFUSED:
                return _refused("The address is not accepted")
            case _:
                return super().bend(reply, fault)

    def _notice(self) -> None:
        """Note what has changed in the world."""
        for number in list(self.world.organisations):
            for row in self.world.addresses(number) or ():
                known = self._told.get(row.registry_id)
                if known is not row and not (known is None and (row.deleted or not row.accepted)):
                    self.change(row, at=row.updated_at)

    def _feed(self, request: web.Request, _body: Any) -> Reply:
        self._notice()
        try:
            size = int(request.query.get("pageSize", "1000"))
            start, since = _read_mark(request.query["cursor"]) if "cursor" in request.query else (0, None)
            if "since" in request.query:
                since = datetime.fromisoformat(request.query["since"])
        except ValueError:
            return Reply({}, status=400)
        if not 1 <= size <= _MAX_PAGE:
            return Reply({}, status=400)
        size = min(size, self.page_size or size)
        now = self.now()
        told = [(n, c) for n, c in enumerate(self.log) if n >= start and c.updated <= now and self._concerns(c, since)]
        if not self.history:
            last = {change.registry_id: n for n, change in enumerate(self.log) if change.updated <= now}
            told = [(n, c) for n, c in told if last[c.registry_id] == n and (since is not None or c.row)]
        page: dict[str, Any] = {
            "title": "Varslingsadresser",
            "updated": f"{now:%Y-%m-%dT%H:%M:%S.%f}000Z",
            "entries": self.instead or [_entry(change) for _, change in told[:size]],
        }
        if len(told) > size:
            page["nextPage"] = f"{self.url.rstrip('/')}{FEED}?pageSize={size}&cursor={_mark(told[size][0], since)}"
        return Reply(page, entries="entries")

    def _concerns(self, change: Change, since: datetime | None) -> bool:
        return since is None or change.updated > since or (self.since_inclusive and change.updated == since)

    def _define(self, _request: web.Request, body: Any) -> Reply:
        row = _read(body)
        return self._accept(row) if isinstance(row, OrgAddress) else row

    def _replace(self, request: web.Request, body: Any) -> Reply:
        registry_id = request.path.removeprefix(REPLACE)
        known = self._told.get(registry_id)
        if known is None:
            return _refused("The address is not known")
        if body is None:
            return self._accept(known._replace(deleted=True))
        row = _read(body)
        return self._accept(row._replace(registry_id=registry_id)) if isinstance(row, OrgAddress) else row

    def _accept(self, row: OrgAddress) -> Reply:
        if not row.registry_id:
            made = hashlib.md5(f"{len(self.log)}/{row.org_no}/{row.address}".encode(), usedforsecurity=False)
            row = row._replace(registry_id=made.hexdigest())
        self.change(row, at=self.now() + self.lag)
        return Reply({**_ACCEPTED, "addressId": row.registry_id, "traceId": f"trace-{len(self.log)}"})

    def _addresses(self, request: web.Request, _body: Any) -> Reply:
        rows = [row for row in self.world.addresses(request.path.removeprefix(READ)) or () if not row.deleted]
        if not rows:
            return Reply({}, status=404)
        listed = [{"kontaktinformasjon": _contact(row)["Kontaktinformasjon"]} for row in rows]
        return Reply({"_embedded": {"varsling": {"varslingsadresser": listed}}}, content_type="application/hal+json")


def _entry(change: Change) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": change.registry_id, "updated": f"{change.updated:%Y-%m-%dT%H:%M:%S.%f}0Z"}
    if change.row is None:
        return entry | {"title": "", "isdeleted": True}
    return entry | {
        "title": change.row.label or change.row.address,
        "isdeleted": False,
        "content": json.dumps(_contact(change.row), ensure_ascii=False),
    }


def _contact(row: OrgAddress) -> dict[str, Any]:
    if row.kind == "email":
        user, _, host = row.address.rpartition("@")
        full = {"fullstendigAdresse": row.address}
        address: dict[str, Any] = {"epostadresse": {"navn": "", "brukernavn": user, "domenenavn": host, **full}}
    else:
        prefix, number = ("47", row.address[3:]) if row.address.startswith("+47") else (None, row.address)
        address = {"mobiltelefon": {"navn": "", "internasjonaltPrefiks": prefix, "nasjonaltNummer": number}}
    return {
        "Kontaktinformasjon": {
            "identifikator": row.registry_id,
            "digitalVarslingsinformasjon": address,
            "kontaktinformasjonForEnhet": {"enhetsidentifikator": {"verdi": row.org_no, "type": "ORGANISASJONSNUMMER"}},
        }
    }


def _read(body: Any) -> OrgAddress | Reply:
    """An address that was sent here, yet without an id; or the refusal."""
    match body:
        case {
            "Kontaktinformasjon": {
                "digitalVarslingsinformasjon": dict(address),
                "kontaktinformasjonForEnhet": dict(unit),
            }
        }:
            number = str(unit.get("enhetsidentifikator", {}).get("verdi", ""))
        case _:
            return _refused("No contact information")
    if not valid_organisation_number(number):
        return _refused(f"{number} is not a valid Norwegian organization number")
    match address:
        case {"epostadresse": {"brukernavn": str(user), "domenenavn": str(host)}}:
            kind, value = "email", f"{user}@{host}"
        case {"mobiltelefon": {"internasjonaltPrefiks": str(prefix), "nasjonaltNummer": str(digits)}}:
            kind, value = "sms", f"+{prefix.lstrip('+')}{digits}"
        case _:
            return _refused("No address")
    return OrgAddress("", number, kind, value, value, accepted=True, deleted=False, updated_at=None)


def _refused(details: str) -> Reply:
    return Reply({"status": "VALIDATION_ERROR", "boolResult": False, "traceId": "trace", "details": details})


def _mark(start: int, since: datetime | None) -> str:
    """An opaque cursor: where the page begins, and since when changes count."""
    return base64.urlsafe_b64encode(f"{start} {since.isoformat() if since else ''}".encode()).decode()


def _read_mark(mark: str) -> tuple[int, datetime | None]:
    start, _, since = base64.urlsafe_b64decode(mark).decode().partition(" ")
    return int(start), datetime.fromisoformat(since) if since else None
