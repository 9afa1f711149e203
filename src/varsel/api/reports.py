"""LINK's delivery reports come in: `POST /notifications/sms/api/v1/reports` (http-api 21.1; channels 5.1, 5.2).

Bound, authenticate, parse, store, answer: 200 is said after the commit, and means that the reports are kept.
"""

import base64
import binascii
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from pydantic import SecretStr
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from varsel.delivery.ports import Report
from varsel.domain.errors import Unavailable
from varsel.log import Log
from varsel.providers.link_reports import acknowledge, malformed_report, parse_reports
from varsel.providers.link_xml import Malformed
from varsel.settings import LinkProviderSettings

Store = Callable[[Sequence[Report]], Awaitable[None]]
"""Returns when the reports are committed. Raises `Unavailable` when they are not."""

PATH: Final = "/notifications/sms/api/v1/reports"
MAX_BODY_BYTES: Final = 256 * 1024
_TYPES: Final = frozenset({"", "application/xml", "text/plain"})

log = Log(__name__)


def report_routes(providers: Sequence[LinkProviderSettings], store: Store) -> list[Route]:
    """The two routes: without an instance in the path, the credentials say which instance speaks."""

    async def receive(request: Request) -> Response:
        try:
            provider = _authenticate(request, providers)
            content_type = _content_type(request)
            body = await _read_body(request)
            return await _keep(provider, body, content_type, store)
        except _Refused as refused:
            return refused.response
        except ClientDisconnect:
            return _plain(400, "The body did not arrive.")

    return [Route(path, receive, methods=["POST"]) for path in (PATH, PATH + "/{instance}")]


class _Refused(Exception):
    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


def _plain(status: int, text: str, **headers: str) -> Response:
    return PlainTextResponse(text, status, {name.replace("_", "-"): value for name, value in headers.items()})


def _authenticate(request: Request, providers: Sequence[LinkProviderSettings]) -> LinkProviderSettings:
    """The instance whose credentials these are. Every pair is compared in full, so that time tells nothing."""
    instance = request.path_params.get("instance")
    candidates = [provider for provider in providers if instance in {None, provider.name}]
    if not candidates:
        raise _Refused(_plain(404, "There is no such provider."))
    username, password = _credentials(request.headers.get("authorization", ""))
    matching = [provider for provider in candidates if _matches(provider, username, password)]
    if not matching:
        raise _Refused(_plain(401, "Wrong or missing credentials.", WWW_Authenticate='Basic realm="reports"'))
    if len(matching) > 1:
        raise _Refused(_plain(404, "Several providers have these credentials: name one in the path."))
    return matching[0]


def _credentials(header: str) -> tuple[bytes, bytes]:
    """User name and password of a `Basic` header (RFC 7617); empty ones, which match nothing, when it is none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return b"", b""
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b"", b""
    username, _, password = decoded.partition(b":")  # a password may hold colons
    return username, password


def _matches(provider: LinkProviderSettings, username: bytes, password: bytes) -> bool:
    passwords = (provider.report_password, provider.previous_report_password)
    right_name = secrets.compare_digest(username, provider.report_username.encode())
    right_password = [_is_secret(password, known) for known in passwords]
    return right_name and any(right_password)


def _is_secret(password: bytes, known: SecretStr | None) -> bool:
    value = known.get_secret_value().encode() if known else b""
    return secrets.compare_digest(password, value) and bool(value)


def _content_type(request: Request) -> str | None:
    content_type = request.headers.get("content-type")
    if (content_type or "").partition(";")[0].strip().lower() not in _TYPES:
        raise _Refused(_plain(415, "The content type must be application/xml or text/plain."))
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise _Refused(_plain(415, "The body must not be compressed."))
    return content_type


async def _read_body(request: Request) -> bytes:
    """Stops reading at the limit, whether or not a length was announced."""
    too_large = _plain(413, f"The body must not be larger than {MAX_BODY_BYTES} bytes.", Connection="close")
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length[:20]) > MAX_BODY_BYTES:
        raise _Refused(too_large)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _Refused(too_large)
    return bytes(body)


async def _keep(provider: LinkProviderSettings, body: bytes, content_type: str | None, store: Store) -> Response:
    reports, answer = _read(provider, body, content_type)
    try:
        await store(reports)
    except Unavailable as error:
        pause = int(error.retry_after.total_seconds()) if error.retry_after else 5
        return _plain(503, "The reports could not be stored.", Retry_After=str(pause))
    return answer


def _read(provider: LinkProviderSettings, body: bytes, content_type: str | None) -> tuple[list[Report], Response]:
    """What to keep, and the answer once it is kept. A malformed document is kept too, for an operator."""
    try:
        document = parse_reports(provider.name, body, content_type)
    except Malformed as problem:
        log.warning("malformed delivery reports", provider=provider.name, problem=str(problem))
        return [malformed_report(provider.name, body, problem)], _plain(400, f"Not a delivery report: {problem}.")
    return document.reports, Response(acknowledge(document.ids), media_type="application/xml")
