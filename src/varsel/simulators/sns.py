"""Amazon SNS, simulated (channels 5.3, 8.5): signed messages over real HTTP, with a certificate of our own making."""

import asyncio
import base64
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final
from uuid import uuid4

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.x509.oid import NameOID

TOPIC: Final = "arn:aws:sns:eu-north-1:123456789012:varsel-events"
RETRIES: Final = (1, 2, 4)  # seconds
_STALE: Final = timedelta(hours=2)
_NOTIFICATION: Final = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION: Final = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")


@dataclass(frozen=True, slots=True)
class Published:
    """One call. `status` is None when no answer came."""

    id: str
    attempt: int
    status: int | None


@dataclass(frozen=True, slots=True)
class Pair:
    key: rsa.RSAPrivateKey
    pem: bytes  # of the certificate


@cache
def pair(*, expired: bool = False, bits: int = 2048) -> Pair:
    """A key and its certificate. Made once: it takes a while."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    end = datetime(2021 if expired else 2120, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    return Pair(key, made.public_bytes(serialization.Encoding.PEM))


def signed(
    kind: str,
    message: str,
    *,
    cert_url: str,
    subscribe_url: str = "",
    topic: str = TOPIC,
    version: str = "2",
    at: datetime | None = None,
    key: rsa.RSAPrivateKey | None = None,
    id_: str | None = None,
) -> dict[str, Any]:
    """A message of SNS, whole and signed."""
    at = (at or datetime.now(UTC)).astimezone(UTC)
    told = {
        "Type": kind,
        "MessageId": id_ or str(uuid4()),
        "TopicArn": topic,
        "Message": message,
        "Timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "SignatureVersion": version,
        "SigningCertURL": cert_url,
    }
    if kind != "Notification":
        told |= {"Token": "token-1", "SubscribeURL": subscribe_url}
    return {**told, "Signature": signature(told, key or pair().key)}


def signature(told: Mapping[str, Any], key: rsa.RSAPrivateKey) -> str:
    names = _NOTIFICATION if told["Type"] == "Notification" else _CONFIRMATION
    text = "".join(f"{name}\n{told[name]}\n" for name in names if name in told)
    algorithm = hashes.SHA1() if told["SignatureVersion"] == "1" else hashes.SHA256()  # noqa: S303 - SNS's first version
    return base64.b64encode(key.sign(text.encode(), PKCS1v15(), algorithm)).decode()


class Publisher:
    """Calls `url`; without one nothing is told. `seen` gets every call."""

    def __init__(self, url: str | None, time_factor: float, seen: Callable[[Published], None]) -> None:
        self.url = url
        self._time_factor = time_factor
        self._seen = seen
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[None, None, None]) -> None:
        """In the background."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def publish(self, told: Mapping[str, Any], *, tries: int = 1 + len(RETRIES)) -> int | None:
        """Until it is answered 2xx. Returns the last answer."""
        status = None
        if self.url is None:
            return None
        for attempt, pause in enumerate((0, *RETRIES)[:tries], 1):
            await asyncio.sleep(pause * self._time_factor)
            status = await self._post(self.url, told)
            self._seen(Published(told["MessageId"], attempt, status))
            if status is not None and 200 <= status < 300:
                break
        return status

    async def idle(self) -> None:
        """Wait until no message is on its way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _post(self, url: str, told: Mapping[str, Any]) -> int | None:
        headers = {"x-amz-sns-message-type": told["Type"], "x-amz-sns-topic-arn": told["TopicArn"]}
        timeout = aiohttp.ClientTimeout(total=10)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
                session.post(
                    url, json=told, headers={**headers, "Content-Type": "text/plain; charset=UTF-8"}
                ) as answer,
            ):
                return answer.status
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None


def stale_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """The same, as it was sent two hours ago."""
    at = datetime.fromisoformat(told["Timestamp"]) - _STALE
    old = {**told, "MessageId": str(uuid4()), "Timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z")}
    return {**old, "Signature": signature(old, pair().key)}


def forged_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """The same with another text, and the signature as it was."""
    return {**told, "MessageId": str(uuid4()), "Message": told["Message"].replace("Delivery", "Bounce")}
