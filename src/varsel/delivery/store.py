"""SQL of the delivery stage's sending half: claim, hand over, record. Mechanisms as proven 2, 4 and 5."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from varsel.db import Conn, ReadConn, execute, fetch
from varsel.delivery import part_store, suppression_store
from varsel.delivery.part_store import Taken
from varsel.delivery.ports import Parts
from varsel.delivery.suppression import NewEntry
from varsel.domain.ids import ClaimId, CreatorId, NotificationId, OrderId, WorkerId
from varsel.domain.notification import Channel, Reason, State
from varsel.domain.order import Attachment, ContentType, EmailTemplate, Lane, SmsTemplate
from varsel.fates import store as fates
from varsel.tally.store import BUCKET, TALLY_MOVED

# The next creators with work in each lane, beginning after one of them: a skip scan over the claim's index.
CREATORS = """
WITH RECURSIVE c AS (
    SELECT l.lane, x.creator_id, 1 AS n
      FROM unnest(%(lanes)s::smallint[], %(after)s::int[]) AS l (lane, after) CROSS JOIN LATERAL (
           SELECT creator_id FROM notification
            WHERE state = 'new' AND wake_at IS NULL AND channel = %(channel)s AND lane = l.lane
              AND creator_id > l.after ORDER BY channel, lane, creator_id LIMIT 1) x
    UNION ALL
    SELECT c.lane, x.creator_id, c.n + 1 FROM c CROSS JOIN LATERAL (
        SELECT creator_id FROM notification
         WHERE state = 'new' AND wake_at IS NULL AND channel = %(channel)s AND lane = c.lane
           AND creator_id > c.creator_id ORDER BY channel, lane, creator_id LIMIT 1) x
     WHERE c.n < %(fan)s)
SELECT lane, creator_id FROM c ORDER BY lane, creator_id
"""

PICK = """
SELECT p.id, p.order_id, p.creator_id, p.lane, p.attempts + 1, p.daytime, p.expires_at, p.subject_kind, p.subject_key,
       p.address, p.recipient_name, c.name, p.returns, p.unknowns, p.tried
  FROM unnest(%(creators)s::int[]) AS q (creator_id) JOIN creator c ON c.id = q.creator_id CROSS JOIN LATERAL (
       SELECT id, order_id, creator_id, lane, attempts, daytime, expires_at, subject_kind, subject_key, address,
              recipient_name, returns, unknowns, tried
         FROM notification
        WHERE state = 'new' AND wake_at IS NULL AND channel = %(channel)s AND lane = %(lane)s
          AND creator_id = q.creator_id AND expires_at > %(now)s
        ORDER BY id LIMIT %(quota)s FOR UPDATE SKIP LOCKED) p
 ORDER BY p.id
"""

TEMPLATES = """
SELECT order_id, email_sender, email_subject, email_body, email_content_type, email_unsubscribable, sms_sender, sms_body
  FROM order_content WHERE order_id = ANY(%(orders)b)
"""

# The claim's row is written by the statement that claims: nothing is ever held without one. Returns the orders' texts.
TAKE = f"""
WITH taken AS (
    UPDATE notification SET state = 'claimed', attempts = attempts + 1, claim_id = %(claim)s, provider = %(provider)s
     WHERE id = ANY(%(ids)b::uuid[]) AND id BETWEEN %(low)s AND %(high)s
), held AS (
    INSERT INTO claim (id, worker_id, provider, ids, handed_over, claimed_at)
    VALUES (%(claim)s, %(worker)s, %(provider)s, %(ids)b::uuid[], 0, statement_timestamp()))
{TEMPLATES}
"""

# No provider can take them now: they stand outside the queue for a while.
POSTPONE = """
UPDATE notification n SET wake_at = w.wake_at
  FROM unnest(%(ids)s::uuid[], %(wakes)s::timestamptz[]) AS w (id, wake_at)
 WHERE n.id = w.id AND n.id BETWEEN %(low)s AND %(high)s
"""

ATTACHMENTS = """
SELECT a ->> 'filename', a ->> 'mime_type', a ->> 'url'
  FROM order_content, jsonb_array_elements(attachments) WITH ORDINALITY AS t (a, place)
 WHERE order_id = %(order)s ORDER BY place
