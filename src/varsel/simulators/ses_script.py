"""What the simulated Amazon SES does with an email, by the local part of its address (channels 8.5)."""

import re
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP answer in the place of 200. `times`: to so many tries, then the email is taken; None: always."""

    status: int
    name: str
    message: str
    times: int | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """`lost`: the connection is reset instead of the answer, after the email was taken.

    `events`: those of the configuration set, by kind and what they hold beside the recipient. `twice`: each message of
    SNS comes again. `forged`, `stale`: one with a wrong signature, or an old one, is first. `version`: of signatures.
    """

    name: str
    refusal: Refusal | None = None
    lost: bool = False
    events: tuple[tuple[str, dict[str, Any]], ...] = (("Send", {}), ("Delivery", {}))
    twice: bool = False
    forged: bool = False
    stale: bool = False
    version: str = "2"


def _bounce(type_: str, subtype: str, status: str = "5.1.1") -> tuple[str, dict[str, Any]]:
    return "Bounce", {"bounceType": type_, "bounceSubType": subtype, "status": status}


_COMPLAINT: Final[tuple[str, dict[str, Any]]] = ("Complaint", {"complaintFeedbackType": "abuse"})
_DELIVERY: Final[tuple[str, dict[str, Any]]] = ("Delivery", {})
_NOT_VERIFIED: Final = (
    "Email address is not verified. The following identities failed the check in region EU-NORTH-1: %s"
)
ORDINARY: Final = Script("ok")

_SCRIPTS: Final = (
    ORDINARY,
    Script("bounce", events=(_bounce("Permanent", "General"),)),
    Script("suppressed", events=(_bounce("Permanent", "OnAccountSuppressionList"),)),
    Script("unsubscribed", events=(_bounce("Permanent", "UnsubscribedRecipient"),)),
    Script("mailboxfull", events=(_bounce("Transient", "MailboxFull", "5.2.2"),)),
    Script("content", events=(_bounce("Transient", "ContentRejected", "5.6.0"),)),
    Script("complaint", events=(_DELIVERY, _COMPLAINT)),
    Script("delay", events=(("DeliveryDelay", {"delayType": "MailboxFull"}), _DELIVERY)),
    Script("reject", events=(("Reject", {"reason": "Bad content"}),)),
    Script("invented", events=(("Invented", {}),)),
    Script("throttle", Refusal(429, "TooManyRequestsException", "Maximum sending rate exceeded.", times=2)),
    Script("quota", Refusal(429, "TooManyRequestsException", "Daily message quota exceeded.", times=1)),
    Script("paused", Refusal(400, "SendingPausedException", "Sending is paused for this account.")),
    Script("unverified", Refusal(400, "MessageRejected", _NOT_VERIFIED)),
    Script("badaddress", Refusal(400, "BadRequestException", "Domain name contains illegal character: %s")),
    Script("refused", Refusal(400, "MessageRejected", "No")),
    Script("err500", Refusal(500, "InternalServiceErrorException", "Oh")),
    Script("reset", lost=True),
    Script("bounce-after-delivery", events=(_DELIVERY, _bounce("Permanent", "General"))),
    Script("badsig", forged=True),
    Script("replay", twice=True),
    Script("stale", stale=True),
    Script("oldsig", version="1"),
)
SCRIPTS: Final = {script.name: script for script in _SCRIPTS}
_DOMAIN: Final = re.compile(r"[^@]+\.(?:example|test|invalid)|example\.(?:com|org|net)", re.IGNORECASE)


def script_for(address: str) -> Script:
    """By the local part up to the first `+`, in lower case."""
    local, _, domain = address.rpartition("@")
    return SCRIPTS.get(local.partition("+")[0].lower(), ORDINARY) if _DOMAIN.fullmatch(domain) else ORDINARY
