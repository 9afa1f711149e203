"""Altinn Authorization's decision point, simulated (registries 4.7, 6.4, 8): it decides by the world's role model."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from varsel.simulators.registry_server import RegistrySimulator, Reply, now_utc
from varsel.simulators.world import World

BASE: Final = "/authorization/api/v1/"
_USER: Final = "urn:altinn:userid"
_PARTY: Final = "urn:altinn:partyid"
_RESOURCE: Final = "urn:altinn:resource"
_OWNER: Final = "urn:altinn:org"
_APP: Final = "urn:altinn:app"
_ACTION: Final = "urn:oasis:names:tc:xacml:1.0:action:action-id"
_SUBJECTS: Final = "urn:oasis:names:tc:xacml:1.0:subject-category:access-subject"
_RESOURCES: Final = "urn:oasis:names:tc:xacml:3.0:attribute-category:resource"


class AuthorizationSimulator(RegistrySimulator):
    """`denied`: organisations that an access list shuts out, whatever anybody's role."""

    def __init__(
        self,
        world: World,
        *,
        subscription_key: str,
        host: str = "127.0.0.1",
        port: int = 0,
        now: Callable[[], datetime] = now_utc,
    ) -> None:
        self.denied: set[str] = set()
        self._key = subscription_key
        super().__init__(world, {f"{BASE}decision": self._decide}, host=host, port=port, now=now)

    def _decide(self, request: web.Request, body: Any) -> Reply:
        if request.headers.get("Ocp-Apim-Subscription-Key") != self._key:
            return Reply({}, status=401)
        try:
            results = [self._result(*pair) for pair in _pairs(body["request"])]
        except (KeyError, TypeError, ValueError):
            return Reply({}, status=400)
        return Reply({"response": results}, "response")

    def _result(self, subject: "_Attributes", action: "_Attributes", resource: "_Attributes") -> dict[str, Any]:
        number = self.world.number_of_party(int(resource[_PARTY])) or ""
        if number in self.denied:
            return {"decision": "Deny"}  # without categories, as an access list answers
        permitted = self.world.permits(number, int(subject[_USER]), _resource_id(resource), action[_ACTION], self.now())
        return {
            "decision": "Permit" if permitted else "NotApplicable",
            "status": {"statusCode": {"value": "urn:oasis:names:tc:xacml:1.0:status:ok"}},
            "category": [
                {"categoryId": _SUBJECTS, "attribute": [{"attributeId": _USER, "value": subject[_USER]}]},
                {"categoryId": _RESOURCES, "attribute": [{"attributeId": _PARTY, "value": resource[_PARTY]}]},
            ],
        }


_Attributes = dict[str, str]


def _pairs(request: Any) -> list[tuple[_Attributes, _Attributes, _Attributes]]:
    """Subject, action and resource of each pair that is asked about, in order."""
    categories = {
        category["id"]: {attribute["attributeId"]: attribute["value"] for attribute in category["attribute"]}
        for name in ("accessSubject", "action", "resource")
        for category in request[name]
    }
    asked = []
    for reference in request["multiRequests"]["requestReference"]:
        subject, action, resource = (categories[id_] for id_ in reference["referenceId"])
        asked.append((subject, action, resource))
    return asked


def _resource_id(resource: _Attributes) -> str:
    return resource[_RESOURCE] if _RESOURCE in resource else f"app_{resource[_OWNER]}_{resource[_APP]}"
