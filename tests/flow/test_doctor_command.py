"""`varsel doctor` says what is well with an installation, what is not, and what to do; it changes nothing."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from road import Road
from varsel.cli.doctor_findings import Level
from varsel.cli.doctor_machine import room_of
from varsel.cli.main import cli
from varsel.clock import ManualClock
from varsel.db import Database, execute
from varsel.delivery.ports import Verdict
from varsel.embedded.place import hold_home
from varsel.heartbeat import beat
from varsel.status.summary import Facts

SETTINGS = """
[auth]
issuers = [{ discovery_url = "https://issuer.example/.well-known/openid-configuration" }]

[registry]
krr_sync_enabled = true
krr_changes_url = "https://krr.example/"
maskinporten_issuer = "https://maskinporten.example/"
maskinporten_token_url = "https://maskinporten.example/token"
maskinporten_client_id = "varsel"
maskinporten_jwk = "a-secret-key"

[[providers]]
type = "smtp"
name = "mail"
host = "127.0.0.1"
port = 1
tls = "none"
username = "varsel"
password = "a-secret-word"
"""
SECRETS = ("a-secret-key", "a-secret-word", "a-secret-of-suppression", "postgresql://", "kari@example.com", "40000417")
LEASE = timedelta(minutes=30)


async def varsel(folder: Path, *words: str, dsn: str | None = None, settings: str = SETTINGS, **more: str) -> Result:
    """The home is `home` in the folder, which need not exist."""
    config = folder / "varsel.toml"
    config.write_text(settings)
    config.chmod(0o640)
    variables = {"VARSEL_CONFIG": str(config), "VARSEL_HOME": str(folder / "home"), "VARSEL_DATABASE_URL": dsn, **more}
    run = await asyncio.to_thread(CliRunner().invoke, cli, ["doctor", *words], env=variables, catch_exceptions=False)
    assert not [secret for secret in (*SECRETS, *([dsn] if dsn else [])) if secret in run.output]
    return run


async def findings(folder: Path, *, code: int, **more: Any) -> list[tuple[str, str, str, str]]:
    """(what it is about, level, sentence, remedy)"""
    run = await varsel(folder, "--json", **more)
    assert run.exit_code == code, run.output
    return [(found["about"], found["level"], found["says"], found["remedy"]) for found in json.loads(run.stdout)]


async def troubles(folder: Path, **more: Any) -> list[tuple[str, str, str]]:
    """What needs attention: there is some."""
    return [
        (about, says, do) for about, level, says, do in await findings(folder, code=1, **more) if level == "attention"
    ]


async def change(db: Database, *statements: str, **params: Any) -> None:
    async with db.transaction() as conn:
        for sql in statements:
            await execute(conn, sql, params)


@pytest.fixture
async def well(database: Database) -> Database:
    """A service at its work: an API process, a worker, and a register that was read a moment ago."""
    for kind in ("api", "worker"):
        await beat.begin(database, kind=kind, lease=LEASE)
    await change(database, "UPDATE registry.sync_cursor SET last_success_at = statement_timestamp()")
    return database


async def test_an_installation_that_is_well_is_said_to_be(well: Database, tmp_path: Path) -> None:
    run = await varsel(tmp_path, dsn=well.dsn)
    assert (run.exit_code, run.output.splitlines()[-1]) == (0, "All is well.")
    assert "1 API process, 1 worker" in run.output
    found = await findings(tmp_path, code=0, dsn=well.dsn)
    assert {level for _, level, *_ in found} == {"ok", "note"}
    assert {about for about, *_ in found} >= {"database", "schema", "clock", "partitions", "queues", "registers"}


def _month(ahead: int) -> str:
    today = datetime.now(UTC)
    index = today.year * 12 + today.month - 1 + ahead
    return f"{index // 12}_{index % 12 + 1:02}"


@pytest.mark.parametrize(
    ("statement", "about", "says", "remedy"),
    [
        ("DELETE FROM worker WHERE kind = 'worker'", "processes", "no worker is alive", "varsel worker"),
        ("UPDATE worker SET lease_until = 'epoch' WHERE kind = 'api'", "processes", "no API process", "varsel api"),
        (
            """INSERT INTO claim (id, worker_id, provider, ids, claimed_at)
               VALUES (gen_random_uuid(), -1, 'mail', ARRAY[gen_random_uuid()], now() - interval '1 hour')""",
            "processes", "1 message and 0 orders are held by processes that are dead", "sweep",
        ),
        (f"DROP TABLE attempt_{_month(2)}", "partitions", f"attempt_{_month(2)}", "varsel migrate"),
        (
            "INSERT INTO provider (name, channel, stopped, detail) VALUES ('mail', 'email', true, 'moves house')",
            "providers", "mail: stopped: moves house", "varsel providers start mail",
        ),
        (
            """INSERT INTO provider (name, channel, breaker_until, detail)
               VALUES ('mail', 'email', now() + interval '9 min', 'login refused')""",
            "providers", "login refused", "varsel providers history mail",
        ),
        (
            "INSERT INTO provider (name, channel, breaker_until) VALUES ('mail', 'email', now() - interval '9 min')",
            "providers", "mail: on trial", "mend the account",
        ),
        (
            """INSERT INTO feed_pending (creator_id, order_id, created_at, body)
               VALUES (1, gen_random_uuid(), now() - interval '3 hours', '{}')""",
            "queues", "the oldest entry for the status feed has waited for 3 hours", "`feed`",
        ),
        ("UPDATE registry.sync_cursor SET last_success_at = NULL", "registers", "never whole", "registry status"),
        ("UPDATE registry.sync_cursor SET held_back = 9 WHERE feed = 'krr'", "registers", "9 rows", "registry status"),
        (
            """INSERT INTO webhook (id, creator_id, url, kinds, destinations, secret, created_at, state, reason,
                                    state_at, position)
               VALUES (gen_random_uuid(), 1, 'https://hooks.example/', '{}', false, '', now(), 'paused', 'failing',
                       now(), 0)""",
            "webhooks", "1 webhook is paused", "tell the owner",
        ),
        ("UPDATE sandbox_clock SET shift = '2 days'", "clock", "2 days, 0:00:00 ahead", "another database"),
        (
            "INSERT INTO schema_migration (number, name, checksum) VALUES (9999, '9999_tomorrow', '')",
            "schema", "9999_tomorrow", "older than the one that migrated",
        ),
    ],
)  # fmt: skip
async def test_each_trouble_is_told_alone_with_its_remedy(
    well: Database, tmp_path: Path, statement: str, about: str, says: str, remedy: str
) -> None:
    await change(well, statement)
    ((told, sentence, do),) = await troubles(tmp_path, dsn=well.dsn)
    assert told == about
    assert says in sentence
    assert remedy in do


async def test_what_waits_too_long_is_told_with_the_stage_that_nobody_runs(well: Database, tmp_path: Path) -> None:
    road = Road(well, ManualClock(datetime.now(UTC) - timedelta(days=1)))
    road.mail.name = "elsewhere"
    await road.place()
    worker = await road.worker()
    await worker.resolution.resolve_due((road.order()).lane)
    await worker.end(road)
    await road.place()
    payload = {"receiver": "+4740000417"}
    await road.report(None, Verdict.DELIVERED, payload=payload)
    found = await troubles(tmp_path, dsn=well.dsn)
    waiting = {do.partition("`")[2].partition("`")[0]: says for about, says, do in found if about == "queues"}
    assert set(waiting) == {"resolve", "send", "report"}
    assert all("has waited for 24 hours" in says for says in waiting.values())
    for _ in range(9):
        road.clock.advance(timedelta(days=1))
        await road.run()
    ((about, says, do),) = await troubles(tmp_path, dsn=well.dsn)
    assert (about, says) == ("reports", "1 report that matched nothing is given up")
    assert "varsel deadletters list" in do
    await road.waker.close()


async def test_rows_outside_every_month_are_told(well: Database, tmp_path: Path) -> None:
    road = Road(well, ManualClock(datetime.now(UTC)))
    await road.place()
    await road.run()
    await change(well, "UPDATE orders SET id = 'ffffffff-0000-7000-8000-000000000000'")
    assert [(about, says) for about, says, _ in await troubles(tmp_path, dsn=well.dsn)] == [
        ("partitions", "rows lie in a default partition")
    ]
    await road.waker.close()


async def test_a_database_without_the_schema_is_told_to_be_migrated(empty_dsn: str, tmp_path: Path) -> None:
    ((about, says, do),) = await troubles(tmp_path, dsn=empty_dsn)
    assert (about, do) == ("schema", "`varsel migrate`")
    assert "the first is 0001_base" in says


async def test_a_standby_is_told_and_all_else_is_seen_without_a_write(well: Database, tmp_path: Path) -> None:
    name = conninfo_to_dict(well.dsn)["dbname"]
    await change(well, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    ((about, says, do),) = await troubles(tmp_path, dsn=well.dsn)
    assert (about, "takes no writes" in says, "target_session_attrs" in do) == ("database", True, True)
    assert "standby" in {about for about, *_ in await findings(tmp_path, code=1, dsn=well.dsn)}  # the last check


async def test_without_a_database_it_says_how_to_start_one(tmp_path: Path) -> None:
    ((about, says, do),) = await troubles(tmp_path)
    assert (about, str(tmp_path / "home") in says) == ("database", True)
    assert f"`varsel up --home {tmp_path / 'home'}`" in do
    run = await varsel(tmp_path)
    assert (run.exit_code, run.output.splitlines()[-1]) == (1, "1 of 5 needs attention.")
    away = make_conninfo(host="127.0.0.1", port=1, user="varsel", dbname="varsel")
    ((about, says, _),) = await troubles(tmp_path, dsn=away)
    assert (about, says) == ("database", "it does not answer")


async def test_beside_a_running_up_its_database_and_its_settings_are_looked_at(well: Database, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "database.dsn").write_text(well.dsn)
    (home / "up.toml").write_text(f'database_url = "{well.dsn}"\n[sandbox]\nenabled = true\n{SETTINGS}')
    for file in home.iterdir():
        file.chmod(0o600)
    await change(well, "UPDATE sandbox_clock SET shift = '1 day'")
    with hold_home(home):
        found = await findings(tmp_path, code=0, settings="")
    assert ("clock", "note", "the sandbox's clock stands 1 day, 0:00:00 ahead", "") in found
    assert [about for about, *_ in await troubles(tmp_path)] == ["database"]


async def test_secrets_that_others_may_read_or_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    key = home / "suppression.key"
    key.write_text("a-secret-of-suppression")
    key.chmod(0o644)
    other = {"VARSEL_SUPPRESSION__KEY": "a-secret-of-suppression-2"}
    found = {about: (says, do) for about, says, do in await troubles(tmp_path, **other)}
    assert set(found) - {"disk"} == {"suppression key", "secret files", "database"}
    assert f"{key} (mode 0644)" in found["secret files"][0]
    assert found["secret files"][1] == f"chmod go-rwx {key}"
    assert str(key) in found["suppression key"][0]
    key.chmod(0o600)
    assert {about for about, *_ in await troubles(tmp_path)} - {"disk"} == {"database"}


async def test_production_is_asked_for_what_it_cannot_do_without(tmp_path: Path) -> None:
    found = {(about, do) for about, _, do in await troubles(tmp_path, settings="", VARSEL_ENVIRONMENT="production")}
    assert {about for about, _ in found} == {"settings", "suppression key", "database"}
    assert {do for about, do in found if about == "settings"} == {
        "set auth.issuers",
        "set server.base_url to what clients see",
    }


async def test_settings_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    run = await varsel(tmp_path, VARSEL_SERVER__PORT="high")
    assert (run.exit_code, "VARSEL_SERVER__PORT" in run.output) == (2, True)


@given(st.timedeltas(timedelta(seconds=-10), timedelta(seconds=10)))
def test_clocks_may_be_two_seconds_apart_whichever_is_ahead(apart: timedelta) -> None:
    host = datetime(2026, 11, 23, tzinfo=UTC)
    facts = Facts(host + apart, live_workers=1, stray_rows=False, synchronous_standby=True)
    assert facts.clocks_differ(host) == (not -2 <= apart.total_seconds() <= 2)


@pytest.mark.parametrize(
    ("total", "free", "level"),
    [
        (8, 0.9, Level.ATTENTION),
        (8, 1.1, Level.OK),
        (100, 4.9, Level.ATTENTION),
        (100, 5.1, Level.OK),
        (4_000, 9.9, Level.ATTENTION),
        (4_000, 10.1, Level.OK),
    ],
)
def test_a_disk_is_nearly_full_below_a_share_that_suits_its_size(total: int, free: float, level: Level) -> None:
    assert room_of(Path("/"), total * 10**9, int(free * 10**9)).level is level
