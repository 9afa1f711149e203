"""Identifiers sort by age, and a month's bound lies before every id made in that month (RFC 9562, design 8)."""

import itertools
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from varsel.domain.ids import made_at, uuid7, uuid7_floor

instants = st.datetimes(datetime(2020, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds
milliseconds = instants.map(lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000))


def test_an_id_is_a_version_7_uuid_of_the_standard_variant() -> None:
    for _ in range(1000):
        id_ = uuid7()
        assert id_.version == 7
        assert id_.variant == uuid.RFC_4122


def test_ids_of_one_process_increase_strictly() -> None:
    ids = [uuid7() for _ in range(20_000)]
    assert all(earlier < later for earlier, later in itertools.pairwise(ids))
    assert [str(i) for i in ids] == sorted(str(i) for i in ids)


def test_ids_made_by_many_threads_at_once_are_distinct_and_increase_in_each() -> None:
    def make(_: int) -> list[uuid.UUID]:
        return [uuid7() for _ in range(2_000)]

    with ThreadPoolExecutor(8) as threads:
        runs = list(threads.map(make, range(8)))
    assert all(run == sorted(run) for run in runs)
    assert len({id_ for run in runs for id_ in run}) == 16_000


def test_an_id_tells_when_it_was_made() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    made = made_at(uuid7())
    assert before <= made <= datetime.now(UTC) + timedelta(seconds=1)


def test_ids_made_within_one_tick_differ_beyond_their_time() -> None:
    """62 random bits: an id cannot be guessed from its neighbour."""
    tails = {uuid7().int & (1 << 62) - 1 for _ in range(10_000)}
    assert len(tails) == 10_000
    assert max(tails) > 1 << 61


@given(milliseconds)
def test_a_bound_keeps_its_millisecond_exactly(instant: datetime) -> None:
    assert made_at(uuid7_floor(instant)) == instant


@given(instants, instants)
def test_bounds_are_in_order_of_time(one: datetime, other: datetime) -> None:
    earlier, later = sorted((one, other))
    assert uuid7_floor(earlier) <= uuid7_floor(later)


def test_every_id_lies_at_or_above_the_bound_of_its_own_instant() -> None:
    for _ in range(1000):
        id_ = uuid7()
        assert uuid7_floor(made_at(id_)) < id_ < uuid7_floor(made_at(id_) + timedelta(milliseconds=1))