"""

NOTE_SIZE = """
UPDATE notification SET attachment_bytes = %(bytes)s WHERE id = %(id)s AND claim_id = %(claim)s AND state = 'claimed'
"""

HAND_OVER = "UPDATE claim SET handed_over = %(upto)s WHERE id = %(claim)s"

# Of claims that nobody works on: nothing was handed over, so all goes back free.
GIVE_BACK = """
WITH given AS (DELETE FROM claim WHERE id = ANY(%(claims)s) AND worker_id = %(worker)s AND handed_over = 0
               RETURNING id, ids)
UPDATE notification n SET state = 'new', attempts = n.attempts - 1, claim_id = NULL
  FROM given g CROSS JOIN LATERAL unnest(g.ids) AS held (id)
 WHERE n.id = held.id AND n.claim_id = g.id AND n.state = 'claimed'
"""

# S1: only rows that this claim still holds change. A report that overtook us has taken its row out of 'claimed'.
# What is settled at once has a fate, and so has what was refused. Arrays are written in binary (%b): twice as quick.
# One that says nothing is left out, which makes NULL of it. `held` hides a constant from the planner, which would take
# such rows for rare, and compare each with each.
RECORD = f"""
WITH moved (order_id, fated, creator_id, channel, provider, was, bucket) AS (
UPDATE notification n
   SET state = r.state, state_at = %(now)s, reason = r.reason, wake_at = r.wake_at, settled = r.settled,
       provider_ref = coalesce(r.reference, n.provider_ref), segments = coalesce(r.segments, n.segments),
       detail = coalesce(r.detail, ''), claim_id = NULL, attempts = n.attempts - coalesce(r.uncharged, 0),
       returns = n.returns + coalesce(r.returned, 0), unknowns = n.unknowns + coalesce(r.doubted, 0),
       tried = CASE WHEN r.missed THEN array_append(n.tried, n.provider) ELSE n.tried END,
       accepted_at = CASE WHEN r.state IN ('accepted', 'unknown') THEN %(now)s ELSE n.accepted_at END
  FROM (SELECT *, 'claimed'::notification_state AS held
          FROM unnest(%(ids)b::uuid[], %(claims)b::uuid[], %(states)b::notification_state[], %(reasons)b::text[],
                      %(wakes)b::timestamptz[], %(settled)b::boolean[], %(references)b::text[],
                      %(segments)b::smallint[], %(details)b::text[], %(uncharged)b::smallint[],
                      %(returned)b::smallint[], %(missed)b::boolean[], %(doubted)b::smallint[])
               AS u (id, claim, state, reason, wake_at, settled, reference, segments, detail, uncharged, returned,
                     missed, doubted)
        OFFSET 0) AS r
 WHERE n.id = r.id AND n.id BETWEEN %(low)s AND %(high)s AND n.claim_id = r.claim AND n.state = r.held
RETURNING n.order_id, n.state IN ('failed', 'expired') OR n.settled, n.creator_id, n.channel, n.provider, 'open',
          {BUCKET}),
tallied AS ({TALLY_MOVED}),
ended AS (DELETE FROM claim WHERE id = ANY(%(ended)b::uuid[]))
SELECT order_id, count(*) FROM moved WHERE fated GROUP BY order_id
"""

LEDGER = """
INSERT INTO attempt (notification_id, number, provider, ended_at, outcome, detail)
SELECT * FROM unnest(%(ids)s::uuid[], %(numbers)s::smallint[], %(providers)s::text[], %(ended)s::timestamptz[],
                     %(outcomes)s::text[], %(details)s::text[])
"""

END_CLAIMS = "DELETE FROM claim WHERE id = ANY(%(claims)s)"


class Claimed(NamedTuple):
    """A notification that this worker holds. `attempt` counts tries charged to the message, this one included.

    This and `Recorded` are tuples: one is made for every message, and a frozen dataclass costs six times as much.
    """

    id: NotificationId
    order: OrderId
    creator: CreatorId
    lane: Lane
    attempt: int
    daytime: bool
    expires_at: datetime
    subject_kind: str | None
    subject_key: str | None
    address: str
    recipient_name: str | None
    creator_name: str
    returns: int = 0
    unknowns: int = 0  # tries before this one whose outcome is unknown
    tried: Sequence[str] | None = None  # the providers that could not take it, one entry a try

    @property
    def number(self) -> str:
        """Value of $recipientNumber$: an organisation's number, nothing for a person."""
        return (self.subject_key or "") if self.subject_kind == "organisation" else ""


