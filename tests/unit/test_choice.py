"""Which provider gets a message, and how weights move (channels 1.9)."""

from dataclasses import dataclass, field
from math import sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.delivery.choice import MOVE, Routing, choose, drifted, shifted

WEIGHTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 100), min_size=2)


@dataclass(frozen=True)
class Instance:
    name: str
    weight: int = 50
    routing: Routing = field(default_factory=Routing)


def names(
    *instances: Instance, tried: tuple[str, ...] = (), address: str = "+4799999500", creator: str = "ttd"
) -> set[str]:
    """Who may get the message, over many throws."""
    dice = Random(1)  # noqa: S311
    found = (choose(instances, creator, address, tried, dice) for _ in range(300))
    return {instance.name for instance in found if instance}


@pytest.mark.assertion("channels", 11)
def test_each_gets_its_share_by_weight() -> None:
    instances, dice, n = [Instance("a", 51), Instance("b", 49)], Random(7), 10_000  # noqa: S311
    got = sum(choose(instances, "ttd", "+4799999500", (), dice) is instances[0] for _ in range(n))
    assert abs(got - 0.51 * n) <= 3 * sqrt(n * 0.51 * 0.49)


@pytest.mark.assertion("channels", 12)
def test_a_later_group_gets_nothing_while_an_earlier_one_is_there() -> None:
    first, second = Instance("a", 1), Instance("b", 100, Routing(group=2))
    assert names(first, second) == {"a"}
    assert names(second) == {"b"}


def test_one_of_weight_0_gets_something_only_when_nobody_else_can() -> None:
    assert names(Instance("a", 0), Instance("b", 1)) == {"b"}
    assert names(Instance("a", 0)) == {"a"}
    assert names(Instance("a", 0), Instance("b", 0)) == {"a", "b"}


def test_who_could_not_take_it_comes_after_who_was_tried_less_often() -> None:
    a, b, later = Instance("a"), Instance("b"), Instance("c", 50, Routing(group=2))
    assert names(a, b, tried=("a",)) == {"b"}
    assert names(a, b, tried=("a", "b")) == {"a", "b"}
    assert names(a, b, later, tried=("a", "b")) == {"c"}


def test_only_who_takes_the_country_and_the_creator_is_asked() -> None:
    norway = Instance("no", 50, Routing(countries=("47",)))
    ours = Instance("ours", 50, Routing(creators=frozenset({"ttd"})))
    assert names(norway, address="0047 999 99 500") == names(norway) == {"no"}
    assert names(norway, address="+46701234567") == set()
    assert names(ours, creator="TTD") == {"ours"}
    assert names(ours, creator="skd") == set()


@given(WEIGHTS, st.data())
def test_moved_points_are_not_lost_and_nobody_goes_below_what_keeps_it_tried(
    weights: dict[str, int], data: st.DataObject
) -> None:
    failing = data.draw(st.sampled_from(sorted(weights)))
    resting = {name: data.draw(st.integers(0, 100)) for name in weights}
    after = shifted(weights, resting, failing)
    assert sum(after.values()) == sum(weights.values())
    assert after[failing] == max(min(weights[failing], 1), weights[failing] - MOVE)
    assert all(after[name] >= weights[name] for name in weights if name != failing)


@given(WEIGHTS, st.data())
def test_weights_drift_to_where_they_rest_and_stay_there(weights: dict[str, int], data: st.DataObject) -> None:
    resting = {name: data.draw(st.integers(0, 100)) for name in weights}
    after = drifted(weights, resting)
    assert all(
        abs(after[n] - weights[n]) <= MOVE and abs(after[n] - resting[n]) <= abs(weights[n] - resting[n])
        for n in weights
    )
    for _ in range(10):
        after = drifted(after, resting)
    assert after == resting
