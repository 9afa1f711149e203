"""Altinn Authorization: who may act on a resource for an organisation, live (registries 4.6, 6.4; processing 4.3)."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

from pydantic import TypeAdapter

from varsel.domain.errors import RegistryUnavailable
from varsel.providers.registry_http import Answer, RegistryClient, in_parts
from varsel.recipients.ports import Pair
from varsel.settings import AltinnSettings

_USER: Final = "urn:altinn:userid"
_PARTY: Final = "urn:altinn:partyid"
_RESOURCE: Final = "urn:altinn:resource"
_OWNER: Final = "urn:altinn:org"
_APP: Final = "urn:altinn:app"
_ACTION: Final = "urn:oasis:names:tc:xacml:1.0:action:action-id"
_STRING: Final = "http://www.w3.org/2001/XMLSchema#string"
_SUBJECTS: Final = "urn:oasis:names:tc:xacml:1.0:subject-category:access-subject"
_RESOURCES: Final = "urn:oasis:names:tc:xacml:3.0:attribute-category:resource"


class _Attribute(Answer):
    attribute_id: str | None = None
    value: str | None = None


class _Category(Answer):
    category_id: str | None = None
    attribute: list[_Attribute] | None = None


class _Result(Answer):
    decision: str
    category: list[_Category] | None = None


class _Decision(Answer):
    response: list[_Result]


_ANSWER: Final = TypeAdapter(_Decision)

_PartyPair = tuple[int, int]
"""(party id, user id)"""


class PartyIds(Protocol):
    async def party_ids(self, numbers: Collection[str]) -> Mapping[str, int]:
        """By organisation number; unknown ones are absent."""
        ...


class AltinnAuthorization:
    """The authorizer of a `ContactDirectory`. Nothing is kept: a right may be withdrawn at any time."""

    def __init__(self, client: RegistryClient, settings: AltinnSettings, parties: PartyIds) -> None:
        self._client = client
        self._settings = settings
        self._parties = parties

    async def permitted(
        self,
        pairs: Collection[Pair],
        *,
        resource_id: str,
        action: str,
        now: datetime,  # noqa: ARG002 - the decision point judges by its own
    ) -> frozenset[Pair]:
        """Only `Permit` counts.

        Raises `RegistryUnavailable` also for an answer that leaves a pair undecided: it must not pass for a refusal.
        """
        ids = await self._parties.party_ids({number for number, _ in pairs})
        asked = {(ids[number], user): (number, user) for number, user in sorted(set(pairs)) if number in ids}

        async def ask(part: list[_PartyPair]) -> set[_PartyPair]:
            body = _request(part, resource_id, action)
            answer = await self._client.post("decision", body, _ANSWER, items=len(part))
            if len(answer.response) != len(part) or any(
                r.decision.startswith("Indeterminate") for r in answer.response
            ):
                raise RegistryUnavailable("authorization (undecided)")
            return {pair for result in answer.response if result.decision == "Permit" and (pair := _pair(result))}

        permits = await in_parts(asked, self._settings.authz_batch_size, ask)
        return frozenset(asked[pair] for permitted in permits for pair in permitted if pair in asked)


def _request(pairs: Sequence[_PartyPair], resource_id: str, action: str) -> dict[str, Any]:
    parties, users = dict.fromkeys(party for party, _ in pairs), dict.fromkeys(user for _, user in pairs)
    return {
        "request": {
            "returnPolicyIdList": False,
            "combinedDecision": False,
            "accessSubject": [
                {"id": f"subject{user}", "attribute": [_attribute(_USER, str(user), in_result=True)]} for user in users
            ],
            "action": [{"id": "action", "attribute": [_attribute(_ACTION, action, data_type="string")]}],
            "resource": [
                {
                    "id": f"resource{party}",
                    "attribute": [*_resource(resource_id), _attribute(_PARTY, str(party), in_result=True)],
                }
                for party in parties
            ],
            "multiRequests": {
                "requestReference": [
                    {"referenceId": [f"subject{user}", "action", f"resource{party}"]} for party, user in pairs
                ]
            },
        }
    }


def _resource(resource_id: str) -> list[dict[str, Any]]:
    """An app is `app_{owner}_{app}`; its name may hold more underscores."""
    match resource_id.split("_", 2):
        case ["app", owner, app]:
            return [_attribute(_OWNER, owner), _attribute(_APP, app)]
        case _:
            return [_attribute(_RESOURCE, resource_id)]


def _attribute(name: str, value: str, *, data_type: str = _STRING, in_result: bool = False) -> dict[str, Any]:
    return {
        "attributeId": name,
        "value": value,
        "dataType": data_type,
        "issuer": "Altinn",
        "includeInResult": in_result,
    }


def _pair(result: _Result) -> _PartyPair | None:
    """Of whom a result speaks; None when it does not say, and then it counts for nobody."""
    party, user = _value(result, _RESOURCES, _PARTY), _value(result, _SUBJECTS, _USER)
    return (int(party), int(user)) if party.isdecimal() and user.isdecimal() else None


def _value(result: _Result, category: str, name: str) -> str:
    return next(
        (
            attribute.value or ""
            for found in result.category or ()
            if found.category_id == category
            for attribute in found.attribute or ()
            if attribute.attribute_id == name
        ),
        "",
    )
