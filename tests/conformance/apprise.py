"""A service through Apprise on the conformance suite's bench, by the library's own adapter for JSON over HTTP."""

import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from aiohttp import web

from conformance.bench import LOOPBACK, Bench, EmailBench, Message, Site, SmsBench, Taken
from varsel.delivery.ports import Accepted, Deferred, Email, Refused, SendResult, Sms
from varsel.domain.sms_text import clean
from varsel.providers.apprise import PROVIDER

_LOGIN = "Basic " + base64.b64encode(b"varsel:riktig-passord").decode()


class _AppriseBench(Bench[Message]):
    kind = PROVIDER
    reads_answers = False  # the library says no more than yes or no
    lets_go = False  # its calls block, each in a thread
    secrets: ClassVar[Sequence[str]] = ("riktig-passord",)
    insecure: ClassVar[Mapping[str, object]] = {"url": "json://varsel:riktig-passord@service.example/{to}"}
    channel: ClassVar[str]
    failing: ClassVar[str]  # a recipient at whom the service fails

    def settings(self, port: int, *, tls: bool = False, wrong_login: bool = False) -> dict[str, object]:
        password = "galt" if wrong_login else self.secrets[0]
        return {
            "name": "bench",
            "channel": self.channel,
            "url": f"{'jsons' if tls else 'json'}://varsel:{password}@{LOOPBACK}:{port}/{{to}}",
        }

    @asynccontextmanager
    async def simulator(self) -> AsyncIterator[Site]:
        taken: list[Taken] = []

        async def receive(request: web.Request) -> web.Response:
            to, told = request.path.removeprefix("/"), json.loads(await request.read())
            if request.headers.get("Authorization") != _LOGIN:
                return web.Response(status=401)
            if to == self.failing:
                return web.Response(status=500)
            taken.append(Taken(to, told["message"], told["title"]))
            return web.Response()

        app = web.Application()
        app.router.add_post("/{to}", receive)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, LOOPBACK, 0).start()
            yield Site(runner.addresses[0][1], lambda: taken)
        finally:
            await runner.cleanup()


class AppriseSmsBench(_AppriseBench[Sms], SmsBench):
    channel = "sms"
    failing = "+4799999301"
    outcomes: ClassVar[Mapping[str, type[SendResult]]] = {
        "+4799999500": Accepted,
        "+4799999301": Deferred,
        "12345": Refused,
    }

    def arrives(self, text: str) -> str:
        return clean(text).rstrip()


class AppriseEmailBench(_AppriseBench[Email], EmailBench):
    channel = "email"
    failing = "defer@mottaker.example"
    outcomes: ClassVar[Mapping[str, type[SendResult]]] = {
        "ok@mottaker.example": Accepted,
        "defer@mottaker.example": Deferred,
        "a/b@mottaker.example": Refused,
    }

    def arrives(self, text: str) -> str:
        return text.rstrip()
