"""Amazon SNS over HTTP: messages, their signatures, and the certificates behind these (channels 5.3).

A certificate is fetched from Amazon's own host in the topic's region and from nowhere else: what vouches for it is TLS.
"""

import asyncio
import base64
import binascii
import json
import re
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

import aiohttp
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from yarl import URL

T = TypeVar("T")

_HOST: Final = re.compile(r"sns\.([a-z0-9-]{1,40})\.amazonaws\.com(?:\.cn)?")
_TOPIC: Final = re.compile(r"arn:aws[a-z-]*:sns:([a-z0-9-]{1,40}):[0-9]{1,20}:[A-Za-z0-9_.-]{1,256}")
_KEPT: Final = 24 * 3600.0  # s
_NOT_TRIED_AGAIN: Final = 60.0  # s
_MOST_KEPT: Final = 16
_MOST_CALLS: Final = 10  # in a minute
_MAX_BYTES: Final = 64 * 1024
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
_LEAST_BITS: Final = 2048
_ALGORITHMS: Final[dict[str, HashAlgorithm]] = {
    "1": SHA1(),  # noqa: S303 - SNS's own first version; `strong_signatures` refuses it
    "2": SHA256(),
}

_NOTIFICATION: Final = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION: Final = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED: Final = {
    "Notification": _NOTIFICATION,
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}


@dataclass(frozen=True, slots=True)
class Message:
    """One message, as it came: nothing of it is to be believed before its signature was checked."""

    type: str
    fields: dict[str, str]

    @property
    def topic(self) -> str:
        return self.fields.get("TopicArn", "")

    @property
    def signed(self) -> bytes:
        """What the signature is over. Of an absent subject, nothing."""
        names = [name for name in _SIGNED[self.type] if name in self.fields]
        return "".join(f"{name}\n{self.fields[name]}\n" for name in names).encode("utf-8", "surrogatepass")

    @property
    def sent_at(self) -> datetime | None:
        try:
            at = datetime.fromisoformat(self.fields.get("Timestamp", ""))
        except ValueError:
            return None
        return at if at.tzinfo else None


def read_message(body: bytes) -> Message | None:
    """None when it is none of the three kinds."""
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("Type"), str) or value["Type"] not in _SIGNED:
        return None
    return Message(value["Type"], {name: text for name, text in value.items() if isinstance(text, str)})


Trust = Callable[[URL, str], bool]
"""Whether an address may be called for a message of a topic."""


def is_amazons(url: URL, topic: str) -> bool:
    """SNS itself, in the topic's region."""
    host, region = _HOST.fullmatch(url.raw_host or ""), _TOPIC.fullmatch(topic)
    return (
        url.scheme == "https"
        and url.explicit_port in {None, 443}
        and url.user is None
        and url.password is None
        and host is not None
        and region is not None
        and host[1] == region[1]
    )


class Unfetched(Exception):
    """Nobody answered, which says nothing of the message."""


class Certificates:
    """Those that sign. Kept for a day; one that could not be had is not asked for again within a minute.

    At most ten addresses are called in a minute, whoever names how many. `trust`, `fetch`: changed by tests alone.
    """

    def __init__(
        self,
        trust: Trust = is_amazons,
        *,
        fetch: Callable[[URL], Awaitable[x509.Certificate | None]] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.trust = trust
        self._fetch = fetch or fetch_certificate
        self._monotonic = monotonic
        self._kept: OrderedDict[str, tuple[float, x509.Certificate]] = OrderedDict()
        self._missing: OrderedDict[str, tuple[float, Unfetched | None]] = OrderedDict()
        self._calls: deque[float] = deque(maxlen=_MOST_CALLS)
        self._one_at_a_time = asyncio.Lock()

    async def vouches(self, message: Message, now: datetime) -> bool:
        """Whether the message is the topic's. Raises `Unfetched` when that cannot be said now."""
        algorithm = _ALGORITHMS.get(message.fields.get("SignatureVersion", ""))
        url = _url(message.fields.get("SigningCertURL", ""))
        if algorithm is None or url is None or not url.path.endswith(".pem") or not self.trust(url, message.topic):
            return False
        certificate = await self._certificate(url)
        return certificate is not None and _verified(certificate, message, algorithm, now)

    async def _certificate(self, url: URL) -> x509.Certificate | None:
        """None: there is none at that address."""
        if found := self._known(url):  # nobody who asks for others keeps this one waiting
            return found
        async with self._one_at_a_time:
            if found := self._known(url):
                return found
            until, problem = self._missing.get(str(url), (0.0, None))
            if self._monotonic() < until:
                if problem:
                    raise problem
                return None
            return await self._learn(url)

    def _known(self, url: URL) -> x509.Certificate | None:
        until, certificate = self._kept.get(str(url), (0.0, None))
        return certificate if self._monotonic() < until else None

    async def _learn(self, url: URL) -> x509.Certificate | None:
        now = self._monotonic()
        if len(self._calls) == _MOST_CALLS and now - self._calls[0] < _NOT_TRIED_AGAIN:
            raise Unfetched
        self._calls.append(now)
        problem: Unfetched | None = None
        try:
            if found := await self._fetch(url):
                _put(self._kept, str(url), (self._monotonic() + _KEPT, found))
                return found
        except Unfetched as error:
            problem = error
        _put(self._missing, str(url), (self._monotonic() + _NOT_TRIED_AGAIN, problem))
        if problem:
            raise problem
        return None


def _put(kept: OrderedDict[str, T], key: str, value: T) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > _MOST_KEPT:
        kept.popitem(last=False)


async def call(url: URL) -> int | None:
    """The status of a GET, within five seconds and without a redirect; None when nobody answered."""
    try:
        async with _session() as session, session.get(url, allow_redirects=False) as response:
            return response.status
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None


def _url(text: str) -> URL | None:
    try:
        return URL(text)
    except ValueError:
        return None


def address_of(message: Message, name: str) -> URL | None:
    return _url(message.fields.get(name, ""))


async def fetch_certificate(url: URL) -> x509.Certificate | None:
    """None: there is none. Raises `Unfetched`."""
    try:
        async with _session() as session, session.get(url, allow_redirects=False) as response:
            if response.status >= 500:
                raise Unfetched
            content = await response.content.read(_MAX_BYTES + 1)
            while len(content) <= _MAX_BYTES and (more := await response.content.read(_MAX_BYTES)):
                content += more
    except (aiohttp.ClientError, OSError, TimeoutError):
        raise Unfetched from None
    if response.status != 200 or len(content) > _MAX_BYTES:
        return None
    try:
        return x509.load_pem_x509_certificate(content)
    except ValueError:
        return None


def _verified(certificate: x509.Certificate, message: Message, algorithm: HashAlgorithm, now: datetime) -> bool:
    key = certificate.public_key()
    in_time = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
    if not in_time or not isinstance(key, RSAPublicKey) or key.key_size < _LEAST_BITS:
        return False
    try:
        signature = base64.b64decode(message.fields.get("Signature", ""), validate=True)
        key.verify(signature, message.signed, PKCS1v15(), algorithm)
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return True


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        timeout=_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False
    )
