"""What the profile and support look up is found by an index among 50 000 rows."""

from uuid import UUID

from varsel.db import Database, execute, fetch
from varsel.recipients.profile import store, support_store

PARTY_SQL = f"SELECT org_no FROM registry.organisation o WHERE {store.PARTY} = %(party)s AND NOT deleted"
ARGUMENTS: dict[str, object] = {
    "party": UUID(int=7),
    "user": 7,
    "org_no": "310000007",
    "email": "7@example.com",
    "phones": ["+4799999007"],
    "spellings": ["7@example.com"],
    "kind": "email",
    "key": "7",
    "limit": 10,
}


async def test_no_look_up_reads_a_whole_table(database: Database) -> None:
    await _fill(database)
    nothing: dict[str, object] = {"org_no": None, "email": None, "phones": [], "limit": 10}
    asked: list[tuple[str, dict[str, object]]] = [
        (PARTY_SQL, ARGUMENTS),
        (store.CONTACTS, {**ARGUMENTS, "org_no": None}),
        (support_store.OF_ORGANISATION, ARGUMENTS),
        (support_store.WITH_ADDRESS, ARGUMENTS),
        (support_store.BY_KEY, ARGUMENTS),
        *[(support_store.COLLEAGUES, {**nothing, by: ARGUMENTS[by]}) for by in ("org_no", "email", "phones")],
    ]
    for sql, params in asked:
        plan = await _plan(database, sql, params)
        assert "Seq Scan" not in plan, plan


async def _plan(database: Database, sql: str, params: dict[str, object]) -> str:
    async with database.reading() as conn:
        return "\n".join(await fetch(conn, f"EXPLAIN {sql}", params, str))


async def _fill(database: Database) -> None:
    statements = [
        """INSERT INTO registry.organisation (org_no, source, changed_at)
           SELECT (310000000 + n)::text, 'file', now() FROM generate_series(1, 50000) n""",
        """INSERT INTO registry.org_address (registry_id, org_no, kind, address, source, changed_at)
           SELECT n::text, (310000000 + n)::text, 'email', n || '@example.com', 'file', now()
             FROM generate_series(1, 50000) n""",
        """INSERT INTO registry.user_org_contact (org_no, user_id, email, phone, source, changed_at)
           SELECT (310000000 + n)::text, n, n || '@example.com', '+4799' || n, 'file', now()
             FROM generate_series(1, 50000) n""",
        """INSERT INTO registry.person (subject_key, reserved, source, changed_at)
           SELECT n::text, false, 'file', now() FROM generate_series(1, 50000) n""",
        """INSERT INTO registry.party_user (user_id, subject_key, source, changed_at)
           SELECT n, n::text, 'file', now() FROM generate_series(1, 50000) n""",
        "ANALYZE registry.organisation, registry.org_address, registry.user_org_contact, registry.person,"
        " registry.party_user",
    ]
    async with database.autocommit() as conn:
        for statement in statements:
            await execute(conn, statement, {})
