"""Amazon SES, simulated (channels 8.5): the local part of an address chooses what becomes of its email.

It checks signatures, keeps the mail, and publishes events through its own SNS, over real HTTP.
"""

import base64
import hashlib
import hmac
import json
import re
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

from aiohttp import web

from varsel.simulators.ses_script import SCRIPTS, Refusal, Script, script_for
from varsel.simulators.sns import Published, Publisher, forged_of, pair, signed, stale_of

_JOURNAL: Final = 10_000
_MAX_BODY: Final = 60 * 1024 * 1024
_SKEW: Final = timedelta(minutes=5)
_SHOWN: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<id>[A-Za-z0-9]+)/(?P<scope>[0-9]{8}/[a-z0-9-]+/ses/aws4_request), "
    r"SignedHeaders=(?P<names>[a-z0-9;-]+), Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Sent:
    """An email that was taken. `request`: all but the mail."""

    id: str
    recipient: str
    raw: bytes
    request: dict[str, Any]

    @property
    def mail(self) -> EmailMessage:
        mail = message_from_bytes(self.raw, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        return mail


class SesSimulator:
    """`async with SesSimulator(…) as amazon` serves on `amazon.port`."""

    def __init__(
        self,
        report_url: str | None = None,
        time_factor: float = 1.0,
        *,
        login: tuple[str, str] = ("AKIDEXAMPLE", "secret"),
        behind: timedelta = timedelta(),
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """`login`: key id and secret. `behind`: how far its clock is behind ours."""
        self.port = port
        self.login = login
        self.journal: deque[Sent | Published] = deque(maxlen=_JOURNAL)
        self.confirmed: list[str] = []  # tokens of subscriptions
        self.fetched = 0  # certificates
        self.behind = behind
        self.sns = Publisher(report_url, time_factor, self.journal.append)
        self._host = host
        self._refused: dict[tuple[str, str], int] = {}
        self._next: deque[Script] = deque()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_post("/v2/email/outbound-emails", self._send)
        app.router.add_get("/certificate.pem", self._certificate)
        app.router.add_get("/redirecting.pem", self._redirect)
        app.router.add_get("/expired.pem", self._expired)
        app.router.add_get("/confirm", self._confirm)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        await self.sns.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.port}"

    @property
    def cert_url(self) -> str:
        return f"{self.url}/certificate.pem"

    @property
    def sent(self) -> list[Sent]:
        return [entry for entry in self.journal if isinstance(entry, Sent)]

    @property
    def published(self) -> list[Published]:
        return [entry for entry in self.journal if isinstance(entry, Published)]

    def next(self, n: int, behaviour: str) -> None:
        """The next `n` requests to send follow `behaviour`, whatever their addresses."""
        self._next.extend([SCRIPTS[behaviour]] * n)

    async def idle(self) -> None:
        """Wait until no message of SNS is on its way."""
        await self.sns.idle()

    async def subscribe(self) -> int | None:
        """Ask the receiver to confirm its subscription; returns its answer."""
        text = "You have chosen to subscribe to the topic."
        told = signed("SubscriptionConfirmation", text, cert_url=self.cert_url, subscribe_url=f"{self.url}/confirm?t=1")
        return await self.sns.publish(told, tries=1)

    async def _send(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if problem := self._problem(request, body):
            return self._error(403, problem, "The security token included in the request is invalid.")
        document = json.loads(body)
        [recipient] = document["Destination"]["ToAddresses"]
        script = self._next.popleft() if self._next else script_for(recipient)
        if script.refusal and self._refuses(script, script.refusal, recipient):
            return self._error(
                script.refusal.status, script.refusal.name, script.refusal.message.replace("%s", recipient)
            )
        raw = base64.b64decode(document.pop("Content")["Raw"]["Data"], validate=True)
        sent = Sent(f"0110{uuid4().hex}-000000", recipient, raw, document)
        self.journal.append(sent)
        self.sns.start(self._tell(sent, script))
        if script.lost and request.transport is not None:
            request.transport.abort()
        return web.json_response({"MessageId": sent.id})

    async def _tell(self, sent: Sent, script: Script) -> None:
        for kind, more in script.events:
            text = json.dumps(event(sent, kind, more))
            told = signed("Notification", text, cert_url=self.cert_url, version=script.version)
            if script.forged:
                await self.sns.publish(forged_of(told), tries=1)
            if script.stale:
                await self.sns.publish(stale_of(told), tries=1)
            await self.sns.publish(told)
            if script.twice:
                await self.sns.publish(told)

    def _problem(self, request: web.Request, body: bytes) -> str | None:
        """What is wrong with the signature."""
        shown = _SHOWN.fullmatch(request.headers.get("Authorization", ""))
        if shown is None:
            return "MissingAuthenticationTokenException"
        if shown["id"] != self.login[0]:
            return "UnrecognizedClientException"
        at = request.headers.get("X-Amz-Date", "")
        try:
            skew = abs(datetime.now(UTC) - self.behind - datetime.strptime(f"{at}+0000", "%Y%m%dT%H%M%SZ%z"))
        except ValueError:
            return "IncompleteSignatureException"
        names = shown["names"].split(";")
        lines = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in names)
        digest = hashlib.sha256(body).hexdigest()
        canonical = f"{request.method}\n{request.path}\n{request.query_string}\n{lines}\n{shown['names']}\n{digest}"
        text = f"AWS4-HMAC-SHA256\n{at}\n{shown['scope']}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{self.login[1]}".encode()
        for part in shown["scope"].split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        genuine = hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), shown["signature"])
        return None if genuine and skew < _SKEW and "host" in names else "InvalidSignatureException"

    def _refuses(self, script: Script, refusal: Refusal, recipient: str) -> bool:
        """Whether this try is still one too few."""
        tries = self._refused.get((script.name, recipient), 0)
        self._refused[script.name, recipient] = tries + 1
        return refusal.times is None or tries < refusal.times

    def _error(self, status: int, name: str, message: str) -> web.Response:
        date = (datetime.now(UTC) - self.behind).strftime("%a, %d %b %Y %H:%M:%S GMT")
        headers = {"x-amzn-ErrorType": f"{name}:http://internal.amazon.com/coral/{name}/", "Date": date}
        return web.json_response({"message": message}, status=status, headers=headers)

    async def _certificate(self, _request: web.Request) -> web.StreamResponse:
        self.fetched += 1
        return web.Response(body=pair().pem)

    async def _expired(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(body=pair(expired=True).pem)

    async def _redirect(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": self.cert_url})

    async def _confirm(self, request: web.Request) -> web.StreamResponse:
        self.confirmed.append(request.query["t"])
        return web.Response(text="<ConfirmSubscriptionResponse/>")


def event(sent: Sent, kind: str, more: dict[str, Any]) -> dict[str, Any]:
    """As a configuration set publishes it."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    tags = {tag["Name"]: [tag["Value"]] for tag in sent.request.get("EmailTags", [])}
    mail = {"timestamp": now, "messageId": sent.id, "destination": [sent.recipient], "tags": tags}
    told: dict[str, Any] = {"eventType": kind, "mail": mail}
    to = {"emailAddress": sent.recipient}
    match kind:
        case "Bounce":
            status = more["status"]
            bounced = {**to, "action": "failed", "status": status, "diagnosticCode": f"smtp; 550 {status} unknown"}
            kept = {name: value for name, value in more.items() if name != "status"}
            told["bounce"] = {**kept, "bouncedRecipients": [bounced], "timestamp": now, "feedbackId": str(uuid4())}
        case "Complaint":
            told["complaint"] = {**more, "complainedRecipients": [to], "timestamp": now, "feedbackId": str(uuid4())}
        case "Delivery":
            told["delivery"] = {"recipients": [sent.recipient], "smtpResponse": "250 2.0.0 Ok", "timestamp": now}
        case "DeliveryDelay":
            told["deliveryDelay"] = {**more, "delayedRecipients": [to], "timestamp": now}
        case _:
            told[kind[0].lower() + kind[1:]] = more
    return told
