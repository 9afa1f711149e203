"""Files as they come: well formed, broken, and arbitrary bytes (registries 7.5)."""

import asyncio
import csv
import gzip
import io
import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from varsel.clock import ManualClock
from varsel.domain.errors import Rejected
from varsel.recipients.load.formats import Form
from varsel.recipients.load.job import Loaded, Mode, Options, Outcome, load
from varsel.recipients.load.rows import COLUMNS, Kind

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
P1 = "14838510036"
ONE_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)  # overwritten each time


def validate(path: Path, content: bytes | str, kind: Kind = Kind.PERSONS, form: Form | None = None) -> Loaded:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    options = Options(mode=Mode.VALIDATE, form=form or Form(), max_bad=100, errors=path.with_suffix(".errors"))
    return asyncio.run(load(None, kind, [path], options, clock=ManualClock(NOW), production=False))


def codes(loaded: Loaded) -> list[tuple[int, str, str]]:
    return [(problem.line, problem.column, problem.code) for problem in loaded.problems]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "lacks the column id"),
        ("email\na@example.com\n", "lacks the column id"),
        (f"{P1},a@example.com\n", "lacks the column id"),  # no header: its first line is not shown
        ("id,epost,navn\n", "unknown columns: epost, navn; known: deleted, email"),
        ("id,email,email\n", "twice"),
        (f'id,email\n{P1},"a@example.com\n', "line 2"),
        (f'id,email\n{P1},"a"@example.com\n', "line 2"),
        ("id\n" + "1" * (1 << 20) + "\n", "longer"),
        (b"\x28\xb5\x2f\xfd rest", "zstd"),
        (b"\x1f\x8b\x08\x00 rest", "gzip"),
        (gzip.compress(b"id\n" + P1.encode() * 100, mtime=0)[:-6], "gzip"),
        (gzip.compress(b"id\n", mtime=0)[:10] + b"\xff" * 20, "gzip"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_the_reason(path: Path, content: bytes | str, words: str) -> None:
    with pytest.raises(Rejected, match=words) as caught:
        validate(path, content)
    assert P1 not in str(caught.value)


def test_unknown_columns_can_be_passed_over(path: Path) -> None:
    form = Form(ignore_unknown=True)
    assert validate(path, f"id,navn\n{P1},X\n", form=form).bad == 0
    assert validate(path, json.dumps({"id": P1, "navn": "X"}), form=form).bad == 0


def test_a_header_alone_is_an_empty_file(path: Path) -> None:
    assert validate(path, "id,email\n").lines == 0


def test_columns_come_in_any_order_and_blanks_around_fields_do_not_count(path: Path) -> None:
    assert validate(path, f" email ,id\r\n a@example.com , {P1} \r\n\r\n").lines == 1
    assert validate(path, f" email ,id\r\n a@example.com , {P1} \r\n\r\n").bad == 0


def test_bad_lines_are_told_by_line_and_column_also_after_a_quoted_line_break(path: Path) -> None:
    lines = [
        "id,email,mobile,reserved,first_name,email_updated",
        f'{P1},a@example.com,,,"A',
        'B",',
        f"{P1},a@,,,,",
        f"{P1},,123,,,",
        f"{P1},,,ja,,",
        f"{P1},,,,,i går",
        f"{P1},,,,,0001-01-01T00:00:00+14:00",
        ",a@example.com,,,,",
        f"{P1},a@example.com",
        f"{P1},,,,{'x' * 401},",
    ]
    assert codes(validate(path, "\n".join(lines))) == [
        (3, "first_name", "characters"),
        (4, "email", "email"),
        (5, "mobile", "mobile"),
        (6, "reserved", "boolean"),
        (7, "email_updated", "time"),
        (8, "email_updated", "time"),
        (9, "id", "missing"),
        (10, "", "field-count"),
        (11, "first_name", "too-long"),
    ]


def test_bad_lines_of_json_are_told_likewise(path: Path) -> None:
    lines = [
        json.dumps({"id": P1, "reserved": True, "email": None}),
        '{"id": ',
        "[]",
        json.dumps({"id": P1, "navn": "X"}),
        json.dumps({"id": P1, "email": {"a": 1}}),
        json.dumps({"id": int(P1[1:])}),
        '{"id": ' + "[" * 100_000,
        json.dumps({"id": P1, "email": ["a@example.com", 1]}),
    ]
    assert codes(validate(path, "\n".join(lines))) == [
        (2, "", "json"),
        (3, "", "json"),
        (4, "", "unknown-column"),
        (5, "email", "json-type"),
        (6, "id", "identity-number"),
        (7, "", "json"),
        (8, "email", "json-type"),
    ]


def test_bytes_that_are_not_utf_8_are_bad_lines_and_their_neighbours_are_read(path: Path) -> None:
    loaded = validate(path, f"id,last_name\n{P1},SKØYEN\n".encode() + f"{P1},SK\xd8YEN\n".encode("latin-1"))
    assert (loaded.lines, codes(loaded)) == (2, [(3, "last_name", "characters")])


@pytest.mark.parametrize(
    ("kind", "line", "code"),
    [
        (Kind.ORGANISATIONS, {"org_no": "310001008"}, "organisation-number"),
        (Kind.ORGANISATIONS, {"org_no": "310001007", "parent_org_no": "310001007"}, "own-parent"),
        (Kind.ORGANISATIONS, {"org_no": "310001007", "party_id": "2147483648"}, "number"),
        (Kind.ORGANISATIONS, {"org_no": "310001007", "party_uuid": "x"}, "uuid"),
        (Kind.ORG_ADDRESSES, {"org_no": "310001007", "kind": "fax", "address": "1"}, "address-kind"),
        (Kind.ORG_ADDRESSES, {"org_no": "310001007", "kind": "sms", "address": "a@example.com"}, "mobile"),
        (Kind.USERS, {"user_id": "0"}, "number"),
        (Kind.USERS, {"user_id": "1", "kind": "robot"}, "user-kind"),
        (Kind.USER_ADDRESSES, {"user_id": "1", "org_no": "310001007"}, "no-address"),
        (
            Kind.USER_ADDRESSES,
            {"user_id": "1", "org_no": "310001007", "email": "a@example.com", "resources": "Demo"},
            "resource",
        ),
        (Kind.ROLES, {"user_id": "1", "org_no": "310001007", "role": "to ord"}, "word"),
        (
            Kind.ROLES,
            {"user_id": "1", "org_no": "310001007", "role": "r", "valid_from": "2026-01-02", "valid_to": "2026-01-02"},
            "ends-before-it-begins",
        ),
        (Kind.RULES, {"resource_id": "*", "action": "", "role": "r"}, "missing"),
        (Kind.EXTERNAL_IDENTITIES, {"username": " ", "phone": "+4799999501"}, "missing"),
        (Kind.EXTERNAL_IDENTITIES, {"username": "a", "idporten_email": "a@example.com"}, "both-names"),
        (Kind.EXTERNAL_IDENTITIES, {"idporten_email": "a"}, "email"),
        (
            Kind.DELEGATIONS,
            {"user_id": "1", "org_no": "310001007", "resource_id": "*", "action": "read"},
            "resource",
        ),
    ],
)
def test_each_kind_has_its_rules(path: Path, kind: Kind, line: dict[str, str], code: str) -> None:
    assert [problem.code for problem in validate(path, json.dumps(line), kind).problems] == [code]


HEADERS = st.sampled_from(
    [b"", b"id,email\n", b"\xef\xbb\xbfid\n", b'{"id": "1"}\n', b"\x1f\x8b", b"user_id,org_no,role\n"]
)


@ONE_FILE
@given(header=HEADERS, content=st.binary(max_size=200), kind=st.sampled_from(Kind))
def test_no_bytes_bring_the_reader_down(path: Path, header: bytes, content: bytes, kind: Kind) -> None:
    with suppress(Rejected):
        assert validate(path, header + content, kind).outcome is Outcome.VALID


@ONE_FILE
@given(
    rows=st.lists(st.lists(st.text(max_size=12) | st.just(P1), min_size=13, max_size=13), max_size=5),
    kind=st.sampled_from(Kind),
)
def test_no_field_brings_the_reader_down(path: Path, rows: Sequence[Sequence[str]], kind: Kind) -> None:
    header = sorted(COLUMNS[kind].required | COLUMNS[kind].optional)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(row[: len(header)] for row in rows)
    with suppress(Rejected):
        loaded = validate(path, text.getvalue().encode("utf-8", "surrogatepass"), kind)
        assert loaded.bad <= loaded.lines <= len(rows)


@ONE_FILE
@given(
    rows=st.lists(
        st.dictionaries(
            st.sampled_from(sorted(COLUMNS[Kind.USER_ADDRESSES].optional | {"org_no", "user_id"})),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
                max_leaves=5,
            ),
        ),
        max_size=5,
    )
)
def test_no_json_brings_the_reader_down(path: Path, rows: Sequence[dict[str, object]]) -> None:
    loaded = validate(path, "".join(json.dumps(row) + "\n" for row in rows), Kind.USER_ADDRESSES) if rows else None
    assert loaded is None or loaded.lines == len(rows)
