"""PDUs from a connection, one at a time, however its bytes are cut (channels 3.4)."""

import asyncio

from varsel.smpp.pdu import HEADER_BYTES, Pdu, read_header


class Ended(Exception):
    """The other side closed the connection, in the middle of a PDU or not."""


async def read_pdu(reader: asyncio.StreamReader) -> Pdu:
    """Raises `Ended`, or `Malformed` for a length that no PDU has: nothing of it is read, and there is no going on."""
    try:
        header = read_header(await reader.readexactly(HEADER_BYTES))
        body = await reader.readexactly(header.body_bytes)
    except (asyncio.IncompleteReadError, OSError) as error:
        raise Ended from error
    return Pdu(header.command, header.sequence, header.status, body)
