"""Delivery reports of every type of provider that reports over HTTP, each read by its own module (channels 5.1).

Look the instance up, bound the body, let its reader authenticate and read it, store, answer.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from varsel.api.report_intake import Limits, Refused, keep, peer_of, read_body, refuse_compressed
from varsel.log import Log
from varsel.providers.kind import AnyKind, ReportAnswer, ReportReader, ReportRequest, StoreReports, Tools
from varsel.settings import ProviderSettings, provider_module

PATH: Final = "/notifications/{channel}/api/v1/reports/{type}/{instance}"
_METHODS: Final = ("POST", "OPTIONS")  # OPTIONS: CloudEvents asks that way whether it may report
FAILED_LOGIN: Final = frozenset({401, 403})

log = Log(__name__)


@dataclass(frozen=True, slots=True)
class Instance:
    name: str
    reader: ReportReader


Instances = Mapping[tuple[str, str, str], Instance]
"""By channel, type and name, as they stand in paths: in lower case."""


def instances_of(providers: Iterable[ProviderSettings], tools: Tools) -> Instances:
    """Those that report over HTTP to these routes. One that is switched off still reports what it took before."""
    found: dict[tuple[str, str, str], Instance] = {}
    for provider in providers:
        kind: AnyKind = import_module(provider_module(provider.type)).PROVIDER
        if kind.reports:
            key = (provider.channel, provider.type.lower(), provider.name.lower())
            found[key] = Instance(provider.name, kind.reports(provider, tools))
    return found


def provider_report_routes(instances: Instances, store: StoreReports, limits: Limits, base_url: str) -> list[Route]:
    """`base_url`: where the providers reach us, for signatures over the address."""

    async def receive(request: Request) -> Response:
        try:
            instance = _instance(request, instances)
            refuse_compressed(request)
            body = await read_body(request, instance.reader.max_bytes)
            answer = await instance.reader.read(report_request(request, body, base_url))
            return await answered(request, instance, answer, store, limits)
        except Refused as refused:
            return refused.response
        except ClientDisconnect:
            return PlainTextResponse("The body did not arrive.", 400)

    return [Route(path, receive, methods=_METHODS) for path in (PATH, PATH + "/{rest:path}")]


def _instance(request: Request, instances: Instances) -> Instance:
    place = request.path_params
    found = instances.get((place["channel"].lower(), place["type"].lower(), place["instance"].lower()))
    if found is None:
        raise Refused(404, "There is no such provider.")
    return found


def report_request(request: Request, body: bytes, base_url: str) -> ReportRequest:
    scope = request.scope
    address = base_url.rstrip("/") + scope.get("raw_path", scope["path"].encode()).decode("latin-1")
    if query := scope["query_string"].decode("latin-1"):
        address += f"?{query}"
    return ReportRequest(
        method=request.method,
        url=address,
        rest=request.path_params.get("rest", ""),
        query=dict(request.query_params),
        headers=dict(request.headers),
        body=body,
        peer=peer_of(request),
        now=datetime.now(UTC),
    )


async def answered(
    request: Request, instance: Instance, answer: ReportAnswer, store: StoreReports, limits: Limits
) -> Response:
    """Keep what was read, and say so. Raises `Refused`."""
    if answer.status in FAILED_LOGIN:
        limits.count_failure(request)
    else:
        limits.count(instance.name)
    if answer.status >= 400:
        log.info("delivery report refused", provider=instance.name, status=answer.status)
    await keep(store, answer.reports)
    media_type = answer.media_type if answer.body else None
    return Response(answer.body or None, answer.status, dict(answer.headers), media_type)
