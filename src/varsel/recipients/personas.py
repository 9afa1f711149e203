"""The personas: people, organisations and users with one situation each, for sandbox, demo and tests (registries B).

Their addresses carry no script of a simulator: what is sent to them is delivered (design 8, "Magic by address").
"""

import csv
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from varsel.recipients.load.rows import Kind

PERSONS: Final[Mapping[str, str]] = {
    "P1": "14838510036",
    "P2": "01916012086",
    "P3": "22957713118",  # as published; no month has the number 95, so it fails the strict check
    "P4": "30899914186",
    "P5": "05854515049",
    "P6": "11820155078",
    "P7": "24896817031",
    "P8": "17889218002",
    "P9": "09857419070",
    "P10": "31818020069",
    "P11": "12868821009",
    "P12": "26876322020",
    "P13": "07849523281",
    "P14": "15820356001",
    "P15": "45869030027",
    "P16": "10915524058",
}
ORGANISATIONS: Final[Mapping[str, str]] = {
    "O1": "310001007",
    "O2": "310001015",
    "O3": "310001023",
    "O4": "310001031",
    "O5": "310001058",
    "O6": "310001066",
    "O7": "310001074",
    "O8": "310001082",
}

GUEST: Final = "guest@example.test"
"""User 201, who logs in by this address."""
OLD_USER: Final = "olduser1"
"""User 202, known by this user name only."""

DEMO_RESOURCE: Final = "demo-resource"
OFFICIAL_ADDRESSES: Final = "altinn-profil-api-varslingsdaresser-for-virksomheter"
"""Who may change an organisation's official addresses; spelled so (registries 3.7)."""

Fields = Mapping[str, str]


