"""Forms as browsers and mail programs send them, in either of the two encodings."""

from email import policy
from email.parser import BytesParser
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from varsel.api.problems import generic
from varsel.api.requests import header

_MAX_FORM_BYTES: Final = 16_384
_URL_ENCODED: Final = b"application/x-www-form-urlencoded"
_MULTIPART: Final = b"multipart/form-data"


async def read_form(request: Request) -> dict[str, str]:
    """The fields by name, the last of each. Answers 415 to what is no form, 413 to one that is too large."""
    content_type = header(request, b"content-type") or b""
    kind = content_type.partition(b";")[0].strip().lower()
    if kind not in (_URL_ENCODED, _MULTIPART):
        raise generic(415)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_FORM_BYTES:
            raise generic(413, {"Connection": "close"})
    if kind == _URL_ENCODED:
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    message = BytesParser(policy=policy.HTTP).parsebytes(b"Content-Type: " + content_type + b"\r\n\r\n" + bytes(body))
    fields = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            fields[name] = content.decode("utf-8", "replace")
    return fields
