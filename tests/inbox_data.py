"""Synthetic messages and their notifications, for tests of the inbox. The machine's clock says when they came."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any, Final
from uuid import UUID

from varsel.db import Conn, Database, execute, fetch_value
from varsel.domain.captured import Captured
from varsel.domain.ids import NotificationId, uuid7
from varsel.domain.notification import Channel, Reason, State
from varsel.domain.sms_text import segment
from varsel.simulators import store

_ORDER: Final = """
INSERT INTO orders (id, creator_id, kind, channel, state, lane, recipients, senders_reference, requested_send_time,
                    created_at, state_at, wake_at)
VALUES (%(id)s, %(creator)s, 'Notification', 'EmailPreferred', %(state)s, 1, 1, %(reference)s, %(now)s, %(now)s,
        %(now)s, %(wake_at)s)
"""
_NOTIFICATION: Final = """
INSERT INTO notification (id, order_id, creator_id, channel, lane, state, settled, reason, state_at, expires_at,
                          subject_kind, subject_key, address, provider)
VALUES (%(id)s, %(order)s, %(creator)s, %(channel)s, 1, %(state)s, %(settled)s, %(reason)s, %(now)s, %(expires)s,
        'person', %(subject)s, %(address)s, %(provider)s)
"""


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a message. `reason` makes it failed."""

    state: State = State.DELIVERED
    reason: Reason | None = None
    settled: bool = False


def sms(
    to: str, text: str, *, notification: NotificationId | None = None, sender: str = "Fjordvik", ago: float = 0
) -> Captured:
    """An SMS that came `ago` minutes ago."""
    cut = segment(text)
    body = {"MSG": {"ID": "1", "TEXT": text, "SND": sender, "RCV": to.removeprefix("+")}}
    return Captured(
        channel=Channel.SMS,
        sender=sender,
        recipient=to,
        subject=None,
        text=text,
        html=None,
        raw=json.dumps(body, ensure_ascii=False).encode(),
        parts=len(cut.parts),
        alphabet=cut.alphabet.value,
        notification_id=notification,
        outcome="",
        received_at=datetime.now(UTC) - timedelta(minutes=ago),
    )


