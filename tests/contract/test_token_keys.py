"""Keys of token issuers elsewhere: discovery, rotation, outages (http-api 3.1). The issuers are real servers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from starlette.requests import Request

from varsel.api.auth import Authenticator, Caller
from varsel.api.keys import RemoteKeys
from varsel.api.problems import Refusal
from varsel.domain.errors import Unavailable
from varsel.issuer import CREATE_SCOPE

NOW = 1_800_000_000.0


@dataclass
class Issuer:
    """An OpenID Connect issuer on loopback. `asked` counts the fetches of its keys."""

    keys: list[ECKey | RSAKey] = field(default_factory=lambda: [new_key()])
    asked: int = 0
    answer: web.Response | None = None
    url: str = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Issuer"]:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._configuration)
        app.router.add_get("/jwks", self._jwks)
        app.router.add_get("/moved", self._moved)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    def token(self, key: ECKey | RSAKey | None = None, *, alg: str = "ES256", kid: bool = True, **claims: Any) -> str:
        key = key or self.keys[0]
        header = {"alg": alg, "kid": key.kid} if kid else {"alg": alg}
        usual = {"exp": NOW + 60, "urn:altinn:org": "ttd", "scope": CREATE_SCOPE}
        return jwt.encode(header, {**usual, **claims}, key, [alg])

    async def _configuration(self, _request: web.Request) -> web.Response:
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/jwks"})

    async def _jwks(self, _request: web.Request) -> web.Response:
        self.asked += 1
        return self.answer or await self._moved(_request)

    async def _moved(self, _request: web.Request) -> web.Response:
        unknown = {"kty": "AKP", "kid": "post-quantum", "alg": "ML-DSA-44", "pub": "x"}
        document = KeySet([*self.keys]).as_dict(private=False)
        return web.json_response({"keys": [*document["keys"], unknown]})


def new_key() -> ECKey:
    return ECKey.generate_key("P-256", auto_kid=True)


@dataclass
class Time:
    """The monotonic clock that decides when keys are fetched anew."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def keys_of(issuer: Issuer, time: Time) -> RemoteKeys:
    url = f"{issuer.url}/.well-known/openid-configuration"
    return RemoteKeys(url, discovery=True, max_age=timedelta(minutes=5), monotonic=time)


def asking(*sources: RemoteKeys, now: float = NOW, **platform: RemoteKeys) -> Authenticator:
    return Authenticator(sources, platform, now=lambda: now)


async def caller(authenticator: Authenticator, bearer: str = "", platform: str = "") -> Caller:
    headers = [(b"authorization", f"Bearer {bearer}".encode()), (b"platformaccesstoken", platform.encode())]
    return await authenticator.require_create(Request({"type": "http", "headers": headers}))


async def refused(authenticator: Authenticator, bearer: str = "", platform: str = "") -> int:
    with pytest.raises(Refusal) as refusal:
        await caller(authenticator, bearer, platform)
    return refusal.value.status


async def test_keys_are_found_by_discovery_and_fetched_once() -> None:
    async with Issuer().running() as issuer:
        authenticator = asking(keys_of(issuer, Time()))
        for n in range(3):
            assert (await caller(authenticator, issuer.token(jti=n))).creator == "ttd"
        assert issuer.asked == 1


async def test_rsa_tokens_are_verified_too() -> None:
    key = RSAKey.generate_key(2048, auto_kid=True)
    async with Issuer([key]).running() as issuer:
        authenticator = asking(keys_of(issuer, Time()))
        for alg in ("RS256", "PS256"):
            assert (await caller(authenticator, issuer.token(alg=alg))).creator == "ttd"
        assert await refused(authenticator, new_token_of_nobody()) == 401


def new_token_of_nobody() -> str:
    return Issuer().token()


async def test_a_verified_token_holds_until_it_expires_and_no_longer() -> None:
    async with Issuer().running() as issuer:
        moment = Time(NOW)
        authenticator = Authenticator([keys_of(issuer, Time())], {}, now=moment)
        token = issuer.token()
        await caller(authenticator, token)
        moment.now = NOW + 59.9
        await caller(authenticator, token)
        moment.now = NOW + 60
        assert await refused(authenticator, token) == 401


