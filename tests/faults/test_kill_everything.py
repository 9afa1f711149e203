"""Promises 1, 2 and 4 in earnest: every process and the database are killed with -9 in mid-run, and started again."""

from pathlib import Path

from bench.chaos import Ordeal


async def test_nothing_accepted_is_lost_when_everything_is_killed_and_only_what_was_on_its_way_may_come_twice(
    home: Path,
) -> None:
    ledger = await Ordeal(home).run(orders=48, kills=1)
    assert ledger.kills == 1
    assert ledger.accepted >= 24
    assert ledger.lost == []
    assert ledger.duplicated <= ledger.in_doubt
    assert ledger.miscounted == 0
