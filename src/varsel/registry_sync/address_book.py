"""Who administers an organisation changes its official addresses (registries 3.7): the register first, then our copy.

What the register has taken shows in its feed, which confirms our row, or heals it when we could not write.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from varsel.clock import Clock
from varsel.db import Conn, Database, UniqueViolation
from varsel.domain.errors import Unavailable
from varsel.log import Log
from varsel.registry_sync import address_book_store as store
from varsel.registry_sync.address_book_store import Listed, Value
from varsel.registry_sync.ports import AddressReception

log = Log(__name__)

T = TypeVar("T")

_ORGANISATION: Final = "ORGANISASJONSNUMMER"


class Outcome(StrEnum):
    CREATED = "created"
    EXISTED = "existed"
    CHANGED = "changed"
    NOT_FOUND = "not found"
    TAKEN = "taken"  # another address of the organisation is the same
    LAST = "last"  # an organisation keeps one address
    HEALING = "healing"  # the register has it; our copy will follow by the feed


@dataclass(frozen=True, slots=True)
class Result:
    """`address`: the one that is meant now; of TAKEN the other."""

    outcome: Outcome
    address: Listed | None = None


class AddressBook:
    """`reception`: None where no register stands above our copy; then what is written counts at once."""

    def __init__(self, db: Database, clock: Clock, reception: AddressReception | None) -> None:
        self._db = db
        self._clock = clock
        self._reception = reception

    async def of(self, org_no: str) -> list[Listed] | None:
        """The addresses that are not deleted, in a stable order; None for an organisation that nobody knows."""
        async with self._db.reading() as conn:
            found = await store.listed(conn, org_no)
            if not found and not await store.is_known(conn, org_no):
                return None
        return [address for address in found if not address.deleted]

    async def create(self, org_no: str, value: Value) -> Result:
        """Raises `UpstreamError` when the register does not take it; then nothing is stored."""
        twin = _twin(await self._all(org_no), value)
        if twin and not twin.deleted:
            return Result(Outcome.EXISTED, twin)
        registry_id = await self._define(org_no, value)
        return await self._keep(
            Outcome.CREATED,
            lambda conn: store.add(
                conn, org_no, value, registry_id, accepted=self._reception is None, now=self._clock.now()
            ),
        )

    async def change(self, org_no: str, address_id: int, value: Value) -> Result:
        """Raises `UpstreamError` when the register does not take it; then nothing is stored."""
        addresses = await self._all(org_no)
        mine = _active(addresses, address_id)
        if mine is None:
            return Result(Outcome.NOT_FOUND)
        if (mine.kind, mine.address) == (value.kind, value.address):
            return Result(Outcome.CHANGED, mine)
        twin = _twin([address for address in addresses if address is not mine], value)
        if twin and not twin.deleted:
            return Result(Outcome.TAKEN, twin)
        registry_id = await self._replace(mine, org_no, value)
        return await self._keep(
            Outcome.CHANGED,
            lambda conn: store.change(
                conn, mine, value, registry_id, twin_id=twin.id if twin else None, now=self._clock.now()
            ),
        )

    async def delete(self, org_no: str, address_id: int) -> Result:
        """Raises `UpstreamError` when the register does not take it; then nothing is stored."""
        addresses = await self._all(org_no)
        mine = _active(addresses, address_id)
        if mine is None:
            return Result(Outcome.NOT_FOUND)
        if sum(not address.deleted for address in addresses) == 1:
            return Result(Outcome.LAST)
        await self._replace(mine, org_no, None)
        return await self._keep(Outcome.CHANGED, lambda conn: store.delete(conn, mine, now=self._clock.now()))

    async def _all(self, org_no: str) -> list[Listed]:
        async with self._db.reading() as conn:
            return await store.listed(conn, org_no)

    async def _define(self, org_no: str, value: Value) -> str:
        if self._reception is None:
            return _own_id(org_no, value.kind, value.address)
        return await self._reception.define(_contact(org_no, value))

    async def _replace(self, mine: Listed, org_no: str, value: Value | None) -> str:
        """The registry id from now on. What came from a file has no place in the register."""
        if self._reception is None or mine.source in {"file", "synthetic"}:
            ours = mine.registry_id == _own_id(org_no, mine.kind, mine.address)
            return _own_id(org_no, value.kind, value.address) if ours and value else mine.registry_id
        return await self._reception.replace(mine.registry_id, value and _contact(org_no, value))

    async def _keep(self, outcome: Outcome, write: Callable[[Conn], Coroutine[Any, Any, Listed | None]]) -> Result:
        for _ in range(2):
            try:
                async with self._db.transaction() as conn:
                    kept = await write(conn)
                return Result(outcome, kept) if kept else Result(Outcome.LAST)
            except UniqueViolation:  # the feed was quicker than we: look again
                continue
            except Unavailable:
                break
        if self._reception is None:
            raise Unavailable("the database")
        log.warning("registry change not stored", outcome=outcome)
        return Result(Outcome.HEALING)


def _own_id(org_no: str, kind: str, address: str) -> str:
    """The registry id of what has none of its own: as file loads make it."""
    return f"{org_no}/{kind}/{address.lower()}"


def _active(addresses: list[Listed], address_id: int) -> Listed | None:
    return next((address for address in addresses if address.id == address_id and not address.deleted), None)


def _twin(addresses: list[Listed], value: Value) -> Listed | None:
    """The same address in any letter case; an active one before a deleted one."""
    same = [a for a in addresses if a.kind == value.kind and a.address.lower() == value.address.lower()]
    return min(same, key=lambda address: address.deleted, default=None)


def _contact(org_no: str, value: Value) -> Mapping[str, Any]:
    if value.kind == "email":
        user, _, host = value.address.rpartition("@")
        address: dict[str, Any] = {"epostadresse": {"brukernavn": user, "domenenavn": host}}
    else:
        number = {"internasjonaltPrefiks": value.country_code, "nasjonaltNummer": value.national_number}
        address = {"mobiltelefon": number}
    unit = {"enhetsidentifikator": {"type": _ORGANISATION, "verdi": org_no}}
    return {"Kontaktinformasjon": {"digitalVarslingsinformasjon": address, "kontaktinformasjonForEnhet": unit}}
