"""Altinn Register: names, party ids and main units, live (registries 3.6, 5, 6.3)."""

import time
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Final

from pydantic import TypeAdapter

from varsel.domain.errors import RegistryProtocolError
from varsel.domain.identifiers import Level, valid_organisation_number, valid_person_id
from varsel.providers.registry_http import Answer, RegistryClient, in_parts
from varsel.providers.registry_memory import Memory
from varsel.recipients.names import NameStyle
from varsel.settings import AltinnSettings

_ORGANISATION: Final = "urn:altinn:organization:identifier-no:"
_NAMES: Final = "parties/nameslookup?partyComponentOption=person-name"
_PARTIES: Final = "../v2/internal/parties/query?fields=id,uuid,org-id"
_MAIN_UNITS: Final = "../v2/internal/parties/main-units"
_MAIN_UNITS_AT_ONCE: Final = 10


class _PersonName(Answer):
    first_name: str | None = None
    middle_name: str | None = None
    last_name: str | None = None


class _PartyName(Answer):
    ssn: str | None = None
    org_no: str | None = None
    name: str | None = None
    person_name: _PersonName | None = None


class _PartyNames(Answer):
    party_names: list[_PartyName]


class _Party(Answer):
    party_id: int
    organization_identifier: str | None = None


class _Parties(Answer):
    data: list[_Party]


class _MainUnit(Answer):
    organization_identifier: str | None = None


class _MainUnits(Answer):
    data: list[_MainUnit]


_NAMES_ANSWER: Final = TypeAdapter(_PartyNames)
_PARTIES_ANSWER: Final = TypeAdapter(_Parties)
_MAIN_UNITS_ANSWER: Final = TypeAdapter(_MainUnits)


def party_memory(monotonic: Callable[[], float] = time.monotonic) -> Memory[int]:
    """Party ids by organisation number, kept as long as Profile keeps them; misses are not kept (registries 6.3)."""
    return Memory(timedelta(minutes=10), monotonic=monotonic)


class AltinnRegister:
    """The names of a `ContactDirectory`, and what the other adapters must know of organisations."""

    def __init__(
        self,
        client: RegistryClient,
        settings: AltinnSettings,
        style: NameStyle,
        parties: Memory[int],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._settings = settings
        self._parties = parties
        self._style = style
        self._names = Memory[str](timedelta(hours=6), timedelta(minutes=10), monotonic=monotonic)
        self._main_units = Memory[str](timedelta(minutes=10), timedelta(minutes=1), monotonic=monotonic)

    async def names(self, identifiers: Collection[str]) -> Mapping[str, str]:
        """Register refuses a whole request for one number whose check digits are wrong: such numbers have no name.

        It answers for everybody, if only that there is no name; an answer that leaves somebody out is none.
        """

        async def ask(part: list[str]) -> dict[str, str]:
            body = {"parties": [{"ssn" if len(id_) == 11 else "orgNo": id_} for id_ in part]}
            answer = await self._client.post(_NAMES, body, _NAMES_ANSWER, items=len(part))
            named = {entry.ssn or entry.org_no or "": self._name(entry) for entry in answer.party_names}
            if not named.keys() >= set(part):
                raise RegistryProtocolError("register (parties/nameslookup)")
            return {id_: name for id_ in part if (name := named[id_]) is not None}

        known, unknown = self._names.recall([id_ for id_ in identifiers if _has_check_digits(id_)])
        for found in await in_parts(unknown, self._settings.max_names, ask):
            known |= found
        self._names.keep(unknown, known)
        return known

    async def party_ids(self, numbers: Collection[str]) -> Mapping[str, int]:
        """By organisation number. Unknown organisations are absent: Register then answers 206."""

        async def ask(part: list[str]) -> dict[str, int]:
            body = {"data": [_ORGANISATION + number for number in part]}
            answer = await self._client.post(_PARTIES, body, _PARTIES_ANSWER, items=len(part), accepted=(200, 206))
            return {party.organization_identifier or "": party.party_id for party in answer.data}

        known, unknown = self._parties.recall([n for n in numbers if valid_organisation_number(n, Level.CHECKSUM)])
        for found in await in_parts(unknown, self._settings.max_parties, ask):
            known |= found
        self._parties.keep(unknown, known)
        return known

    async def main_units(self, numbers: Collection[str]) -> Mapping[str, str]:
        """The main unit of each subunit; of several, the first. Organisations without one are absent."""

        async def ask(part: list[str]) -> tuple[str, str | None]:
            (number,) = part
            body = {"data": _ORGANISATION + number}
            answer = await self._client.post(_MAIN_UNITS, body, _MAIN_UNITS_ANSWER, items=1)
            return number, next((unit.organization_identifier for unit in answer.data), None)

        known, unknown = self._main_units.recall([n for n in numbers if valid_organisation_number(n, Level.CHECKSUM)])
        found = await in_parts(unknown, 1, ask, at_once=_MAIN_UNITS_AT_ONCE)
        known |= {number: main_unit for number, main_unit in found if main_unit}
        self._main_units.keep(unknown, known)
        return known

    def _name(self, entry: _PartyName) -> str | None:
        """As the settings want it. Register's own `name` of a person is the short form."""
        parts = entry.person_name
        if parts is not None and self._style.order == "display":
            return self._style.write(parts.first_name, parts.middle_name, parts.last_name)
        if entry.name is None:
            return None
        name = entry.name.strip()
        return name if entry.org_no else self._style.cased(name)


def _has_check_digits(identifier: str) -> bool:
    return valid_person_id(identifier, Level.CHECKSUM) or valid_organisation_number(identifier, Level.CHECKSUM)
