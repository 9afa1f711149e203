"""The orders of the demo: one for each situation that a sender meets, with the fate that it must have."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from varsel.recipients.personas import DEMO_RESOURCE, ORGANISATIONS, PERSONS

DIRECT: Final = "no lookup needed"
_DELIVERED: Final = "Delivered"

# two users registered an address for O1; only user 101 has a role there
USER_ADDRESSES: Final = f"""user_id,org_no,email,phone,resources,last_changed
101,{ORGANISATIONS["O1"]},rolig.leder@example.com,,,
103,{ORGANISATIONS["O1"]},uten.rett@example.com,,,
"""


@dataclass(frozen=True, slots=True)
class Scenario:
    """An order, what its sender must be told at once, and the statuses that its notifications must end with."""

    title: str
    recipients: tuple[Mapping[str, str], ...]
    told: str
    fates: tuple[str, ...]
    channel: str = "Email"
    cancelled: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return {"Email": "orders/email", "Sms": "orders/sms"}.get(self.channel, "orders")

    def body(self) -> dict[str, Any]:
        greeting = "Hei" if self.told == DIRECT else "Hei $recipientName$"  # filled for people and organisations alone
        text = f"{greeting}. Du har fått et brev om barnehageplass. Logg inn på fjordvik.example for å lese det."
        subject = "Du har fått et brev fra Fjordvik kommune"
        body: dict[str, Any] = {"recipients": list(self.recipients), "sendersReference": "demo", **self.settings}
        if self.cancelled:
            body["requestedSendTime"] = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        match self.channel:
            case "Email":
                return {**body, "subject": subject, "body": f"<p>{text}</p>", "contentType": "Html"}
            case "Sms":
                return {**body, "body": text, "senderNumber": "Fjordvik"}
            case _:
                email = {"subject": subject, "body": f"<p>{text}</p>", "contentType": "Html"}
                sms = {"body": text, "senderNumber": "Fjordvik"}
                return {**body, "notificationChannel": self.channel, "emailTemplate": email, "smsTemplate": sms}


def _person(name: str) -> tuple[Mapping[str, str], ...]:
    return ({"nationalIdentityNumber": PERSONS[name]},)


def _organisation(name: str) -> tuple[Mapping[str, str], ...]:
    return ({"organizationNumber": ORGANISATIONS[name]},)


_REACHED: Final = "can be reached"

SCENARIOS: Final = (
    Scenario("A person, by email", _person("P1"), _REACHED, (_DELIVERED,)),
    Scenario("A person, by SMS", _person("P4"), _REACHED, (_DELIVERED,), "Sms"),
    Scenario("A person who has opted out", _person("P2"), "reserved", ("Failed_RecipientReserved",)),
    Scenario(
        "A person without contact details",
        _person("P5"),
        "no contact details",
        ("Failed_RecipientNotIdentified",),
    ),
    Scenario(
        "A person whose email is over 18 months old",
        _person("P6"),
        "no contact details",
        ("Failed_RecipientNotIdentified",),
    ),
    Scenario(
        "An organisation: two official addresses, one of two users may know",
        _organisation("O1"),
        _REACHED,
        (_DELIVERED, _DELIVERED, _DELIVERED),
        settings={"resourceId": f"urn:altinn:resource:{DEMO_RESOURCE}"},
    ),
    Scenario("Email preferred, falls back to SMS", _person("P4"), _REACHED, (_DELIVERED,), "EmailPreferred"),
    Scenario("Both channels at once", _person("P1"), _REACHED, (_DELIVERED, _DELIVERED), "EmailAndSms"),
    Scenario("A direct address", ({"emailAddress": "kari.nordmann@example.com"},), DIRECT, (_DELIVERED,)),
    Scenario("For tomorrow, and cancelled", _person("P3"), _REACHED, ("Cancelled",), cancelled=True),
    Scenario("Refused by the mail server", ({"emailAddress": "bounce@example.test"},), DIRECT, ("Failed_Bounced",)),
    Scenario(
        "Taken, and bounced by a later report",
        ({"emailAddress": "dsn-fail@example.test"},),
        DIRECT,
        ("Failed_Bounced",),
    ),
    Scenario(
        "Taken by the gateway, and not delivered",
        ({"mobileNumber": "+4799999103"},),
        DIRECT,
        ("Failed_Undelivered",),
        "Sms",
    ),
)
