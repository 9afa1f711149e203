"""SQL of the page on which orders are written: whom somebody looked up while writing."""

from collections.abc import Sequence
from typing import Final

from varsel.db import Conn, execute
from varsel.ui.access_store import About

# A page that is looked at again with every letter is one look.
_NOTE: Final = """
INSERT INTO audit (actor, subject, action, creator, about_kind, about_key, case_no, detail)
SELECT %(actor)s, %(subject)s, 'lookup', %(creator)s, w.kind, w.key, %(case)s, 'writing an order'
  FROM unnest(%(kinds)s::text[], %(keys)s::text[]) AS w (kind, key)
 WHERE NOT EXISTS (
       SELECT FROM audit a
        WHERE a.about_kind = w.kind AND a.about_key = w.key AND a.action = 'lookup' AND a.actor = %(actor)s
          AND a.subject = %(subject)s AND a.case_no = %(case)s AND a.creator IS NOT DISTINCT FROM %(creator)s::text
          AND a.at > statement_timestamp() - interval '30 min')
"""


async def note_looks(
    conn: Conn, whom: Sequence[About], *, actor: str, subject: str, creator: str | None, case: str
) -> None:
    """Write down that somebody looked up these, unless that stands there since half an hour."""
    params = {"actor": actor, "subject": subject, "creator": creator, "case": case}
    columns = {"kinds": [about.kind for about in whom], "keys": [about.key for about in whom]}
    await execute(conn, _NOTE, {**params, **columns})
