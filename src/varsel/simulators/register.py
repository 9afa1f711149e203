"""Altinn Register, simulated (registries 6.3, 8): names, party ids and main units, behind its credentials."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from aiohttp import web
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from varsel.domain.identifiers import Level, valid_organisation_number, valid_person_id
from varsel.recipients.names import person_name
from varsel.simulators.registry_server import Handler, RegistrySimulator, Reply, now_utc
from varsel.simulators.world import World

BASE: Final = "/register/api/v1/"
SCOPE: Final = "altinn:register/partylookup.admin"
_INTERNAL: Final = "/register/api/v2/internal/"
_ORGANISATION: Final = "urn:altinn:organization:identifier-no:"
_MAX_NAMES: Final = 1_000
_MAX_PARTIES: Final = 100
_SKEW_SECONDS: Final = 10


class RegisterSimulator(RegistrySimulator):
    """Lets in whoever shows a platform access token signed by the owner of `platform_key`, or a token with the scope.

    `platform_key`: the public key, in PEM. `bearer_claims`: what the header `Authorization` proves, if anything.
    """

    def __init__(
        self,
        world: World,
        *,
        platform_key: str | None = None,
        bearer_claims: Callable[[str | None], Mapping[str, Any] | None] = lambda _: None,
        host: str = "127.0.0.1",
        port: int = 0,
        now: Callable[[], datetime] = now_utc,
    ) -> None:
        self._platform_key = RSAKey.import_key(platform_key) if platform_key else None
        self._bearer_claims = bearer_claims
        handlers: dict[str, Handler] = {
            f"{BASE}parties/nameslookup": self._names,
            f"{_INTERNAL}parties/query": self._query,
            f"{_INTERNAL}parties/main-units": self._main_units,
        }
        routes = {path: self._guarded(handler) for path, handler in handlers.items()}
        routes[f"{BASE}organizations/contactpoint/lookup"] = lambda _request, _body: Reply({}, status=410)
        super().__init__(world, routes, host=host, port=port, now=now)

    def _guarded(self, handler: Handler) -> Handler:
        return lambda request, body: handler(request, body) if self._admits(request) else Reply({}, status=401)

    def _admits(self, request: web.Request) -> bool:
        claims = self._bearer_claims(request.headers.get("Authorization"))
        if claims and SCOPE in str(claims.get("scope", "")).split():
            return True
        token = request.headers.get("PlatformAccessToken")
        if not token or self._platform_key is None:
            return False
        try:
            claims = jwt.decode(token, self._platform_key, algorithms=["RS256"]).claims
        except (JoseError, ValueError):
            return False
        now = time.time()  # tokens live by the host's clock (design 8)
        return (
            claims.get("iss") == "platform"
            and claims.get("aud") == "platform.altinn.no"
            and bool(claims.get("urn:altinn:app"))
            and claims.get("nbf", 0) - _SKEW_SECONDS <= now < claims.get("exp", 0) + _SKEW_SECONDS
        )

    def _names(self, request: web.Request, body: Any) -> Reply:
        components = [name for name in request.query.get("partyComponentOption", "").split(",") if name]
        if set(components) - {"person-name"}:
            return _problem([])
        parties = (body or {}).get("parties") or []
        if problems := _name_problems(parties):
            return _problem(problems)
        entries = [self._name(party, with_parts=bool(components)) for party in parties]
        return Reply({"partyNames": entries}, "partyNames")

    def _name(self, party: dict[str, str | None], *, with_parts: bool) -> dict[str, Any]:
        number, org_no = party.get("ssn"), party.get("orgNo")
        if org_no:
            unit = self.world.organisation(org_no)
            return {"ssn": None, "orgNo": org_no, "name": unit.name if unit else None}
        person = self.world.person(number or "")
        if person is None:
            return {"ssn": number, "orgNo": None, "name": None}
        parts = (person.first_name, person.middle_name, person.last_name)
        entry: dict[str, Any] = {"ssn": number, "orgNo": None, "name": person_name(*parts, "short").upper()}
        if with_parts:
            entry["personName"] = dict(zip(("firstName", "middleName", "lastName"), parts, strict=True))
        return entry

    def _query(self, request: web.Request, body: Any) -> Reply:
        urns = (body or {}).get("data")
        wanted = request.query.get("fields", "").split(",")
        if not isinstance(urns, list) or len(urns) > _MAX_PARTIES:
            return _problem([("REG.VLD-00001", "/data")])
        numbers = [str(urn).removeprefix(_ORGANISATION) for urn in urns]
        bad = [n for n, number in enumerate(numbers) if not valid_organisation_number(number, Level.CHECKSUM)]
        if bad:
            return _problem([("REG.VLD-00006", f"/data/{n}") for n in bad])
        found = [(number, party) for number in dict.fromkeys(numbers) if (party := self.world.party_id(number))]
        entries = [
            {"partyId": party, **({"organizationIdentifier": number} if "org-id" in wanted else {})}
            for number, party in found
        ]
        return Reply({"data": entries}, "data", status=200 if len(found) == len(set(numbers)) else 206)

    def _main_units(self, _request: web.Request, body: Any) -> Reply:
        number = str((body or {}).get("data", "")).removeprefix(_ORGANISATION)
        if not valid_organisation_number(number, Level.CHECKSUM):
            return _problem([("REG.VLD-00006", "/data")])
        main_unit = self.world.main_unit(number)
        return Reply({"data": [{"organizationIdentifier": main_unit}] if main_unit else []}, "data")


def _name_problems(parties: list[dict[str, str | None]]) -> list[tuple[str, str]]:
    """(code, path) of each."""
    problems = [("REG.VLD-00001", "/parties")] if len(parties) > _MAX_NAMES else []
    for place, party in enumerate(parties):
        number, org_no = party.get("ssn"), party.get("orgNo")
        if bool(number) == bool(org_no):
            problems.append(("REG.VLD-00008", f"/parties/{place}"))
        elif number and not valid_person_id(number, Level.CHECKSUM):
            problems.append(("REG.VLD-00007", f"/parties/{place}/ssn"))
        elif org_no and not valid_organisation_number(org_no, Level.CHECKSUM):
            problems.append(("REG.VLD-00006", f"/parties/{place}/orgNo"))
    return problems


def _problem(errors: list[tuple[str, str]]) -> Reply:
    body = {
        "status": 400,
        "code": "STD-00000",
        "validationErrors": [{"code": code, "paths": [path]} for code, path in errors],
    }
    return Reply(body, status=400, content_type="application/problem+json")
