"""Event Grid's reports at the path of the older reference (channels 2.4, 5.1), beside that of all types of provider."""

from collections.abc import Sequence
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from varsel.api.provider_reports import FAILED_LOGIN, Instance, Instances, answered, report_request
from varsel.api.report_intake import Limits, Refused, read_body, refuse_compressed
from varsel.providers.kind import StoreReports

PATH: Final = "/notifications/email/api/v1/reports"
_KIND: Final = ("email", "acs")


def event_grid_routes(instances: Instances, store: StoreReports, limits: Limits, base_url: str) -> list[Route]:
    """Without an instance in the path, the secret says which one speaks."""
    resources = {name: found for (channel, type_, name), found in instances.items() if (channel, type_) == _KIND}

    async def receive(request: Request) -> Response:
        try:
            named = request.path_params.get("instance")
            candidates = [found for name, found in resources.items() if named is None or name == named.lower()]
            return await _received(request, candidates, store, limits, base_url)
        except Refused as refused:
            return refused.response
        except ClientDisconnect:
            return PlainTextResponse("The body did not arrive.", 400)

    return [Route(path, receive, methods=["POST", "OPTIONS"]) for path in (PATH, PATH + "/{instance}")]


async def _received(
    request: Request, candidates: Sequence[Instance], store: StoreReports, limits: Limits, base_url: str
) -> Response:
    if not candidates:
        raise Refused(404, "There is no such provider.")
    refuse_compressed(request)
    body = await read_body(request, max(instance.reader.max_bytes for instance in candidates))
    complete = report_request(request, body, base_url)
    answers = [(instance, await instance.reader.read(complete)) for instance in candidates]
    known = [(instance, answer) for instance, answer in answers if answer.status not in FAILED_LOGIN]
    instance, answer = known[0] if known else answers[0]
    return await answered(request, instance, answer, store, limits)
