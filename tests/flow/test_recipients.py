"""Whom an order reaches and what they read (processing 4, 5, 6.10): what resolution makes of registers' answers."""

from collections.abc import AsyncIterator, Collection, Mapping
from datetime import timedelta
from typing import Any

import pytest

from fakes import FakeDirectory
from road import Road
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.domain.errors import RegistryUnavailable
from varsel.domain.order import EmailTemplate, OrderChannel, Recipient
from varsel.recipients.ports import ExternalContact, OrganisationContact, Pair, PersonContact, UserContact

KARI, OLA = "14838510036", "01916012086"
ORG = "310001007"
GUEST = "urn:altinn:person:idporten-email:guest%40example.test"


class Registers(FakeDirectory):
    """Of which the names, or the rights, may be down alone."""

    names_down = rights_down = False

    async def names(self, identifiers: Collection[str]) -> Mapping[str, str]:
        if self.names_down:
            raise RegistryUnavailable("names")
        return await super().names(identifiers)

    async def permitted(self, pairs: Collection[Pair], **how: Any) -> frozenset[Pair]:
        if self.rights_down:
            raise RegistryUnavailable("rights")
        return await super().permitted(pairs, **how)


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock, directory=Registers())
    road.directory.people = {KARI: PersonContact(False, email="kari@example.com")}
    road.directory.official = {ORG: OrganisationContact(("post@example.com",), (), ORG)}
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


def person(id_: str = KARI) -> tuple[Recipient, ...]:
    return (Recipient(national_identity_number=id_),)


def organisation() -> tuple[Recipient, ...]:
    return (Recipient(organisation_number=ORG),)


def registers_of(road: Road) -> Registers:
    assert isinstance(road.directory, Registers)
    return road.directory


# Who


@pytest.mark.assertion("processing", 64)
async def test_a_reserved_person_is_recorded_on_both_channels_and_the_order_is_over(road: Road) -> None:
    road.directory.people = {KARI: PersonContact(True, email="kari@example.com", mobile="+4799999501")}
    placed = await road.place(channel=OrderChannel.EMAIL_AND_SMS, recipients=person())
    await road.run()
    assert await road.outcomes() == [("email", "Failed_RecipientReserved"), ("sms", "Failed_RecipientReserved")]
    assert await road.state(placed.order_id) == "Completed"


@pytest.mark.assertion("processing", 67)
async def test_official_addresses_are_nobodys_to_permit(road: Road) -> None:
    await road.place(recipients=organisation(), resource_id="urn:altinn:resource:demo")
    await road.run()
    assert [message.to for message in road.mail.sent] == ["post@example.com"]
    assert "users demo" in road.directory.asked
    assert not any(asked.startswith("permitted") for asked in road.directory.asked)


@pytest.mark.parametrize(("action", "asked"), [(None, "read"), ("", "read"), (" ", "read"), (" write ", "write")])
@pytest.mark.assertion("processing", 70)
async def test_the_right_that_is_asked_for_is_the_orders_or_to_read(road: Road, action: str | None, asked: str) -> None:
    road.directory.users = {ORG: [UserContact(101, "user@example.com", None)]}
    await road.place(recipients=organisation(), resource_id="urn:altinn:resource:demo", resource_action=action)
    await road.run()
    assert f"permitted demo {asked}" in road.directory.asked


@pytest.mark.assertion("processing", 72)
async def test_while_nobody_can_say_who_may_nobody_is_told(road: Road) -> None:
    road.directory.users = {ORG: [UserContact(101, "user@example.com", None)]}
    road.directory.rights = {(ORG, 101)}
    placed = await road.place(recipients=organisation(), resource_id="urn:altinn:resource:demo")
    registers_of(road).rights_down = True
    await road.run()
    assert await road.rows() == []
    assert await road.state(placed.order_id) == "Registered"
    registers_of(road).rights_down = False
    road.clock.advance(timedelta(seconds=60))
    await road.run()
    assert sorted(message.to for message in road.mail.sent) == ["post@example.com", "user@example.com"]


@pytest.mark.assertion("processing", 73)
async def test_letter_case_makes_no_second_address(road: Road) -> None:
    road.directory.users = {ORG: [UserContact(101, "POST@Example.com", None)]}
    road.directory.rights = {(ORG, 101)}
    await road.place(recipients=organisation(), resource_id="urn:altinn:resource:demo")
    await road.run()
    assert [message.to for message in road.mail.sent] == ["post@example.com"]


@pytest.mark.assertion("processing", 74, 80)
async def test_a_number_written_in_three_ways_is_one_and_a_wrong_one_is_none(road: Road) -> None:
    numbers = ("46583920", "004746583920", "+4746583920", "4650", "+474650")
    road.directory.official = {ORG: OrganisationContact((), numbers, ORG)}
    road.directory.people = {KARI: PersonContact(False, mobile="12345678")}
    await road.place(channel=OrderChannel.SMS, recipients=(*organisation(), *person()))
    await road.run()
    assert [(row.address, row.reason) for row in await road.rows()] == [
        ("+4746583920", None),
        ("", "Failed_RecipientNotIdentified"),
    ]