def mail(
    to: str,
    subject: str,
    text: str,
    *,
    html: str | None = None,
    notification: NotificationId | None = None,
    sender: str = "ikke-svar@fjordvik.example",
    ago: float = 0,
    outcome: str = "",
) -> Captured:
    """A mail that came `ago` minutes ago."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = f"Fjordvik kommune <{sender}>", to, subject
    message["Message-ID"] = f"<{notification or uuid7()}@varsel.example>"
    message.set_content(text)
    if html is not None:
        message.add_alternative(html, subtype="html")
    return Captured(
        channel=Channel.EMAIL,
        sender=sender,
        recipient=to,
        subject=subject,
        text=text,
        html=html,
        raw=message.as_bytes(),
        parts=1,
        alphabet=None,
        notification_id=notification,
        outcome=outcome,
        received_at=datetime.now(UTC) - timedelta(minutes=ago),
    )


async def capture(database: Database, *messages: Captured) -> list[UUID]:
    async with database.transaction() as conn:
        return await store.insert(conn, messages)


async def notification(
    database: Database, channel: Channel, address: str, fate: Fate, *, reference: str, subject: str = "14838510036"
) -> NotificationId:
    """A notification of one order, with its fate."""
    now = datetime.now(UTC)
    id_ = NotificationId(uuid7())
    async with database.transaction() as conn:
        values: dict[str, Any] = {"creator": await creator(conn), "order": uuid7(), "now": now}
        order = {**values, "id": values["order"], "reference": reference, "state": "Completed", "wake_at": None}
        await execute(conn, _ORDER, order)
        row = {
            "id": id_,
            "channel": channel.value,
            "state": fate.state.value,
            "settled": fate.settled,
            "reason": fate.reason and fate.reason.value,
            "expires": now + timedelta(days=2),
            "subject": subject,
            "address": address,
            "provider": "Kystlink" if channel is Channel.SMS else "Nordpost",
        }
        await execute(conn, _NOTIFICATION, {**values, **row})
    return id_


async def waiting_order(database: Database, wake_at: datetime) -> UUID:
    """An order that waits for its time."""
    async with database.transaction() as conn:
        id_ = uuid7()
        values = {"id": id_, "creator": await creator(conn), "now": datetime.now(UTC)}
        await execute(conn, _ORDER, {**values, "reference": None, "state": "Registered", "wake_at": wake_at})
    return id_


async def creator(conn: Conn) -> int:
    sql = """INSERT INTO creator (name, created_at) VALUES ('Fjordvik kommune', %(now)s)
             ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id"""
    return int(await fetch_value(conn, sql, {"now": datetime.now(UTC)}))


LETTER: Final = """<!doctype html><html><body style="font-family: sans-serif; line-height: 1.5">
<h1 style="font-size: 20px">Plass i Solbakken barnehage</h1>
<p>Hei Ingrid</p>
<p>Du har fått et brev fra Fjordvik kommune om plass i Solbakken barnehage. Svar innen fredag 4. desember.</p>
<p><a href="https://fjordvik.example/post" style="background: #0a5c5b; color: #fff; padding: 8px">Les brevet</a></p>
<p><img src="https://tracker.example/pixel.gif" alt="" width="1" height="1">Hilsen Fjordvik kommune</p>
<script>document.body.innerHTML = "a script ran"</script></body></html>"""


async def fill(database: Database) -> list[UUID]:
    """An ordinary morning: eight messages with most fates, the newest last. Returns their ids, the oldest first."""
    code = "Koden din er 481 207. Den gjelder i 10 minutter."
    place = (
        "Fjordvik kommune: Du har fått et brev om plass i Solbakken barnehage. Svar innen fredag 4. desember."
        " Logg inn på fjordvik.example/post for å lese brevet. Du kan ikke svare på denne meldingen."
    )
    water = "Vannet blir stengt i Strandveien 4-28 onsdag 25. november kl. 09-14. Tapp opp drikkevann før det."
    accepted = Fate(State.ACCEPTED)
    bounced, expired = Fate(State.FAILED, Reason.BOUNCED), Fate(State.FAILED, Reason.EXPIRED_AT_PROVIDER)
    ids: list[UUID] = []
    for channel, to, fate, message in (
        (
            Channel.EMAIL,
            "stor@example.com",
            Fate(State.CLAIMED),
            mail("stor@example.com", "Vedtak om tilskudd, 3 vedlegg", "Vedtaket ligger ved.", ago=74),
        ),
        (Channel.SMS, "+4740000417", Fate(), sms("+4740000417", code, ago=46)),
        (
            Channel.EMAIL,
            "kari@blåbær.example",
            accepted,
            mail(
                "kari@blåbær.example", "Foreldremøte torsdag kl. 18", "Velkommen til foreldremøte.\n\nHilsen 4B", ago=33
            ),
        ),
        (Channel.SMS, "+4740000902", expired, sms("+4740000902", water, ago=20)),
        (
            Channel.EMAIL,
            "post@strandveien.example",
            Fate(),
            mail("post@strandveien.example", "Vannet stenges i Strandveien onsdag", water, ago=19),
        ),
        (
            Channel.EMAIL,
            "bounce@solbakken.example",
            bounced,
            mail(
                "bounce@solbakken.example",
                "Du har fått et brev om barnehageplass",
                "Hei Ingrid\n\nDu har fått et brev.",
                html=LETTER,
                ago=18,
                outcome="bounce",
            ),
        ),
        (
            Channel.SMS,
            "+4740000033",
            Fate(),
            sms(
                "+4740000033",
                "Hei 👋 Møtet flyttes til kl. 14 i dag. Mer på https://fjordvik.example/kalender. Vel møtt!",
                ago=4,
            ),
        ),
        (Channel.SMS, "+4740000417", Fate(), sms("+4740000417", place, ago=1)),
    ):
        n = await notification(database, channel, to, fate, reference=f"FVK-2026-11-{4460 + len(ids)}")
        ids += await capture(database, replace(message, notification_id=n))
    return ids
