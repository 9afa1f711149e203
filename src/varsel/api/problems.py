"""Errors as they look on the wire (http-api 5). Raise a `Refusal` anywhere below a route; the app answers it."""

import json
import math
import re
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from varsel.domain.errors import OverLimit, Unavailable

MEDIA_TYPE: Final = "application/json; charset=utf-8"
MAX_ERRORS: Final = 1_000  # of one answer; the rest shows when these are mended

_TITLES: Final = {
    400: ("https://tools.ietf.org/html/rfc9110#section-15.5.1", "Bad Request"),
    404: ("https://tools.ietf.org/html/rfc9110#section-15.5.5", "Not Found"),
    409: ("https://tools.ietf.org/html/rfc9110#section-15.5.10", "Conflict"),
    413: ("https://tools.ietf.org/html/rfc9110#section-15.5.14", "Content Too Large"),
    415: ("https://tools.ietf.org/html/rfc9110#section-15.5.16", "Unsupported Media Type"),
    422: ("https://tools.ietf.org/html/rfc9110#section-15.5.21", "Unprocessable Content"),
    429: ("https://tools.ietf.org/html/rfc6585#section-4", "Too Many Requests"),
    500: ("https://tools.ietf.org/html/rfc9110#section-15.6.1", "Internal Server Error"),
    502: ("https://tools.ietf.org/html/rfc9110#section-15.6.3", "Bad Gateway"),
    503: ("https://tools.ietf.org/html/rfc9110#section-15.6.4", "Service Unavailable"),
}

# code → status, title, statusDescription (http-api 5.2). 499 (NOT-00002) is never used (design 8).
_ALTINN: Final = {
    "NOT-00001": (422, "Missing contact information for recipient(s)", "Unprocessable Entity"),
    "NOT-00003": (404, "Shipment not found", "Not Found"),
    "NOT-00004": (503, "A temporary network failure occurred", "Service Unavailable"),
}

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_NO_TRACE: Final = "0" * 32
_RETRY_AFTER: Final = timedelta(seconds=5)


class Refusal(Exception):
    """A request ends with an error. Without a `problem` the answer has an empty body (http-api 5.4)."""

    def __init__(
        self, status: int, problem: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status)
        self.status = status
        self.problem = problem
        self.headers = headers

    def response(self, request: Request) -> Response:
        if self.problem is None:
            return Response(status_code=self.status, headers=self.headers)
        content = json.dumps({**self.problem, "traceId": trace_id(request)}, ensure_ascii=False).encode()
        return Response(content, self.status, self.headers, MEDIA_TYPE)


class Invalid(Refusal):
    """A validation problem (http-api 5.1): messages by the path of the offending property. At least one."""

    def __init__(self, errors: Mapping[str, list[str]]) -> None:
        assert errors
        kept = dict(list(errors.items())[:MAX_ERRORS])
        super().__init__(
            400,
            {
                "type": _TITLES[400][0],
                "title": "One or more validation errors occurred.",
                "status": 400,
                "errors": kept,
            },
        )
        self.errors = kept


def generic(status: int, headers: Mapping[str, str] | None = None, *, detail: str | None = None) -> Refusal:
    """A generic problem (http-api 5.3)."""
    type_, title = _TITLES[status]
    problem = {"type": type_, "title": title, "status": status}
    return Refusal(status, {**problem, "detail": detail} if detail else problem, headers)


def too_many(wait: timedelta) -> Refusal:
    """429 with the seconds to wait, also as a property (registries 4.3)."""
    seconds = max(1, math.ceil(wait.total_seconds()))
    type_, title = _TITLES[429]
    problem = {"type": type_, "title": title, "status": 429, "retryAfterSeconds": seconds}
    return Refusal(429, problem, {"Retry-After": str(seconds)})


def over_limit(error: OverLimit) -> Refusal:
    """429 that names the limit, and when it may be tried again (channels 6.3)."""
    type_, title = _TITLES[429]
    problem = {
        "type": type_,
        "title": title,
        "status": 429,
        "detail": str(error),
        "limitName": error.code,
        "limit": error.limit,
        "resetTime": f"{error.until.replace(tzinfo=None).isoformat()}Z",
    }
    return Refusal(429, problem, {"Retry-After": str(max(1, math.ceil(error.wait.total_seconds())))})


def altinn(code: str, headers: Mapping[str, str] | None = None) -> Refusal:
    """A problem with a NOT-code (http-api 5.2)."""
    status, title, description = _ALTINN[code]
    problem = {"type": f"urn:altinn:error:{code}", "title": title, "status": status, "code": code}
    return Refusal(status, {**problem, "statusDescription": description}, headers)


def unavailable(error: Unavailable) -> Refusal:
    """503 with the time to wait (http-api O-17). What is unavailable stays our affair."""
    wait = error.retry_after or _RETRY_AFTER
    return altinn("NOT-00004", {"Retry-After": str(max(1, round(wait.total_seconds())))})


def trace_id(request: Request) -> str:
    """W3C trace context: the caller's trace, or a new one."""
    match = _TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
    trace = match[1] if match and match[1] != _NO_TRACE else secrets.token_hex(16)
    return f"00-{trace}-{secrets.token_hex(8)}-00"
