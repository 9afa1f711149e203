"""Altinn Profile, simulated (registries 6.2, 8): the five lookups, with the filters of the reference."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from varsel.domain.external_identity import parse_external_identity
from varsel.domain.identifiers import Level, valid_organisation_number
from varsel.recipients.load.rows import Person
from varsel.simulators.registry_server import RegistrySimulator, Reply, now_utc
from varsel.simulators.world import World, is_stale

BASE: Final = "/profile/api/v1/"
_CONTACTS: Final = "contactPointsList"
_MAX_UNITS: Final = 100
_RESOURCE_PREFIX: Final = "urn:altinn:resource:"


class ProfileSimulator(RegistrySimulator):
    """`limits_units`: a lookup of over 100 units fails, for Profile does not split what it asks of Register (4.5)."""

    def __init__(
        self,
        world: World,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        now: Callable[[], datetime] = now_utc,
        limits_units: bool = True,
    ) -> None:
        handlers = {
            "users/contactpoint/lookup": self._persons,
            "users/contactpoint/availability": self._availability,
            "users/contactpoint/lookupsi": self._externals,
            "organizations/notificationaddresses/lookup": self._organisations,
            "units/contactpoint/lookup": self._units,
        }
        routes = {BASE + path: handler for path, handler in handlers.items()}
        super().__init__(world, routes, host=host, port=port, now=now)
        self._limits_units = limits_units

    def _persons(self, _request: web.Request, body: Any) -> Reply:
        numbers = _list(body, "nationalIdentityNumbers")
        if numbers is None:
            return _INVALID
        allow_stale = bool(body.get("useStaleContactInfo"))
        return _contacts(
            entry
            for number in dict.fromkeys(numbers)
            if (person := self.world.person(number)) and (entry := self._person(person, allow_stale=allow_stale))
        )

    def _person(self, person: Person, *, allow_stale: bool) -> dict[str, Any] | None:
        """None when both addresses are stale and stale ones are not wanted: the reference leaves the person out."""
        now = self.now()
        old_email = is_stale(person.email_updated_at, person.email_verified_at, now)
        old_mobile = is_stale(person.mobile_updated_at, person.mobile_verified_at, now)
        if old_email and old_mobile and not allow_stale:
            return None
        return {
            "userId": 0,
            "nationalIdentityNumber": person.subject_key,
            "isReserved": person.reserved,
            "mobileNumber": person.mobile if allow_stale or not old_mobile else None,
            "mobileNumberIsOutdated": old_mobile,
            "email": person.email if allow_stale or not old_email else None,
            "emailIsOutdated": old_email,
        }

    def _availability(self, _request: web.Request, body: Any) -> Reply:
        numbers = _list(body, "nationalIdentityNumbers")
        if numbers is None:
            return _INVALID
        found = [person for number in dict.fromkeys(numbers) if (person := self.world.person(number))]
        entries = [
            {
                "userId": 0,
                "nationalIdentityNumber": person.subject_key,
                "isReserved": person.reserved,
                "mobileNumberRegistered": bool(person.mobile),
                "emailRegistered": bool(person.email),
            }
            for person in found
        ]
        return Reply({"availabilityList": entries}, "availabilityList")

    def _externals(self, _request: web.Request, body: Any) -> Reply:
        urns = _list(body, "externalIdentities")
        if urns is None:
            return _INVALID
        return _contacts(entry for urn in dict.fromkeys(urns) if (entry := self._external(urn)))

    def _external(self, urn: str) -> dict[str, Any] | None:
        identity = parse_external_identity(urn)
        if identity is None:
            return None
        row = self.world.externals.get(identity.username)
        email = (row.email if row else None) or identity.email
        mobile = row.phone if row else None
        return {"externalIdentity": urn, "email": email, "mobileNumber": mobile} if email or mobile else None

    def _organisations(self, _request: web.Request, body: Any) -> Reply:
        numbers = _list(body, "organizationNumbers")
        if not numbers or not all(number.strip() for number in numbers):
            return _INVALID
        return _contacts(entry for number in dict.fromkeys(numbers) if (entry := self._organisation(number)))

    def _organisation(self, number: str) -> dict[str, Any] | None:
        """Without any row of its own, not even an unusable one, an organisation is reached through its main unit."""
        owner, rows = number, self.world.addresses(number)
        if rows is None and (main_unit := self.world.main_unit(number)):
            owner, rows = main_unit, self.world.addresses(main_unit)
        if rows is None:
            return None
        usable = [row for row in rows if row.accepted and not row.deleted]
        return {
            "organizationNumber": number,
            "addressOrigin": owner,
            "partyId": 0,
            "emailList": [row.address for row in usable if row.kind == "email"],
            "mobileNumberList": [row.address for row in usable if row.kind == "sms"],
        }

    def _units(self, _request: web.Request, body: Any) -> Reply:
        numbers = _list(body, "organizationNumbers")
        resource = str((body or {}).get("resourceId") or "").strip().removeprefix(_RESOURCE_PREFIX)
        if not numbers or not resource:
            return _INVALID
        asked = list(dict.fromkeys(number.strip() for number in numbers if number.strip()))
        fit = all(valid_organisation_number(number, Level.CHECKSUM) for number in asked)
        if not fit or (self._limits_units and len(asked) > _MAX_UNITS):
            return Reply({"title": "Could not retrieve contact points", "status": 500}, status=500)
        return _contacts(entry for number in asked if (entry := self._unit(number, resource)))

    def _unit(self, number: str, resource: str) -> dict[str, Any] | None:
        party = self.world.party_id(number)
        users = [
            {"userId": row.user_id, "email": row.email, "mobileNumber": row.phone}
            for row in self.world.user_addresses(number, resource)
            if row.email or row.phone
        ]
        if party is None or not users:
            return None
        return {"organizationNumber": number, "partyId": party, "userContactPoints": users}


_INVALID: Final = Reply(
    {"title": "One or more validation errors occurred.", "status": 400},
    status=400,
    content_type="application/problem+json",
)


def _contacts(entries: Iterable[dict[str, Any]]) -> Reply:
    return Reply({_CONTACTS: list(entries)}, _CONTACTS)


def _list(body: Any, name: str) -> list[str] | None:
    """A member of the body that is a list of texts."""
    value = body.get(name) if isinstance(body, dict) else None
    return value if isinstance(value, list) and all(isinstance(member, str) for member in value) else None
