"""Every type of provider that the conformance suite drives."""

from typing import Any, Final

from conformance.bench import Bench
from conformance.link import LinkBench
from conformance.smtp import SmtpBench

BENCHES: Final[tuple[Bench[Any], ...]] = (SmtpBench(), LinkBench())