@dataclass(frozen=True, slots=True)
class Templates:
    order: OrderId
    email: EmailTemplate | None
    sms: SmsTemplate | None


class Recorded(NamedTuple):
    """What became of one claimed notification.

    `uncharged` 1: not a try that counts against the message. `returned` 1: a try that counts against the provider.
    `suppress`: what it means for the next message to the address. `entry`: of the suppression list, that stopped it.
    """

    id: NotificationId
    claim: ClaimId
    provider: str
    number: int
    state: State
    outcome: str | None = None  # for the ledger; None for a clean first acceptance and for what was never tried
    reason: Reason | None = None
    wake_at: datetime | None = None
    settled: bool = False
    reference: str | None = None
    segments: int | None = None
    detail: str = ""
    uncharged: int = 0
    returned: int = 0
    missed: bool = False  # the provider could not take it: others come before it next time
    suppress: NewEntry | None = None
    entry: UUID | None = None
    parts: Parts | None = None


class Share(NamedTuple):
    """What one provider gets of what was picked."""

    claim: ClaimId
    provider: str
    rows: Sequence[Claimed]


async def creators(
    conn: ReadConn, *, channel: Channel, after: Mapping[Lane, CreatorId], fan: int
) -> dict[Lane, list[CreatorId]]:
    """Who has messages that may be claimed, in each lane: at most `fan`, behind the one that is given. Not empty."""
    params = {"channel": channel, "lanes": list(after), "after": list(after.values()), "fan": fan}
    found: defaultdict[Lane, list[CreatorId]] = defaultdict(list)
    for lane, creator in await fetch(conn, CREATORS, params, lambda lane, creator: (Lane(lane), CreatorId(creator))):
        found[lane].append(creator)
    return found