async def test_a_new_key_is_taken_up_at_once_but_unknown_ones_do_not_make_us_ask_again_and_again() -> None:
    time = Time()
    async with Issuer().running() as issuer:
        authenticator = asking(keys_of(issuer, time))
        await caller(authenticator, issuer.token())
        time.now += 31
        issuer.keys.append(new_key())
        await caller(authenticator, issuer.token(issuer.keys[1]))
        assert issuer.asked == 2
        for _ in range(5):
            assert await refused(authenticator, new_token_of_nobody()) == 401
        assert issuer.asked == 2
        time.now += 31
        assert await refused(authenticator, new_token_of_nobody()) == 401
        assert issuer.asked == 3


async def test_keys_that_were_taken_away_end_with_the_age_of_the_set() -> None:
    time = Time()
    async with Issuer([new_key(), new_key()]).running() as issuer:
        authenticator = asking(keys_of(issuer, time))
        await caller(authenticator, issuer.token())
        removed = issuer.keys.pop()
        assert (await caller(authenticator, issuer.token(removed))).creator == "ttd"
        time.now += 301
        assert await refused(authenticator, issuer.token(removed, jti="new")) == 401


async def test_old_keys_stay_in_use_while_the_issuer_is_down() -> None:
    time = Time()
    async with Issuer().running() as issuer:
        authenticator = asking(keys_of(issuer, time))
        await caller(authenticator, issuer.token())
        issuer.answer = web.Response(status=500)
        time.now += 301
        assert (await caller(authenticator, issuer.token(jti=2))).creator == "ttd"


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 500},
        {"status": 302, "headers": {"Location": "/moved"}},
        {"text": "no JSON"},
        {"text": '{"keys": []}'},
        {"text": '{"keys": [{"kty": "EC"}]}'},
        {"text": "[]"},
        {"text": " " * 2_000_000},
    ],
)
async def test_without_any_key_a_caller_is_told_to_come_back(answer: dict[str, Any]) -> None:
    time = Time()
    async with Issuer().running() as issuer:
        issuer.answer = web.Response(**answer)
        authenticator = asking(keys_of(issuer, time))
        with pytest.raises(Unavailable):
            await caller(authenticator, issuer.token())
        issuer.answer = None
        time.now += 2
        assert (await caller(authenticator, issuer.token())).creator == "ttd"


async def test_several_issuers_are_trusted_and_one_that_is_down_does_not_hinder_the_others() -> None:
    async with Issuer().running() as first, Issuer().running() as second:
        first.answer = web.Response(status=503)
        authenticator = asking(keys_of(first, Time()), keys_of(second, Time()))
        assert (await caller(authenticator, second.token())).creator == "ttd"
        with pytest.raises(Unavailable):
            await caller(authenticator, first.token())


async def test_a_token_that_names_no_key_is_tried_with_all() -> None:
    async with Issuer([new_key(), new_key()]).running() as issuer:
        authenticator = asking(keys_of(issuer, Time()))
        assert (await caller(authenticator, issuer.token(issuer.keys[1], kid=False))).creator == "ttd"
        assert await refused(authenticator, issuer.token(new_key(), kid=False)) == 401


async def test_a_platform_access_token_is_verified_with_the_keys_of_its_own_issuer() -> None:
    async with Issuer().running() as ttd, Issuer().running() as skd:
        authenticator = asking(
            ttd=RemoteKeys(f"{ttd.url}/jwks", discovery=False, max_age=timedelta(minutes=5)),
            skd=RemoteKeys(f"{skd.url}/jwks", discovery=False, max_age=timedelta(minutes=5)),
        )
        assert (await caller(authenticator, platform=ttd.token(iss="ttd"))).creator == "ttd"
        assert await refused(authenticator, platform=ttd.token(iss="skd")) == 401
        assert await refused(authenticator, platform=ttd.token(iss="nav")) == 401
        assert await refused(authenticator, platform=ttd.token(iss=["ttd"])) == 401


async def test_an_encryption_key_signs_nothing() -> None:
    key = ECKey.generate_key("P-256", {"use": "enc"}, auto_kid=True)
    async with Issuer([key, new_key()]).running() as issuer:
        authenticator = asking(keys_of(issuer, Time()))
        token = jwt.encode(
            {"alg": "ES256", "kid": key.kid},
            {"exp": NOW + 60},
            ECKey.import_key({k: v for k, v in key.as_dict(private=True).items() if k != "use"}),
        )
        assert await refused(authenticator, token) == 401
