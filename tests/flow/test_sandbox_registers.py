"""In the sandbox, settings that ask Altinn meet registers that know the personas (design 8, registries 8)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from road import Road
from varsel import settings as all_settings
from varsel.cli.child_settings import sandbox_values, write_settings
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.domain.order import EmailTemplate, Recipient
from varsel.providers.registers import Registers
from varsel.recipients.directory import ComposedDirectory
from varsel.recipients.local import LocalDirectory
from varsel.recipients.nothing import Nothing
from varsel.recipients.personas import DEMO_RESOURCE, ORGANISATIONS, PERSONS
from varsel.settings import Settings
from varsel.simulators.sandbox import NotLoopback, run_simulators

EVERYTHING = {
    f"{question}_provider": "altinn" for question in ("person", "org", "main_unit", "external", "user", "authz", "name")
}


@pytest.fixture
def sandbox(tmp_path: Path) -> Settings:
    """As `varsel up --sandbox` hands them to its children when all questions go to Altinn."""
    values = sandbox_values(tmp_path, altinn=True) | {"registry": EVERYTHING}
    return all_settings.load({"VARSEL_CONFIG": str(write_settings(tmp_path, values))})


@pytest.fixture
async def registers(sandbox: Settings, database: Database) -> AsyncIterator[Registers]:
    clock = ManualClock(datetime.now(UTC))
    async with run_simulators(sandbox, database):
        registers = Registers(sandbox, database, clock, patience=timedelta(seconds=5))
        yield registers
        await registers.close()


async def test_orders_go_from_live_registers_to_messages_without_any_copy(
    registers: Registers, database: Database
) -> None:
    assert registers.live
    road = Road(database, ManualClock(datetime.now(UTC)), registers=registers.directory)
    named = EmailTemplate("noreply@example.com", "Hei $recipientName$", "Body")
    person = await road.place(recipients=(Recipient(national_identity_number=PERSONS["P1"]),), email=named)
    unit = await road.place(recipients=(Recipient(organisation_number=ORGANISATIONS["O2"]),))
    users = await road.place(
        recipients=(Recipient(organisation_number=ORGANISATIONS["O5"]),), resource_id=DEMO_RESOURCE
    )
    assert all(placed.lookup and placed.lookup.status == "Success" for placed in (person, unit, users))
    await road.run()
    subjects = {message.to: getattr(message, "subject", None) for message in road.mail.sent}
    assert subjects == {
        "rolig.fjord@example.com": "Hei ROLIG FJORD",
        "post.fjell@example.com": "Subject",
        "varsel.fjell@example.com": "Subject",
        "rolig.fjord.jobb@example.com": "Subject",
        "glad.bekk.jobb@example.com": "Subject",
    }
    assert await road.value("SELECT count(*) FROM registry.person") == 0


async def test_a_register_on_another_machine_is_refused_in_the_sandbox(sandbox: Settings, database: Database) -> None:
    elsewhere = sandbox.altinn.model_copy(update={"profile_url": "https://profile.example/profile/api/v1/"})
    with pytest.raises(NotLoopback):
        async with run_simulators(sandbox.model_copy(update={"altinn": elsewhere}), database):
            pass


async def test_each_question_goes_to_the_provider_that_the_settings_name(database: Database) -> None:
    def chosen(**registry: Any) -> Registers:
        settings = Settings.model_validate({"registry": registry})
        return Registers(settings, database, ManualClock(datetime.now(UTC)), patience=timedelta())

    plain = chosen()
    assert isinstance(plain.directory, LocalDirectory)
    assert (plain.live, plain.outages) == (False, None)
    nobody = chosen(person_provider="none", authz_provider="deny-all", name_provider="none", local_copy_creators="skd")
    assert isinstance(nobody.directory, ComposedDirectory)
    asked = nobody.directory
    assert [type(p) for p in (asked.person_provider, asked.authz_provider, asked.name_provider)] == [Nothing] * 3
    assert isinstance(asked.org_provider, LocalDirectory)
    assert not nobody.live
    assert nobody.outages
    assert nobody.outages.concern("SKD")
    assert not nobody.outages.concern("ttd")
    now = datetime.now(UTC)
    assert await asked.persons([PERSONS["P1"]], allow_stale=True, now=now) == {}
    assert await asked.permitted([(ORGANISATIONS["O5"], 101)], resource_id="r", action="read", now=now) == frozenset()
    assert await asked.names([PERSONS["P1"]]) == {}


async def test_everything_may_be_permitted_outside_production(database: Database) -> None:
    settings = Settings.model_validate({"registry": {"authz_provider": "allow-all"}})
    registers = Registers(settings, database, ManualClock(datetime.now(UTC)), patience=timedelta())
    pairs = [(ORGANISATIONS["O5"], 101), (ORGANISATIONS["O8"], 1)]
    permitted = await registers.directory.permitted(pairs, resource_id="r", action="write", now=datetime.now(UTC))
    assert permitted == set(pairs)
    assert not registers.live
    with pytest.raises(ValidationError, match="allow-all"):
        Settings.model_validate({"environment": "production", "registry": {"authz_provider": "allow-all"}})