async def pick(
    conn: Conn, *, channel: Channel, lane: Lane, creators: Sequence[CreatorId], limit: int, now: datetime
) -> list[Claimed]:
    """Lock at most about `limit` notifications, as many of each creator, in order of id: `take` or `postpone` them.

    Only in a transaction.
    """
    params = {"channel": channel, "lane": lane, "creators": list(creators), "now": now}
    return await fetch(conn, PICK, {**params, "quota": -(-limit // len(creators))}, _claimed)


async def take(conn: Conn, share: Share, worker: WorkerId) -> list[Templates]:
    """Claim what was picked for the provider that is to send it. Returns the texts of the orders it is of."""
    ids = [row.id for row in share.rows]
    params = {"claim": share.claim, "provider": share.provider, "worker": worker, "ids": ids}
    params |= {"low": ids[0], "high": ids[-1], "orders": sorted({row.order for row in share.rows})}
    return await fetch(conn, TAKE, params, _templates)


async def postpone(conn: Conn, waiting: Sequence[tuple[NotificationId, datetime]]) -> None:
    """Let what was picked wait until these instants (business time)."""
    if waiting:
        ids = sorted((id_ for id_, _ in waiting), key=lambda id_: id_.int)
        wakes = dict(waiting)
        params = {"ids": ids, "wakes": [wakes[id_] for id_ in ids], "low": ids[0], "high": ids[-1]}
        await execute(conn, POSTPONE, params)


async def templates(conn: ReadConn, orders: Sequence[OrderId]) -> list[Templates]:
    return await fetch(conn, TEMPLATES, {"orders": list(orders)}, _templates)


async def attachments_of(conn: ReadConn, order: OrderId) -> tuple[Attachment, ...]:
    """What the email of an order is to have with it. Their addresses are secrets."""
    return tuple(await fetch(conn, ATTACHMENTS, {"order": order}, Attachment))


async def note_size(conn: Conn, result: Recorded, attachment_bytes: int) -> None:
    """Keep the size of what an email had with it. Before `record`, while the claim still holds the message."""
    params = {"id": result.id, "claim": result.claim, "bytes": attachment_bytes}
    await execute(conn, NOTE_SIZE, params)


async def hand_over(conn: Conn, claim_id: ClaimId, upto: int) -> bool:
    """Declare, before anything goes to a socket, that the first `upto` messages of the claim may have left.

    False: the claim was taken from us. Nothing more of it may be sent.
    """
    return await execute(conn, HAND_OVER, {"claim": claim_id, "upto": upto}) == 1


async def give_back(conn: Conn, claims: Collection[ClaimId], worker: WorkerId) -> None:
    """Give back claims of which nothing was handed over, and which may not even have been made."""
    await execute(conn, GIVE_BACK, {"claims": list(claims), "worker": worker})


async def record(
    conn: Conn, results: Sequence[Recorded], ended: Sequence[ClaimId], *, now: datetime
) -> frozenset[OrderId]:
    """Store what became of messages, and drop the claims that are through. Returns orders that completed by it.

    A message that its claim no longer holds is left as it is: somebody else has decided.
    """
    if not results:
        await execute(conn, END_CLAIMS, {"claims": list(ended)})
        return frozenset()
    rows = sorted(results, key=lambda r: r.id.int)
    params = _record_params(rows, now) | {"ended": list(ended)}
    fated = dict(await fetch(conn, RECORD, params, lambda order, n: (OrderId(order), int(n))))
    return await conclude(conn, rows, fated, now=now)


async def conclude(
    conn: Conn, rows: Sequence[Recorded], fated: Mapping[OrderId, int], *, now: datetime
) -> frozenset[OrderId]:
    """What follows from results that were stored. `fated`: how many notifications of an order have their fate by it.

    Returns orders that completed by it.
    """
    completed = await fates.count_fates(conn, fated, now=now)
    await _write_ledger(conn, rows, now)
    await part_store.keep(conn, [Taken(r.id, r.provider, r.parts) for r in rows if r.parts])
    await _mind_suppression(conn, rows, now)
    return completed


async def _write_ledger(conn: Conn, rows: Sequence[Recorded], now: datetime) -> None:
    explained = [r for r in rows if r.outcome]
    if explained:
        params = {
            "ids": [r.id for r in explained],
            "numbers": [r.number for r in explained],
            "providers": [r.provider for r in explained],
            "ended": [now] * len(explained),
            "outcomes": [r.outcome for r in explained],
            "details": [r.detail for r in explained],
        }
        await execute(conn, LEDGER, params)


async def _mind_suppression(conn: Conn, rows: Sequence[Recorded], now: datetime) -> None:
    """Mostly nothing: then nothing is asked of the database."""
    if entries := [r.suppress for r in rows if r.suppress]:
        await suppression_store.add(conn, entries, now=now)
    if hit := [r.entry for r in rows if r.entry]:
        await suppression_store.count_hits(conn, hit, now=now)


def _record_params(rows: Sequence[Recorded], now: datetime) -> dict[str, Any]:
    return {
        "now": now,
        "low": rows[0].id,
        "high": rows[-1].id,
        "ids": [r.id for r in rows],
        "claims": [r.claim for r in rows],
        "states": [r.state.value for r in rows],
        "settled": [r.settled for r in rows],
        "reasons": _unless_empty([r.reason.value if r.reason else None for r in rows]),
        "wakes": _unless_empty([r.wake_at for r in rows]),
        "references": _unless_empty([r.reference for r in rows]),
        "segments": _unless_empty([r.segments for r in rows]),
        "details": _unless_empty([r.detail for r in rows]),
        "uncharged": _unless_empty([r.uncharged for r in rows]),
        "returned": _unless_empty([r.returned for r in rows]),
        "missed": _unless_empty([r.missed for r in rows]),
        "doubted": _unless_empty([int(r.outcome == "unknown") for r in rows]),
    }


def _unless_empty(values: list[Any]) -> list[Any]:
    return values if any(values) else []


def _claimed(*columns: Any) -> Claimed:
    id_, order, creator, lane, *rest = columns
    return Claimed(id_, order, creator, Lane(lane), *rest)


def _templates(
    order: UUID,
    e_sender: str | None,
    e_subject: str | None,
    e_body: str | None,
    e_type: str,
    e_unsubscribable: bool,
    s_sender: str | None,
    s_body: str | None,
) -> Templates:
    email, sms = None, None
    if e_body is not None:
        email = EmailTemplate(e_sender or "", e_subject or "", e_body, ContentType(e_type), e_unsubscribable)
    if s_body is not None:
        sms = SmsTemplate(s_sender or "", s_body)
    return Templates(OrderId(order), email, sms)
