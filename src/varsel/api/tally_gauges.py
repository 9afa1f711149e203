"""Tallies as Prometheus reads them: how many messages stand where, however many there are (ADR 12)."""

from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric

from varsel.domain.notification import Channel
from varsel.domain.tally import Bucket
from varsel.tally.store import Count

_OF_ORDERS: Final = frozenset({Bucket.TAKEN, Bucket.SCHEDULED})


def tally_gauges(counts: Sequence[Count]) -> Iterator[Metric]:
    """`counts`: what stands now. What is none is told too, so that every series is there from the beginning."""
    known = {(count.channel, count.bucket): count.n for count in counts}
    messages = GaugeMetricFamily(
        "varsel_notifications", "Notifications by where they stand; all that are stored.", labels=["channel", "bucket"]
    )
    for channel in Channel:
        for bucket in Bucket:
            if bucket not in _OF_ORDERS:
                messages.add_metric([channel, bucket], known.get((channel, bucket), 0))
    yield messages
    yield GaugeMetricFamily(
        "varsel_scheduled_recipients",
        "Recipients of orders that are not notifications yet.",
        value=known.get((None, Bucket.SCHEDULED), 0),
    )
