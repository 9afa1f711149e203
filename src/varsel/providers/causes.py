"""Why a provider refuses a message for good, in the words of channels 1.3, and what each means on a channel."""

from dataclasses import dataclass
from typing import Final

from varsel.delivery.ports import Suppress
from varsel.domain.notification import Channel, Reason

SENDER_REFUSED: Final = "sender_refused"
"""Not the recipient's fault: an operator should hear of it."""


@dataclass(frozen=True, slots=True)
class Cause:
    email: Reason
    sms: Reason
    suppress: Suppress | None = None

    def reason(self, channel: Channel) -> Reason:
        return self.email if channel is Channel.EMAIL else self.sms

    def suppression(self, channel: Channel) -> Suppress | None:
        """A number that nobody has is barred (channels 6.5)."""
        barred = channel is Channel.SMS and self.suppress is Suppress.HARD_BOUNCE
        return Suppress.BARRED if barred else self.suppress


OTHER: Final = Cause(Reason.UNSPECIFIED, Reason.UNSPECIFIED)

CAUSES: Final[dict[str, Cause]] = {
    "invalid_address": Cause(Reason.INVALID_EMAIL_FORMAT, Reason.INVALID_RECIPIENT),
    "no_such_recipient": Cause(Reason.BOUNCED, Reason.BARRED_RECEIVER, Suppress.HARD_BOUNCE),
    "suppressed": Cause(Reason.SUPPRESSED_RECIPIENT, Reason.BARRED_RECEIVER, Suppress.PROVIDER_LIST),
    "refused_by_recipient_system": Cause(Reason.BOUNCED, Reason.REJECTED),
    "content_filtered": Cause(Reason.FILTERED_SPAM, Reason.REJECTED),
    "quarantined": Cause(Reason.QUARANTINED, Reason.REJECTED),
    "too_large": Cause(Reason.PAYLOAD_TOO_LARGE, Reason.UNSPECIFIED),
    "attachment_unavailable": Cause(Reason.INVALID_SAS_URL, Reason.UNSPECIFIED),
    "expired_at_provider": Cause(Reason.BOUNCED, Reason.EXPIRED_AT_PROVIDER),
    "deleted_at_provider": Cause(Reason.UNSPECIFIED, Reason.DELETED),
    "undeliverable": Cause(Reason.BOUNCED, Reason.UNDELIVERED),
    SENDER_REFUSED: Cause(Reason.UNSPECIFIED, Reason.REJECTED),
    "other": OTHER,
}
