"""LINK's delivery reports come in: `POST /notifications/sms/api/v1/reports` (http-api 21.1; channels 5.1, 5.2).

Bound, authenticate, parse, store, answer: 200 is said after the commit, and means that the reports are kept.
"""

import base64
import binascii
import secrets
from collections.abc import Sequence
from typing import Final

from pydantic import SecretStr
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from varsel.api.report_intake import Limits, Refused, keep, read_body, refuse_compressed
from varsel.delivery.ports import Report
from varsel.log import Log
from varsel.providers.kind import StoreReports
from varsel.providers.link_reports import acknowledge, malformed_report, parse_reports
from varsel.providers.link_xml import Malformed
from varsel.settings import LinkProviderSettings

PATH: Final = "/notifications/sms/api/v1/reports"
MAX_BODY_BYTES: Final = 256 * 1024
_TYPES: Final = frozenset({"", "application/xml", "text/plain"})

log = Log(__name__)


def report_routes(
    providers: Sequence[LinkProviderSettings], store: StoreReports, limits: Limits | None = None
) -> list[Route]:
    """The two routes: without an instance in the path, the credentials say which instance speaks."""
    limits = limits or Limits()

    async def receive(request: Request) -> Response:
        try:
            provider = _authenticate(request, providers, limits)
            limits.count(provider.name)
            content_type = _content_type(request)
            body = await read_body(request, MAX_BODY_BYTES)
            return await _keep(provider, body, content_type, store)
        except Refused as refused:
            return refused.response
        except ClientDisconnect:
            return PlainTextResponse("The body did not arrive.", 400)

    return [Route(path, receive, methods=["POST"]) for path in (PATH, PATH + "/{instance}")]


def _authenticate(request: Request, providers: Sequence[LinkProviderSettings], limits: Limits) -> LinkProviderSettings:
    """The instance whose credentials these are. Every pair is compared in full, so that time tells nothing."""
    instance = request.path_params.get("instance")
    candidates = [p for p in providers if instance is None or instance.lower() == p.name.lower()]
    if not candidates:
        raise Refused(404, "There is no such provider.")
    username, password = _credentials(request.headers.get("authorization", ""))
    matching = [provider for provider in candidates if _matches(provider, username, password)]
    if not matching:
        limits.count_failure(request)
        raise Refused(401, "Wrong or missing credentials.", {"WWW-Authenticate": 'Basic realm="reports"'})
    if len(matching) > 1:
        raise Refused(404, "Several providers have these credentials: name one in the path.")
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
        raise Refused(415, "The content type must be application/xml or text/plain.")
    refuse_compressed(request)
    return content_type


async def _keep(provider: LinkProviderSettings, body: bytes, content_type: str | None, store: StoreReports) -> Response:
    reports, answer = _read(provider, body, content_type)
    await keep(store, reports)
    return answer


def _read(provider: LinkProviderSettings, body: bytes, content_type: str | None) -> tuple[list[Report], Response]:
    """What to keep, and the answer once it is kept. A malformed document is kept too, for an operator."""
    try:
        document = parse_reports(provider.name, body, content_type)
    except Malformed as problem:
        log.warning("malformed delivery reports", provider=provider.name, problem=str(problem))
        return [malformed_report(provider.name, body, problem)], PlainTextResponse(
            f"Not a delivery report: {problem}.", 400
        )
    return document.reports, Response(acknowledge(document.ids), media_type="application/xml")
