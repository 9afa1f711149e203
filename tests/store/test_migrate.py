"""Migrations run once whoever calls them, and every id finds the leaf of its month (design 8, "Data")."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest

from varsel.db import Conn, Database, execute, fetch, fetch_value
from varsel.domain.ids import uuid7, uuid7_floor
from varsel.migrate import SchemaMismatch, known_migrations, make_partitions, migrate, pending_migrations

PARTITIONED = ("orders", "order_content", "notification", "attempt", "delivery_report")
LEAVES = """
SELECT c.relname, c.reloptions FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = %(table)s::regclass ORDER BY c.relname
"""
REPORT = """
INSERT INTO delivery_report (id, provider, event_key, channel, verdict, raw_state, payload, received_at)
VALUES (%(id)s, %(provider)s, %(event)s, 'sms', 'delivered', 'DELIVRD', '{}', %(now)s)
ON CONFLICT DO NOTHING
"""
ATTEMPT = """
INSERT INTO attempt (notification_id, number, provider, ended_at, outcome) VALUES (%(id)s, 1, 'p', now(), 'refused')
"""


async def leaves(conn: Conn, table: str) -> dict[str, list[str] | None]:
    rows: list[tuple[str, list[str] | None]] = await fetch(conn, LEAVES, {"table": table}, lambda *row: row)
    return dict(rows)


async def leaf_of(conn: Conn, id_: UUID) -> str:
    sql = "SELECT tableoid::regclass::text FROM attempt WHERE notification_id = %(id)s"
    return str(await fetch_value(conn, sql, {"id": id_}))


async def report(conn: Conn, id_: UUID, *, provider: str = "link", event: str = "e1") -> int:
    return await execute(conn, REPORT, {"id": id_, "provider": provider, "event": event, "now": datetime.now(UTC)})


async def test_an_empty_database_gets_every_migration_in_order_and_once(empty_dsn: str) -> None:
    database = Database(empty_dsn, size=2, name="test")
    await database.open()
    names = [m.name for m in known_migrations()]
    assert names == sorted(names)
    assert await pending_migrations(database) == names
    assert await migrate(database) == names
    assert await pending_migrations(database) == []
    assert await migrate(database) == []
    await database.close()


async def test_many_processes_that_migrate_at_once_apply_each_migration_once(empty_dsn: str) -> None:
    databases = [Database(empty_dsn, size=1, name=f"test {n}") for n in range(6)]
    await asyncio.gather(*(database.open() for database in databases))
    applied = await asyncio.gather(*(migrate(database) for database in databases))
    assert sorted(name for names in applied for name in names) == [m.name for m in known_migrations()]
    await asyncio.gather(*(database.close() for database in databases))


async def test_a_migration_that_was_changed_after_it_ran_is_refused(database: Database) -> None:
    async with database.transaction() as conn:
        await execute(conn, "UPDATE schema_migration SET checksum = 'other' WHERE number = 2", {})
    with pytest.raises(SchemaMismatch, match="0002_orders"):
        await migrate(database)


async def test_a_newer_release_that_migrated_already_is_no_obstacle(database: Database) -> None:
    async with database.transaction() as conn:
        later = "INSERT INTO schema_migration (number, name, checksum) VALUES (9000, '9000_later', 'x')"
        await execute(conn, later, {})
    assert await pending_migrations(database) == []
    assert await migrate(database) == []


async def test_every_partitioned_table_has_leaves_from_last_month_to_three_months_ahead(database: Database) -> None:
    async with database.transaction() as conn:
        await make_partitions(conn, datetime(2031, 11, 30, 23, 59, tzinfo=UTC))
        for table in PARTITIONED:
            have = await leaves(conn, table)
            months = {f"{table}_{month}" for month in ("2031_10", "2031_11", "2031_12", "2032_01", "2032_02")}
            assert months | {f"{table}_default"} <= have.keys()
            assert all(options for options in have.values()), "autovacuum must not have PostgreSQL's own settings"


async def test_partitions_can_be_made_by_many_at_once_and_again(database: Database) -> None:
    async def make() -> None:
        async with database.transaction() as conn:
            await make_partitions(conn, datetime(2031, 11, 1, tzinfo=UTC))

    await asyncio.gather(*(make() for _ in range(6)))
    await make()
    async with database.transaction() as conn:
        have = [name for name in await leaves(conn, "orders") if "_2031" in name or "_2032" in name]
    assert len(have) == 5


async def test_an_id_lies_in_the_leaf_of_the_month_it_was_made_in(database: Database) -> None:
    id_ = uuid7()
    async with database.transaction() as conn:
        await execute(conn, ATTEMPT, {"id": id_})
        assert await leaf_of(conn, id_) == f"attempt_{datetime.now(UTC):%Y_%m}"


async def test_the_first_id_of_a_month_and_the_last_of_the_one_before_are_told_apart(database: Database) -> None:
    first = uuid7_floor(datetime(2031, 12, 1, tzinfo=UTC))
    last = UUID(int=first.int - 1)
    async with database.transaction() as conn:
        await make_partitions(conn, datetime(2031, 11, 5, tzinfo=UTC))
        await execute(conn, ATTEMPT, {"id": first})
        await execute(conn, ATTEMPT, {"id": last})
        assert await leaf_of(conn, first) == "attempt_2031_12"
        assert await leaf_of(conn, last) == "attempt_2031_11"


async def test_rows_that_came_while_their_leaf_was_missing_move_into_it(database: Database) -> None:
    november, december = (uuid7_floor(datetime(2031, month, 5, tzinfo=UTC)) for month in (11, 12))
    async with database.transaction() as conn:
        for id_ in (november, december):
            await execute(conn, ATTEMPT, {"id": id_})
            assert await report(conn, id_, event=str(id_)) == 1
            assert await leaf_of(conn, id_) == "attempt_default"
    async with database.transaction() as conn:
        await make_partitions(conn, datetime(2031, 11, 5, tzinfo=UTC))
        assert await leaf_of(conn, november) == "attempt_2031_11"
        assert await leaf_of(conn, december) == "attempt_2031_12"
        assert await fetch_value(conn, "SELECT count(*) FROM delivery_report_default", {}) == 0
        assert await fetch_value(conn, "SELECT count(*) FROM delivery_report", {}) == 2


async def test_the_same_event_of_a_provider_is_stored_once_in_a_month(database: Database) -> None:
    async with database.transaction() as conn:
        assert await report(conn, uuid7()) == 1
        assert await report(conn, uuid7()) == 0
        assert await report(conn, uuid7(), event="e2") == 1
        assert await report(conn, uuid7(), provider="another") == 1
        assert await fetch_value(conn, "SELECT count(*) FROM delivery_report", {}) == 3


async def test_the_same_event_sent_to_many_processes_at_once_is_stored_once(database: Database) -> None:
    async def store() -> int:
        async with database.transaction() as conn:
            return await report(conn, uuid7())

    assert sum(await asyncio.gather(*(store() for _ in range(8)))) == 1


async def test_an_id_is_unique_within_its_table(database: Database) -> None:
    id_ = uuid7()
    insert = """
    INSERT INTO order_content (order_id, sms_sender, sms_body, recipients) VALUES (%(id)s, 'a', 'b', '[]')
    """
    async with database.transaction() as conn:
        await execute(conn, insert, {"id": id_})
    with pytest.raises(psycopg.errors.UniqueViolation):
        async with database.transaction() as conn:
            await execute(conn, insert, {"id": id_})


async def test_a_named_constraint_of_the_parent_holds_in_every_leaf(database: Database) -> None:
    insert = "INSERT INTO order_content (order_id, sms_body, recipients) VALUES (%(id)s, 'b', '[]')"
    with pytest.raises(psycopg.errors.CheckViolation) as violation:
        async with database.transaction() as conn:
            await execute(conn, insert, {"id": uuid7()})
    assert violation.value.diag.constraint_name == "order_content_sms_whole"
