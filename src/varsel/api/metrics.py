"""The metrics page: a month's orders and messages by organisation (http-api 18.1, O-20; processing 9.1)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from email import policy
from email.parser import BytesParser
from typing import Final
from urllib.parse import parse_qsl

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from varsel.api.operators import Operators
from varsel.api.parts import ApiParts
from varsel.api.problems import Invalid, generic
from varsel.api.requests import header
from varsel.status.metrics import MonthRow
from varsel.status.metrics_store import month

PATH: Final = "/notifications/api/v1/metrics"

_MAX_FORM_BYTES: Final = 16_384
_YEARS: Final = 6  # the current one and five before it
_URL_ENCODED: Final = b"application/x-www-form-urlencoded"
_MULTIPART: Final = b"multipart/form-data"
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def metrics_routes(parts: ApiParts) -> Sequence[BaseRoute]:
    """The page. It is not in the published document (http-api 22)."""
    operators = Operators(parts.settings)
    templates = Environment(
        loader=PackageLoader("varsel.api"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = templates.get_template("metrics.html")

    def render(wanted: tuple[int, int], rows: Sequence[MonthRow] | None) -> Response:
        now = parts.clock.now().astimezone(UTC)
        years = sorted({*range(now.year, now.year - _YEARS, -1), wanted[0]}, reverse=True)
        return HTMLResponse(page.render(year=wanted[0], month=wanted[1], years=years, rows=rows), headers=_HEADERS)

    async def show_form(request: Request) -> Response:
        operators.require(request)
        now = parts.clock.now().astimezone(UTC)
        return render((now.year, now.month), None)

    async def show_month(request: Request) -> Response:
        operators.require(request)
        wanted = _read(await _form(request))
        start, end = (datetime(*first, 1, tzinfo=UTC) for first in (wanted, _following(*wanted)))
        return render(wanted, await month(parts.database, start=start, end=end))

    return [Route(PATH, show_form, methods=["GET"]), Route(PATH, show_month, methods=["POST"])]


def _read(form: dict[str, str]) -> tuple[int, int]:
    """Year and month."""
    errors = {}
    values = []
    for name, low, high in (("year", 2000, 9998), ("month", 1, 12)):
        text = form.get(name, "").strip()
        value = int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else 0
        if not low <= value <= high:
            errors[name] = [f"The value must be a number from {low} to {high}."]
        values.append(value)
    if errors:
        raise Invalid(errors)
    return values[0], values[1]


def _following(year: int, number: int) -> tuple[int, int]:
    return (year, number + 1) if number < 12 else (year + 1, 1)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form in either of the two encodings."""
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
