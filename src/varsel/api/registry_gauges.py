"""How well our copies follow their registers, for Prometheus (registries 2.5)."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from varsel.registry_sync.store import Status

_Value = Callable[[Status], float | None]

_GAUGES: Final[Sequence[tuple[str, str, _Value]]] = (
    (
        "varsel_registry_age_seconds",
        "How long ago our copy was last as its register; absent when it never was.",
        lambda s: None if s.age is None else s.age.total_seconds(),
    ),
    (
        "varsel_registry_behind",
        "Changes of the register that are not here yet, where it counts them.",
        lambda s: s.behind,
    ),
    ("varsel_registry_failures", "Failed runs in a row.", lambda s: s.consecutive_failures),
    ("varsel_registry_set_aside", "Records that could not be read, and wait for a person.", lambda s: s.quarantined),
    (
        "varsel_registry_held_back",
        "Rows that are gone from the register, too many to be removed unasked.",
        lambda s: s.held_back,
    ),
)
_COUNTERS: Final[Sequence[tuple[str, str, _Value]]] = (
    ("varsel_registry_pages", "Pages of the feed that were taken in.", lambda s: s.pages_total),
    ("varsel_registry_records", "Records on these pages.", lambda s: s.rows_total),
)


def registry_gauges(statuses: Sequence[Status]) -> Iterator[Metric]:
    """Of the feeds that were ever followed."""
    followed = [status for status in statuses if status.last_started_at]
    for family, metrics in ((GaugeMetricFamily, _GAUGES), (CounterMetricFamily, _COUNTERS)):
        for name, what, value in metrics:
            metric = family(name, what, labels=["feed"])
            for status in followed:
                if (reading := value(status)) is not None:
                    metric.add_metric([status.feed], reading)
            yield metric
