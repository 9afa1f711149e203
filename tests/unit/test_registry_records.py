"""Records of the feeds, read: any JSON gives a value or a reason, and of many snapshots the right one counts."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.domain.identifiers import synthetic_person_id
from varsel.registry_sync import addresses, persons
from varsel.registry_sync.addresses import AddressRecord, Foreign, Removal, international_prefix, read_entry
from varsel.registry_sync.persons import PersonRecord, read_person
from varsel.registry_sync.ports import UpstreamError
from varsel.registry_sync.reading import MAX_PAYLOAD, Reader, Unreadable, parse, poison

T = TypeVar("T")

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
NUMBER = synthetic_person_id(1, 1)
ORGANISATION = "310001007"

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
times = st.sampled_from(
    ["2023-06-10T21:00:01+02", "2023-06-10T21:00:01+02:00", "2023-06-10T19:00:01.768Z", "2023-06-10T21:00:01", "", "x"]
)
contacts = st.fixed_dictionaries(
    {},
    optional={
        "epostadresse": values | st.just("a@example.com"),
        "epostadresse_oppdatert": values | times,
        "mobiltelefonnummer": values | st.just("+4799999501"),
        "mobiltelefonnummer_sist_verifisert": values | times,
    },
)
people = st.fixed_dictionaries(
    {},
    optional={
        "personidentifikator": values | st.just(NUMBER),
        "status": values | st.sampled_from(["AKTIV", "SLETTET", "NY"]),
        "reservasjon": values | st.sampled_from(["JA", "NEI"]),
        "spraak": values | st.sampled_from(["nb", "xx", "norsk"]),
        "spraak_oppdatert": values | times,
        "kontaktinformasjon": values | contacts,
    },
)
units = st.fixed_dictionaries(
    {}, optional={"verdi": values | st.just(ORGANISATION), "type": values | st.just("ORGANISASJONSNUMMER")}
)
contents = st.fixed_dictionaries(
    {},
    optional={
        "kontaktinformasjonForEnhet": values | st.fixed_dictionaries({"enhetsidentifikator": values | units}),
        "digitalVarslingsinformasjon": values
        | st.fixed_dictionaries(
            {},
            optional={
                "epostadresse": values | st.just({"brukernavn": "post", "domenenavn": "example.com"}),
                "mobiltelefon": values | st.just({"internasjonaltPrefiks": "0047", "nasjonaltNummer": "99999501"}),
            },
        ),
    },
)
entries = st.fixed_dictionaries(
    {},
    optional={
        "id": values | st.just("a" * 32),
        "title": values,
        "updated": values | times,
        "isdeleted": values,
        "content": values | contents.map(lambda c: json.dumps({"Kontaktinformasjon": c})),
    },
)


def reader(*, synthetic_only: bool = True) -> Reader:
    return Reader(NOW, synthetic_only)


def or_reason(read: Callable[[], T]) -> T | str:
    try:
        return read()
    except Unreadable as e:
        return e.reason


@given(values | people)
def test_whatever_krr_tells_is_a_person_or_has_a_reason(record: object) -> None:
    read = or_reason(lambda: read_person(record, 3, reader()))
    if isinstance(read, str):
        assert read in {"missing_id", "bad_id", "bad_shape", "bad_time", "too_long", "characters", "unknown_status"}
    else:
        assert (read.subject_key, read.ordinal) == (NUMBER, 3)
        assert read.email is None or "\0" not in read.email
        times = (read.email_updated_at, read.email_verified_at, read.mobile_updated_at, read.mobile_verified_at)
        assert all(time.tzinfo is UTC and read.version_at and time <= read.version_at for time in times if time)
        assert not read.deleted or (read.email, read.mobile, read.language, read.reserved) == (None, None, None, False)


@given(values | entries)
def test_whatever_the_business_register_tells_is_an_entry_or_has_a_reason(record: object) -> None:
    read = or_reason(lambda: read_entry(record, 3, reader()))
    if isinstance(read, str):
        assert read in {
            *("missing_id", "missing_time", "bad_time", "bad_shape", "no_content", "content_not_json", "no_address"),
            *("too_long", "characters", "bad_organisation_number"),
        }
    else:
        assert isinstance(read, Foreign | Removal) or read.address in {"post@example.com", "+4799999501"}


@given(values)
def test_what_is_set_aside_can_be_kept_in_any_database_and_read_again(record: object) -> None:
    kept = poison(record, 0, "bad_shape")
    assert kept.upstream_id.startswith("sha256:")
    assert kept.payload is not None
    assert kept.payload.isascii()
    assert "\0" not in kept.payload
    assert json.dumps(parse(kept.payload)) == json.dumps(record)


def test_what_is_too_long_is_not_kept() -> None:
    assert poison("x" * MAX_PAYLOAD, 0, "too_long").payload is None


@pytest.mark.assertion("registries-faults", 41, 43)
@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"kontaktinformasjon": {"epostadresse": "x" * 401}}, "too_long"),
        ({"kontaktinformasjon": {"epostadresse": "a\0b"}}, "characters"),
        ({"kontaktinformasjon": {"epostadresse": "\ud800"}}, "characters"),
        ({"kontaktinformasjon": []}, "bad_shape"),
        ({"reservasjon": True}, "bad_shape"),
        ({"status": "FLYTTET"}, "unknown_status"),
        ({"status": "IKKE_REGISTRERT"}, "unknown_status"),
        ({"personidentifikator": " "}, "missing_id"),
        ({"personidentifikator": "123"}, "bad_id"),
        ({"spraak_oppdatert": "2023-13-01"}, "bad_time"),
    ],
)
def test_a_person_is_set_aside_with_the_reason(members: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        read_person({"personidentifikator": NUMBER, "status": "AKTIV", **members}, 0, reader())


@pytest.mark.assertion("registries-faults", 41, 42)
def test_what_is_new_in_the_register_does_not_cost_us_the_person() -> None:
    strange = {"spraak": "tysk", "nyttFelt": {"a": 1}, "digital_post": None, "spraak_oppdatert": "9999-01-01T00:00:00Z"}
    seen = reader()
    read = read_person({"personidentifikator": f" {NUMBER} ", "status": "AKTIV", **strange}, 0, seen)
    assert (read.subject_key, read.language) == (NUMBER, None)
    assert seen.oddities == {"unknown_language": 1, "time_ahead": 1}


def test_a_time_without_an_offset_is_utc_and_counted() -> None:
    seen = reader()
    assert seen.instant("2023-06-10T21:00:01") == datetime(2023, 6, 10, 21, 0, 1, tzinfo=UTC)
    assert seen.oddities == {"time_without_offset": 1}


def test_a_register_is_right_about_its_own_identifiers() -> None:
    wrong = NUMBER[:-1] + str((int(NUMBER[-1]) + 1) % 10)
    seen = reader()
    assert read_person({"personidentifikator": wrong, "status": "AKTIV"}, 0, seen).subject_key == wrong
    assert seen.oddities == {"identity_check_digits": 1}


# Which snapshot counts

VERSIONS = [NOW - timedelta(days=9 - n) for n in range(3)]


def snapshot(ordinal: int, version: datetime | None, *, deleted: bool = False) -> PersonRecord:
    return PersonRecord(
        NUMBER, ordinal, deleted, email=None if deleted else f"{ordinal}@example.com", version_at=version
    )


@pytest.mark.assertion("registries-faults", 6)
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_of_snapshots_the_newest_counts_in_whatever_order_they_come(order: tuple[int, ...]) -> None:
    [chosen] = persons.choose([snapshot(n, VERSIONS[n]) for n in order])
    assert chosen == snapshot(2, VERSIONS[2])


def test_of_snapshots_as_new_as_each_other_or_without_times_the_later_one_counts() -> None:
    assert persons.choose([snapshot(0, NOW), snapshot(1, NOW)])[0].ordinal == 1
    assert persons.choose([snapshot(0, NOW), snapshot(1, None)])[0].ordinal == 1
    assert persons.choose([snapshot(0, None), snapshot(1, NOW)])[0].ordinal == 1


snapshots = st.lists(st.tuples(st.none() | st.sampled_from(VERSIONS), st.booleans()), min_size=1, max_size=6)


@given(snapshots)
def test_a_deletion_is_undone_by_nothing_that_is_not_newer_than_all_before_it(given: list[tuple[Any, bool]]) -> None:
    records = [snapshot(n, None if deleted else version, deleted=deleted) for n, (version, deleted) in enumerate(given)]
    [chosen] = persons.choose(records)
    deletions = [record.ordinal for record in records if record.deleted]
    if deletions:
        assert chosen.ordinal >= deletions[-1]
        before = [r.version_at for r in records[: deletions[-1]] if r.version_at]
        after = records[deletions[-1] + 1 :]
        if after and before and all(r.version_at and r.version_at <= max(before) for r in after):
            assert chosen.deleted


@given(snapshots, st.integers(0, 6))
def test_a_page_cut_in_two_says_the_same_as_the_whole(given: list[tuple[Any, bool]], cut: int) -> None:
    records = [snapshot(n, None if deleted else version, deleted=deleted) for n, (version, deleted) in enumerate(given)]
    halves = [*persons.choose(records[:cut]), *records[cut:]]
    assert persons.choose(halves) == persons.choose(records)


def entry(ordinal: int, minute: int, *, removed: bool = False) -> AddressRecord | Removal:
    at = NOW + timedelta(minutes=minute)
    return (
        Removal("a", ordinal, at)
        if removed
        else AddressRecord("a", ordinal, at, ORGANISATION, "email", "x@y.test", None)
    )


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6))
def test_of_entries_of_an_address_the_newest_counts_and_of_equal_times_the_removal(
    given: list[tuple[int, bool]],
) -> None:
    listed = [entry(n, minute, removed=removed) for n, (minute, removed) in enumerate(given)]
    [chosen] = addresses.choose(listed)
    newest = max(minute for minute, _ in given)
    assert chosen.updated_at == NOW + timedelta(minutes=newest)
    assert isinstance(chosen, Removal) == ((newest, True) in given)


@pytest.mark.assertion("registries", 44)
@pytest.mark.parametrize(
    ("prefix", "written"), [("47", "+47"), ("+47", "+47"), ("0047", "+47"), ("00047", "+47"), ("", ""), (None, "")]
)
def test_a_prefix_is_written_in_one_way(prefix: str | None, written: str) -> None:
    assert international_prefix(prefix) == written


def test_outside_production_only_synthetic_people_are_taken() -> None:
    from varsel.domain.identifiers import check_digits

    # nobody's: individual numbers 500-749 were never given for a year 40-53
    real = next(f"140345{n}{digits}" for n in range(600, 700) if (digits := check_digits(f"140345{n}")))
    with pytest.raises(UpstreamError, match="real_identity") as caught:
        read_person({"personidentifikator": real}, 0, reader())
    assert real not in f"{caught.value} {caught.value.detail}"
    assert read_person({"personidentifikator": real}, 0, reader(synthetic_only=False)).subject_key == real