@pytest.mark.assertion("processing", 75)
async def test_of_two_users_with_one_email_the_second_is_told_by_mobile_alone(road: Road) -> None:
    shared = "shared@example.com"
    road.directory.users = {ORG: [UserContact(101, shared, "+4799999501"), UserContact(102, shared, "+4799999502")]}
    road.directory.rights = {(ORG, 101), (ORG, 102)}
    resource = {"resource_id": "urn:altinn:resource:demo"}
    await road.place(channel=OrderChannel.EMAIL_AND_SMS, recipients=organisation(), **resource)
    await road.run()
    assert sorted(message.to for message in road.mail.sent) == ["post@example.com", shared]
    assert sorted(message.to for message in road.sms.sent) == ["+4799999501", "+4799999502"]


@pytest.mark.assertion("processing", 76)
async def test_who_is_reserved_as_a_person_is_told_as_a_user(road: Road) -> None:
    road.directory.people = {KARI: PersonContact(True, email="kari@example.com")}
    road.directory.users = {ORG: [UserContact(101, "kari@example.com", None)]}
    road.directory.rights = {(ORG, 101)}
    await road.place(recipients=(*organisation(), *person()), resource_id="urn:altinn:resource:demo")
    await road.run()
    assert sorted(message.to for message in road.mail.sent) == ["kari@example.com", "post@example.com"]
    assert ("email", "Failed_RecipientReserved") in await road.outcomes()


@pytest.mark.assertion("processing", 79)
async def test_an_external_identity_leaves_no_number_behind(road: Road) -> None:
    road.directory.externals = {GUEST: ExternalContact("guest@example.test", None)}
    await road.place(recipients=(Recipient(external_identity=GUEST),))
    await road.run()
    assert [message.to for message in road.mail.sent] == ["guest@example.test"]
    assert await road.value("SELECT count(subject_key) FROM notification") == 0


@pytest.mark.assertion("processing", 101)
async def test_registers_numbers_are_normalised_and_clients_are_kept(road: Road) -> None:
    road.directory.people = {KARI: PersonContact(False, mobile="004799999501")}
    await road.place(channel=OrderChannel.SMS, recipients=(*person(), Recipient(mobile="004799999502")))
    await road.run()
    assert [row.address for row in await road.rows()] == ["+4799999501", "004799999502"]


# What they read


def letter(text: str) -> dict[str, Any]:
    return {"email": EmailTemplate("a@example.com", text, text)}


@pytest.mark.parametrize("text", ["Hei", "Hei $RecipientName$"])
@pytest.mark.assertion("processing", 83, 86)
async def test_without_a_keyword_nobodys_name_is_asked_for(road: Road, text: str) -> None:
    road.directory.known_names = {KARI: "Kari Nordmann"}
    await road.place(recipients=person(), **letter(text))
    await road.run()
    assert [getattr(message, "body", None) for message in road.mail.sent] == [text]
    assert "names" not in road.directory.asked
    assert await road.value("SELECT count(recipient_name) FROM notification") == 0


@pytest.mark.assertion("processing", 84)
async def test_an_external_identity_reads_the_keyword(road: Road) -> None:
    road.directory.externals = {GUEST: ExternalContact("guest@example.test", None)}
    await road.place(recipients=(Recipient(external_identity=GUEST),), **letter("Hei $recipientName$"))
    await road.run()
    assert [getattr(message, "body", None) for message in road.mail.sent] == ["Hei $recipientName$"]


@pytest.mark.assertion("processing", 85)
@pytest.mark.assertion("registries", 95)
async def test_a_party_without_a_known_name_reads_the_keyword(road: Road) -> None:
    road.directory.people[OLA] = PersonContact(False, email="ola@example.com")
    road.directory.known_names = {OLA: "Ola Nordmann"}
    await road.place(recipients=(*person(), *person(OLA)), **letter("Hei $recipientName$"))
    await road.run()
    texts = {message.to: getattr(message, "body", None) for message in road.mail.sent}
    assert texts == {"kari@example.com": "Hei $recipientName$", "ola@example.com": "Hei Ola Nordmann"}


@pytest.mark.assertion("processing", 87)
async def test_while_names_are_not_to_be_had_nothing_is_sent(road: Road) -> None:
    road.directory.known_names = {KARI: "Kari Nordmann"}
    await road.place(recipients=person(), **letter("Hei $recipientName$"))
    registers_of(road).names_down = True
    await road.run()
    assert await road.rows() == []
    registers_of(road).names_down = False
    road.clock.advance(timedelta(seconds=60))
    await road.run()
    assert [getattr(message, "body", None) for message in road.mail.sent] == ["Hei Kari Nordmann"]
