"""Limits for tests of quotas."""

from collections.abc import Mapping

from varsel.domain.quota import Counter, Limit
from varsel.orders.quotas import Limits


def limits(configured: Mapping[Counter, int]) -> Limits:
    """The same for every creator."""
    applied = {counter: Limit.of(counter, most) for counter, most in configured.items()}
    return lambda _creator: applied
