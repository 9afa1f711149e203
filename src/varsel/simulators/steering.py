"""Telling a simulated register, which runs in another process, that somebody changed in it."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from varsel.domain.errors import Unavailable
from varsel.recipients.load.rows import Kind

_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)


class Refused(Exception):
    """The register does not take the row: something in it cannot be so."""


async def put_rows(address: str, kind: Kind, rows: Sequence[Mapping[str, str]]) -> None:
    """Rows with the columns of their file. `address`: any of the register's. Raises `Refused` and `Unavailable`."""
    parts = urlsplit(address)
    url = f"{parts.scheme}://{parts.netloc}/_sim/rows/{kind}"
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.post(url, json=[dict(row) for row in rows]) as answer,
        ):
            if answer.status != 204:
                raise Refused
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable("the simulated register") from error
