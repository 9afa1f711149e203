"""The metrics page: a month's orders and messages by organisation (http-api 18.1, O-20; processing 9.1)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from varsel.api.forms import read_form
from varsel.api.operators import Operators
from varsel.api.parts import ApiParts
from varsel.api.problems import Invalid
from varsel.api.templating import template
from varsel.status.metrics import MonthRow
from varsel.status.metrics_store import month

PATH: Final = "/notifications/api/v1/metrics"

_YEARS: Final = 6  # the current one and five before it
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
    page = template("metrics.html")

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
        wanted = _read(await read_form(request))
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
