"""Rows that come over HTTP: few, checked as those of files are, written all or nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from varsel.db import Database
from varsel.domain.errors import Rejected
from varsel.recipients.load import store, values
from varsel.recipients.load.formats import Form, fields_of
from varsel.recipients.load.rows import COLUMNS, BadLine, Fields, Kind, Row
from varsel.recipients.load.store import TABLES
from varsel.recipients.load.values import Rules

Members = Mapping[str, object]
"""A row as JSON, with the columns of files as names."""

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with a row: which, its column (empty: the row as a whole), and a code."""

    place: int
    column: str
    code: str


@dataclass(slots=True)
class Batch:
    """`deleted`: keys. What could not be read stands in the two lists of wrongs; then nothing may be written."""

    kind: Kind
    upserted: list[Row] = field(default_factory=list)
    deleted: list[Key] = field(default_factory=list)
    wrong_upserts: list[Wrong] = field(default_factory=list)
    wrong_deletes: list[Wrong] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Changed:
    """`of_others`: rows that a feed or a user wrote, and that stay as they are."""

    inserted: int
    updated: int
    unchanged: int
    deleted: int
    of_others: int


def read_batch(kind: Kind, upserts: Sequence[Members], deletes: Sequence[Members], rules: Rules) -> Batch:
    batch = Batch(kind)
    for place, members in enumerate(upserts):
        try:
            batch.upserted.append(COLUMNS[kind].read(_fields(kind, members), rules))
        except (BadLine, Rejected) as e:
            batch.wrong_upserts.append(_wrong(place, e))
    for place, members in enumerate(deletes):
        try:
            batch.deleted.append(_key(kind, _fields(kind, members), rules))
        except (BadLine, Rejected) as e:
            batch.wrong_deletes.append(_wrong(place, e))
    return batch


async def write_batch(database: Database, batch: Batch, *, now: datetime) -> Changed:
    """Delete, then insert or update; of one key the last row counts. The same batch again changes nothing.

    Raises `Rejected` when two rows share a value that must be unique, `Unavailable` also while a large file is merged.
    """
    kind = batch.kind
    upserted = [tuple(getattr(row, column) for column in TABLES[kind].key) for row in batch.upserted]
    async with database.transaction() as conn:
        await store.lock_soon(conn)
        deleted = await store.delete_batch(conn, kind, batch.deleted)
        merged = await store.merge_batch(conn, kind, batch.upserted, now=now)
        kept = await store.count_others(conn, kind, upserted)
        of_others = await store.count_others(conn, kind, [*upserted, *batch.deleted])
    unchanged = merged.distinct - merged.inserted - merged.updated - kept
    return Changed(merged.inserted, merged.updated, unchanged, deleted, of_others)


def _fields(kind: Kind, members: Members) -> Fields:
    return Fields(fields_of(members, COLUMNS[kind], Form()))


def _key(kind: Kind, fields: Fields, rules: Rules) -> Key:
    """Of a row that names no more than its key needs."""
    if kind is Kind.USER_ADDRESSES:
        return fields.need("org_no", rules.organisation), fields.need("user_id", values.positive)
    if kind is Kind.ORG_ADDRESSES and (registry_id := fields.get("registry_id", values.text)):
        return (registry_id,)
    row = COLUMNS[kind].read(fields, rules)
    return tuple(getattr(row, column) for column in TABLES[kind].key)


def _wrong(place: int, error: BadLine | Rejected) -> Wrong:
    return Wrong(place, error.column if isinstance(error, BadLine) else "", error.code)
