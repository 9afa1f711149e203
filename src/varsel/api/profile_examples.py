"""Examples of what users, directories and support send and read, for the published document (registries 3, 4, 7.5)."""

from collections.abc import Mapping
from typing import Any, Final

from varsel.api.body_examples import ORGANISATION, PERSON
from varsel.api.problems import generic

_TRACE: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
_RESOURCE: Final = "urn:altinn:resource:demo-resource"
_EMAIL, _PHONE = "kari.nordmann@example.com", "+4799999500"
_WHEN: Final = "2026-09-02T08:00:00Z"
_ADDRESSES: Final = {"emailAddress": _EMAIL, "phoneNumber": _PHONE, "resourceIncludeList": [_RESOURCE]}
_OWN: Final = {
    "userId": 101,
    "partyUuid": "0b2a7c1e-5d3f-4a86-9c1d-2e4f6a8b0c3d",
    "organizationNumber": ORGANISATION,
    **_ADDRESSES,
    "lastChanged": _WHEN,
    "needsConfirmation": False,
    "emailVerificationStatus": "Verified",
    "smsVerificationStatus": "Legacy",
}
_OFFICIAL: Final = {"notificationAddressId": 7, "email": "post.fjell@example.com"}
_COLLEAGUE: Final = {
    "nationalIdentityNumber": PERSON,
    "name": "ROLIG FJORD",
    "email": _EMAIL,
    "phone": _PHONE,
    "organizationNumber": ORGANISATION,
    "resourceIncludeList": [_RESOURCE],
    "lastChanged": _WHEN,
}
_CITIZEN: Final = {
    "nationalIdentityNumber": PERSON,
    "isReserved": False,
    "email": "rolig.fjord@example.com",
    "emailLastUpdated": _WHEN,
    "phone": "+4799999501",
    "phoneLastUpdated": _WHEN,
}

PROFILE_BODIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "PutAddressesBody": {"both, for one resource": _ADDRESSES},
    "PatchAddressesBody": {"no number any more": {"phoneNumber": None}},
    "SendCodeBody": {"an email address": {"value": _EMAIL, "type": "Email"}},
    "VerifyBody": {"an email address": {"value": _EMAIL, "type": "Email", "verificationCode": "123456"}},
    "PrivatePhoneBody": {"a number": {"value": _PHONE}, "none": {"value": None}},
    "PreferencesBody": {"a language": {"language": "nn"}, "do not ask": {"ignoreUnitProfileDateTime": _WHEN}},
    "AddressBody": {
        "an email address": {"email": "post.fjord@example.com"},
        "a number": {"countryCode": "+47", "phone": "99999588"},
    },
    "LookupBody": {
        "masked": {"identifiers": [PERSON, ORGANISATION]},
        "revealed": {"identifiers": [PERSON], "reveal": True, "reason": "case 17"},
    },
    "OrganisationsRowsBody": {"one": {"upsert": [{"org_no": "310001090", "name": "Fjordvik AS"}]}},
    "OrgAddressesRowsBody": {
        "one": {"upsert": [{"org_no": "310001090", "kind": "email", "address": "post@fjordvik.example"}]}
    },
    "PersonsRowsBody": {
        "one comes, one goes": {
            "upsert": [{"id": "17902349936", "email": "eva@example.com", "first_name": "Eva", "last_name": "Vik"}],
            "delete": [{"id": "20914695016"}],
            "assumeFresh": True,
        }
    },
    "UsersRowsBody": {"one": {"upsert": [{"user_id": 301, "person_id": "17902349936"}]}},
    "UserAddressesRowsBody": {
        "one": {
            "upsert": [
                {
                    "user_id": 301,
                    "org_no": "310001090",
                    "email": "eva@fjordvik.example",
                    "resources": ["demo-resource"],
                }
            ]
        }
    },
    "RulesRowsBody": {"one": {"upsert": [{"resource_id": "demo-resource", "action": "read", "role": "kontaktperson"}]}},
    "RolesRowsBody": {
        "until a day": {
            "upsert": [{"user_id": 301, "org_no": "310001090", "role": "kontaktperson", "valid_to": "2030-01-01"}]
        }
    },
    "DelegationsRowsBody": {
        "one": {"upsert": [{"user_id": 301, "org_no": "310001090", "resource_id": "demo-resource", "action": "read"}]}
    },
    "ExternalIdentitiesRowsBody": {"one": {"upsert": [{"username": "fjordviking", "phone": _PHONE}]}},
}

PROFILE_ANSWERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "ProfessionalAddressAnswer": {"both": _OWN},
    "ProfessionalAddressesAnswer": {"one organisation": [_OWN]},
    "VerifiedAddressesAnswer": {"one": [{"value": _EMAIL, "type": "Email"}]},
    "PhoneAnswer": {"a number": {"value": _PHONE}, "none": {"value": None}},
    "PreferencesAnswer": {"a language": {"language": "nn"}},
    "OfficialAddressAnswer": {"an email address": _OFFICIAL},
    "OfficialAddressesAnswer": {"one": {"organizationNumber": ORGANISATION, "notificationAddresses": [_OFFICIAL]}},
    "FoundAddressesAnswer": {
        "of the main unit": [
            {
                **_OFFICIAL,
                "requestedOrgNumber": "310001015",
                "sourceOrgNumber": ORGANISATION,
                "lastChanged": _WHEN,
            }
        ]
    },
    "ColleaguesAnswer": {"one": [_COLLEAGUE]},
    "PersonAnswer": {"both addresses": _CITIZEN},
    "PeopleAnswer": {"one": [_CITIZEN], "nobody": []},
    "LookupAnswer": {
        "masked": {
            "known": [
                {
                    "identifier": "148385*****",
                    "kind": "person",
                    "found": True,
                    "isReserved": False,
                    "emails": ["ro***@example.com"],
                    "emailIsStale": False,
                    "mobiles": ["+47******01"],
                    "mobileIsStale": False,
                    "source": "file",
                    "changedAt": _WHEN,
                }
            ]
        }
    },
    "RowsAnswer": {"one is new": {"inserted": 1, "updated": 0, "unchanged": 0, "deleted": 0, "ofOthers": 0}},
    "CodeRefused": {
        "wrong code": {
            **(generic(422).problem or {}),
            "detail": "The code is wrong, too old, or has been tried too often.",
            "traceId": _TRACE,
        }
    },
    "TooOften": {"wait": {**(generic(429).problem or {}), "retryAfterSeconds": 42, "traceId": _TRACE}},
}
