"""Following a register with real processes: a worker killed with -9, and `varsel registry` as a person runs it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import pytest

from feeds import CLIENT_ID, Feeds, address, gone, jwk, person, running_feeds
from road import until
from varsel.db import Database, execute
from varsel.domain.identifiers import synthetic_person_id
from varsel.recipients.load.rows import Organisation
from varsel.simulators.business_addresses import FEED
from varsel.simulators.krr import CHANGES

PEOPLE = 200
O1 = "310001007"


@pytest.fixture
async def feeds(database: Database) -> AsyncIterator[Feeds]:
    async with running_feeds(database) as feeds:
        feeds.business.world.put(Organisation(O1, None, None, None, None, None, deleted=False))
        yield feeds


def variables(feeds: Feeds, **registry: str) -> dict[str, str]:
    settings = {
        "krr_changes_url": feeds.krr.url.rstrip("/") + CHANGES,
        "krr_sync_interval": "PT30S",
        "business_feed_url": feeds.business.url.rstrip("/") + FEED,
        "maskinporten_issuer": feeds.maskinporten.issuer,
        "maskinporten_token_url": feeds.maskinporten.token_url,
        "maskinporten_client_id": CLIENT_ID,
        "maskinporten_jwk": jwk().get_secret_value(),
        **registry,
    }
    ours = {f"VARSEL_REGISTRY__{name.upper()}": value for name, value in settings.items()}
    theirs = {name: value for name, value in os.environ.items() if not name.startswith("VARSEL_")}
    return {**theirs, **ours, "VARSEL_DATABASE_URL": feeds.db.dsn}


class Ended(NamedTuple):
    status: int
    out: str
    err: str


async def varsel(feeds: Feeds, *words: str, **registry: str) -> Ended:
    process = await start(variables(feeds, **registry), *words)
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def start(environ: Mapping[str, str], *words: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "varsel", *words, env=environ, stdout=pipe, stderr=pipe
    )


async def test_a_worker_that_is_killed_again_and_again_loses_nothing_and_writes_nothing_twice(feeds: Feeds) -> None:
    async with feeds.db.autocommit() as conn:
        await execute(conn, "CREATE TABLE watched (key text, version timestamptz, deleted boolean)", {})
        await execute(
            conn,
            "CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO watched VALUES (NEW.subject_key, NEW.version_at, NEW.deleted); RETURN NULL; END $$",
            {},
        )
        await execute(
            conn,
            "CREATE TRIGGER watch AFTER INSERT OR UPDATE ON registry.person FOR EACH ROW EXECUTE FUNCTION watch()",
            {},
        )
    for index in range(PEOPLE):
        feeds.krr.change(person(index % 150, version=index))
    feeds.krr.change(gone(3))
    feeds.krr.page_size = 2
    feeds.krr.fail("delay", times=10_000, seconds=0.005)
    environ = variables(feeds, krr_sync_enabled="true")
    for part in range(1, 5):
        worker = await start(environ, "worker", "--only", "registries")
        try:
            await until(lambda part=part: _beyond(feeds, part * PEOPLE // 5), 30)
        finally:
            worker.kill()
            await worker.communicate()
        async with feeds.db.autocommit() as conn:  # as if two minutes had passed
            await execute(conn, "UPDATE registry.sync_cursor SET lease_until = '-infinity'", {})
    report = await feeds.persons().run()
    assert report is not None
    assert report.outcome == "done"
    truth = {p.subject_key: (p.email, p.reserved, p.deleted) for p in feeds.krr.log}
    assert await feeds.people() == truth
    twice = "SELECT count(*) FROM (SELECT 1 FROM watched GROUP BY key, version, deleted HAVING count(*) > 1) AS t"
    assert await feeds.value(twice) == 0
    outcomes = [outcome for (outcome,) in await feeds.rows("SELECT outcome FROM registry.sync_run ORDER BY id")]
    assert outcomes == ["abandoned"] * 4 + ["done"]
    written = await feeds.value("SELECT sum(inserted + updated + removed)::int FROM registry.sync_run")
    assert written == await feeds.value("SELECT count(*) FROM watched")


async def _beyond(feeds: Feeds, position: int) -> bool:
    return bool(await feeds.cursor("krr", "position") >= position)


async def test_a_worker_that_is_told_to_stop_gives_its_feed_back_at_once(feeds: Feeds) -> None:
    feeds.krr.change(person(1))
    feeds.krr.fail("stall", times=100)
    worker = await start(variables(feeds, krr_sync_enabled="true"), "worker", "--only", "registries")
    await until(lambda: bool(feeds.krr.asked(CHANGES)), 30)
    worker.send_signal(signal.SIGTERM)
    _, err = await asyncio.wait_for(worker.communicate(), 10)
    assert worker.returncode == 0, err
    assert await feeds.rows("SELECT outcome FROM registry.sync_run") == [("stopped",)]
    assert await feeds.cursor("krr", "lease_until") is None


async def test_an_operator_sees_how_feeds_stand_and_what_to_do(feeds: Feeds) -> None:
    untouched = await varsel(feeds, "registry", "status")
    assert (untouched.status, untouched.out) == (0, "krr: not followed\nbusiness-addresses: not followed\n")
    feeds.krr.change(person(1))
    feeds.business.change(address("a", O1, "post@example.com"))
    for feed in ("krr", "business-addresses"):
        done = await varsel(feeds, "registry", "sync", feed, "--once")
        assert done.status == 0, done
        assert "done, 1 pages, 1 inserted" in done.out
    shown = await varsel(feeds, "registry", "status")
    assert shown.status == 0, shown
    assert "business-addresses" in shown.out
    feeds.krr.fail("reset-log")
    failed = await varsel(feeds, "registry", "sync", "krr", "--once")
    assert (failed.status, "needs_resync" in failed.out) == (1, True)
    wants = await varsel(feeds, "registry", "status")
    assert (wants.status, "varsel registry resync krr" in wants.err) == (1, True)
    again = await varsel(feeds, "registry", "resync", "krr")
    assert again.status == 0, again
    told: dict[str, Any] = {s["feed"]: s for s in json.loads((await varsel(feeds, "registry", "status", "--json")).out)}
    assert (told["krr"]["state"], told["krr"]["generation"]) == ("idle", 2)


async def test_a_resync_that_would_remove_too_much_asks_for_leave(feeds: Feeds) -> None:
    for index in range(5):
        feeds.krr.change(person(index))
    await varsel(feeds, "registry", "sync", "krr", "--once")
    feeds.krr.log = feeds.krr.log[:3]
    kept = await varsel(feeds, "registry", "resync", "krr")
    assert (kept.status, "--allow-large-delete" in kept.err) == (1, True)
    assert not any(deleted for _, _, deleted in (await feeds.people()).values())
    removed = await varsel(feeds, "registry", "resync", "krr", "--allow-large-delete")
    assert removed.status == 0, removed
    assert sum(deleted for _, _, deleted in (await feeds.people()).values()) == 2


async def test_what_is_set_aside_is_shown_without_what_it_says_and_can_be_tried_again_or_let_go(feeds: Feeds) -> None:
    number = synthetic_person_id(1, 1)
    feeds.krr.change(person(1))
    feeds.krr.instead = [
        {"personidentifikator": number, "status": "NY", "kontaktinformasjon": {"epostadresse": "x@y.test"}}
    ]
    assert (await varsel(feeds, "registry", "sync", "krr", "--once")).status == 0
    listed = await varsel(feeds, "registry", "quarantine", "list")
    assert "unknown_status" in listed.out
    assert f"{number[:6]}*****" in listed.out
    everything = "".join(
        [listed.out, listed.err, (await varsel(feeds, "registry", "quarantine", "list", "--json")).out]
    )
    assert number not in everything
    assert "x@y.test" not in everything
    tried = await varsel(feeds, "registry", "quarantine", "retry", "--feed", "krr")
    assert "0 applied, 0 known better by now, 1 still unreadable" in tried.out
    [(id_,)] = await feeds.rows("SELECT id FROM registry.quarantine")
    assert "1 of 1 discarded" in (await varsel(feeds, "registry", "quarantine", "discard", str(id_))).out
    assert (await varsel(feeds, "registry", "quarantine", "discard")).status == 2


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"krr_sync_enabled": "true", "maskinporten_client_id": ""}, ""),
        ({"maskinporten_jwk": "bm90IGEga2V5"}, "maskinporten_jwk"),
        ({"krr_changes_url": "http://krr.example/"}, "https://"),
    ],
)
async def test_wrong_settings_are_named(feeds: Feeds, setting: dict[str, str], told: str) -> None:
    if not told:
        environ = {k: v for k, v in variables(feeds, **setting).items() if not k.endswith("CLIENT_ID")}
        process = await start(environ, "registry", "status")
        _, err = await process.communicate()
        assert (process.returncode, b"maskinporten_client_id" in err) == (2, True)
        return
    ended = await varsel(feeds, "registry", "sync", "krr", "--once", **setting)
    assert (ended.status, told in ended.err) == (2, True)


async def test_following_in_the_foreground_goes_on_until_it_is_stopped(feeds: Feeds) -> None:
    feeds.krr.change(person(1))
    process = await start(variables(feeds), "registry", "sync", "krr")
    await until(lambda: _beyond(feeds, 1), 30)
    process.send_signal(signal.SIGINT)
    with suppress(ProcessLookupError):
        out, _ = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0
    assert b"krr: done, 1 pages, 1 inserted" in out
    assert await feeds.cursor("krr", "state") == "idle"
