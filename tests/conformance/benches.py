"""Every type of provider that the conformance suite drives."""

from typing import Any, Final

from conformance.acs import AcsBench
from conformance.apprise import AppriseEmailBench, AppriseSmsBench
from conformance.bench import Bench
from conformance.captured import CapturedEmailBench, CapturedSmsBench
from conformance.link import LinkBench
from conformance.ses import SesBench
from conformance.smpp import SmppBench
from conformance.smtp import SmtpBench
from conformance.twilio import TwilioBench
from conformance.webhook import WebhookEmailBench, WebhookSmsBench

BENCHES: Final[tuple[Bench[Any], ...]] = (
    SmtpBench(),
    LinkBench(),
    AcsBench(),
    SesBench(),
    TwilioBench(),
    SmppBench(),
    WebhookSmsBench(),
    WebhookEmailBench(),
    AppriseSmsBench(),
    AppriseEmailBench(),
    CapturedSmsBench(),
    CapturedEmailBench(),
)
