"""One message as a simulator, or a provider for tests, received it (channels 2.7, 3.7): what the inbox shows."""

from dataclasses import dataclass
from datetime import datetime

from varsel.domain.ids import NotificationId
from varsel.domain.notification import Channel


@dataclass(frozen=True, slots=True)
class Captured:
    """`recipient` is the envelope's. `sender` is what the recipient sees: the header `From`, or the originator.

    `raw` is what came in: the whole mail, or the `MSG` of the gateway's XML. `parts` is 1 for mail. `alphabet` is
    `GSM-7`, `UCS-2` or None. `outcome` names what the simulator does with it (`""`: the ordinary case). `received_at`
    is machine time; the sandbox's offset is added when it is stored. `reference`: what the gateway calls the message;
    it leads to the notification when the message itself does not name it.
    """

    channel: Channel
    sender: str
    recipient: str
    subject: str | None
    text: str
    html: str | None
    raw: bytes
    parts: int
    alphabet: str | None
    notification_id: NotificationId | None
    outcome: str
    received_at: datetime
    reference: str | None = None