def write(folder: Path, now: datetime) -> None:
    """One CSV file for each kind, to be loaded with addresses as registered. Freshness is counted from `now`."""
    for kind, rows in _rows(now).items():
        header = list(dict.fromkeys(name for row in rows for name in row))
        with (folder / f"{kind}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, header)
            writer.writeheader()
            writer.writerows(rows)


def _rows(now: datetime) -> dict[Kind, Sequence[Fields]]:
    return {
        Kind.ORGANISATIONS: _organisations(),
        Kind.ORG_ADDRESSES: _org_addresses(),
        Kind.PERSONS: _persons(now),
        Kind.USERS: _users(),
        Kind.USER_ADDRESSES: _user_addresses(),
        Kind.RULES: _rules(),
        Kind.ROLES: _roles(),
        Kind.EXTERNAL_IDENTITIES: _external_identities(),
    }


def _persons(now: datetime) -> list[Fields]:
    fresh = (now - timedelta(days=90)).isoformat()
    stale = (now - timedelta(days=700)).isoformat()

    def person(name: str, first: str, last: str, **fields: str) -> Fields:
        return {"id": PERSONS[name], "first_name": first, "last_name": last, **fields}

    def email(address: str, updated: str = fresh) -> Fields:
        return {"email": address, "email_updated": updated}

    def mobile(number: str, updated: str = fresh) -> Fields:
        return {"mobile": number, "mobile_updated": updated}

    return [
        person("P1", "ROLIG", "FJORD", **email("rolig.fjord@example.com"), **mobile("+4799999501")),
        person("P2", "STILLE", "SKOG", reserved="true", **email("stille.skog@example.com"), **mobile("+4799999502")),
        person("P3", "GLAD", "BEKK", **email("glad.bekk@example.com")),
        person("P4", "RASK", "FOSS", **mobile("+4799999504")),
        person("P5", "TAUS", "MYR"),
        person("P6", "LYS", "HEI", **email("lys.hei@example.com", stale), **mobile("+4799999506")),
        person("P7", "GAMMEL", "FURU", **email("gammel.furu@example.com", stale), **mobile("+4799999507", stale)),
        person(
            "P8",
            "VARSOM",
            "BRE",
            reserved="true",
            **email("varsom.bre@example.com", stale),
            **mobile("+4799999508", stale),
        ),
        person("P9", "BORTE", "VIND", deleted="true"),
        person("P11", "KORT", "STI", **email("kort.sti@example.com"), **mobile("99999511")),
        person("P12", "FEIL", "BRO", **email("feil.bro@example.com"), **mobile("+47123")),
        person("P13", "NORSK", "BLÅBÆR", **email("norsk.tone@blåbærskog.example"), **mobile("+4799999513")),
        person(
            "P14",
            "SÁRA",
            "O'NEILL",
            middle_name="MÁRET",
            language="se",
            **email("sara.oneill@example.com"),
            **mobile("+4799999514"),
        ),
        person("P15", "NY", "HAVN", **email("ny.havn@example.com"), **mobile("+4799999515")),
        person("P16", "LIK", "FJORD", **email("rolig.fjord@example.com"), **mobile("+4799999501")),
    ]


def _organisations() -> list[Fields]:
    main_unit = ORGANISATIONS["O1"]
    named = [
        ("O1", "FJELL OG FJORD AS", "", "AS"),
        ("O2", "FJELL OG FJORD AVD VEST", main_unit, "BEDR"),
        ("O3", "FJELL OG FJORD AVD ØST", main_unit, "BEDR"),
        ("O4", "DOBBEL POST AS", "", "AS"),
        ("O5", "BRUKERNES LAG", "", "FLI"),
        ("O6", "SAMME ADRESSE AS", "", "AS"),
        ("O7", "KORT NUMMER AS", "", "AS"),
    ]
    return [
        {
            "org_no": ORGANISATIONS[key],
            "name": name,
            "parent_org_no": parent,
            "unit_type": unit_type,
            "party_id": str(party_id),
        }
        for party_id, (key, name, parent, unit_type) in enumerate(named, start=50_001)
    ]


def _org_addresses() -> list[Fields]:
    listed = [
        ("O1", "email", "post.fjell@example.com", "true"),
        ("O1", "email", "varsel.fjell@example.com", "true"),
        ("O1", "sms", "+4799999521", "true"),
        ("O1", "sms", "+4799999522", "true"),
        ("O3", "email", "ikke.godkjent@example.com", "false"),
        ("O4", "email", "post.dobbel@example.com", "true"),
        ("O4", "email", "Post.Dobbel@example.com", "true"),
        ("O6", "email", "rolig.fjord.jobb@example.com", "true"),
        ("O7", "sms", "99999527", "true"),
    ]
    return [
        {
            "registry_id": f"persona-{number}",
            "org_no": ORGANISATIONS[key],
            "kind": kind,
            "address": address,
            "accepted": accepted,
        }
        for number, (key, kind, address, accepted) in enumerate(listed, start=1)
    ]


def _users() -> list[Fields]:
    return [
        {"user_id": "101", "person_id": PERSONS["P1"]},
        {"user_id": "102", "person_id": PERSONS["P3"]},
        {"user_id": "103", "person_id": PERSONS["P4"]},
        {"user_id": "201", "username": f"epost:{GUEST}", "kind": "self-identified"},
        {"user_id": "202", "username": OLD_USER, "kind": "self-identified"},
    ]


def _external_identities() -> list[Fields]:
    return [
        {"idporten_email": GUEST, "user_id": "201", "phone": "+4799999541"},
        {"username": OLD_USER, "user_id": "202", "email": "gammel.bruker@example.com", "phone": "+4799999542"},
    ]


def _user_addresses() -> list[Fields]:
    work = {"user_id": "101", "email": "rolig.fjord.jobb@example.com"}
    return [
        {**work, "org_no": ORGANISATIONS["O5"], "phone": "+4799999531"},
        {
            "user_id": "102",
            "org_no": ORGANISATIONS["O5"],
            "email": "glad.bekk.jobb@example.com",
            "resources": DEMO_RESOURCE,
        },
        {"user_id": "103", "org_no": ORGANISATIONS["O5"], "phone": "+4799999533"},
        {**work, "org_no": ORGANISATIONS["O6"]},
    ]


def _rules() -> list[Fields]:
    roles = ("daglig-leder", "styreleder", "kontaktperson", "innehaver")
    readers = [{"resource_id": "*", "action": "read", "role": role} for role in roles]
    return [*readers, {"resource_id": OFFICIAL_ADDRESSES, "action": "write", "role": "daglig-leder"}]


def _roles() -> list[Fields]:
    leads = [{"user_id": "101", "org_no": ORGANISATIONS[key], "role": "daglig-leder"} for key in ("O1", "O5", "O6")]
    return [*leads, {"user_id": "102", "org_no": ORGANISATIONS["O5"], "role": "kontaktperson"}]
