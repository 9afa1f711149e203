"""Our grants and tokens, before a Maskinporten that judges them as the real one does (registries 6.5)."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from joserfc.jwk import RSAKey
from pydantic import SecretStr
from yarl import URL

from feeds import CLIENT_ID, SCOPES, jwk, private_key
from varsel.providers.feed_http import FeedClient, retry_after
from varsel.providers.maskinporten import Maskinporten
from varsel.registry_sync.ports import UpstreamError
from varsel.simulators.krr import CHANGES, KrrSimulator
from varsel.simulators.maskinporten import EXCHANGE, TOKEN, Client, MaskinportenSimulator
from varsel.simulators.world import World


class Seconds:
    """Machine time under the test's hand: the host's clock and the monotonic one."""

    def __init__(self) -> None:
        self.host = datetime.now(UTC).timestamp()
        self.monotonic = 1000.0

    def advance(self, seconds: float) -> None:
        self.host += seconds
        self.monotonic += seconds


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
async def theirs(seconds: Seconds) -> AsyncIterator[MaskinportenSimulator]:
    client = Client(RSAKey.import_key(private_key("client").as_dict(private=False)), SCOPES.split())
    clients = {CLIENT_ID: client}
    key = private_key("maskinporten")
    async with MaskinportenSimulator(clients, key=key, now=lambda: datetime.fromtimestamp(seconds.host, UTC)) as theirs:
        yield theirs


@pytest.fixture
async def ours(theirs: MaskinportenSimulator, seconds: Seconds) -> AsyncIterator[Maskinporten]:
    ours = make(theirs, seconds)
    yield ours
    await ours.close()


def make(theirs: MaskinportenSimulator, seconds: Seconds, **options: Any) -> Maskinporten:
    plain = {"issuer": theirs.issuer, "token_url": theirs.token_url, "client_id": CLIENT_ID, "jwk": jwk()}
    clocks = {"clock": lambda: seconds.host, "monotonic": lambda: seconds.monotonic}
    return Maskinporten(**{**plain, **clocks, **options})


@pytest.mark.assertion("registries", 97)
async def test_a_grant_is_short_used_once_and_for_the_right_audience(
    ours: Maskinporten, theirs: MaskinportenSimulator, seconds: Seconds
) -> None:
    for _ in range(3):
        token = await ours.token(SCOPES)
        assert theirs.claims(f"Bearer {token}")
        seconds.advance(1000)
    assert len(theirs.grants) == 3
    assert {grant["aud"] for grant in theirs.grants} == {theirs.issuer}
    assert theirs.issuer.endswith("/")
    assert all(0 < grant["exp"] - grant["iat"] <= 120 for grant in theirs.grants)
    assert len({grant["jti"] for grant in theirs.grants}) == 3


@pytest.mark.assertion("registries", 98)
async def test_a_token_is_used_again_until_shortly_before_its_end(
    ours: Maskinporten, theirs: MaskinportenSimulator, seconds: Seconds
) -> None:
    first = await ours.token(SCOPES)
    seconds.advance(107)  # of 120 s: a tenth is the margin
    assert await ours.token(SCOPES) == first
    seconds.advance(2)
    second = await ours.token(SCOPES)
    assert second != first
    assert len(theirs.asked(TOKEN)) == 2


@pytest.mark.assertion("registries", 98)
async def test_who_asks_at_the_same_time_gets_the_same_token(ours: Maskinporten, theirs: MaskinportenSimulator) -> None:
    tokens = await asyncio.gather(*(ours.token(SCOPES) for _ in range(20)))
    assert len(set(tokens)) == 1
    assert len(theirs.asked(TOKEN)) == 1


async def test_each_set_of_scopes_has_its_own_token(ours: Maskinporten, theirs: MaskinportenSimulator) -> None:
    one, other = SCOPES.split()
    assert await ours.token(one) != await ours.token(other)
    assert [grant["scope"] for grant in theirs.grants] == [one, other]


async def test_many_requests_that_are_refused_at_once_cost_one_token(
    ours: Maskinporten, theirs: MaskinportenSimulator
) -> None:
    async with KrrSimulator(World(), theirs.claims) as krr:
        client = FeedClient(ours.scope(SCOPES))
        url = URL(krr.url.rstrip("/") + CHANGES)
        await client.ask("POST", url, {"fraEndringsId": 0})
        theirs.expire_tokens()
        await asyncio.gather(*(client.ask("POST", url, {"fraEndringsId": 0}) for _ in range(8)))
        assert len(theirs.asked(TOKEN)) == 2
        await client.close()


@pytest.mark.assertion("registries-faults", 17)
async def test_a_token_that_still_holds_is_used_to_its_end_while_none_is_to_be_had(
    ours: Maskinporten, theirs: MaskinportenSimulator, seconds: Seconds
) -> None:
    first = await ours.token(SCOPES)
    theirs.fail("status", status=503, times=2)
    seconds.advance(115)
    assert await ours.token(SCOPES) == first
    seconds.advance(6)
    with pytest.raises(UpstreamError, match="token_http_503") as caught:
        await ours.token(SCOPES)
    assert caught.value.transient


@pytest.mark.assertion("registries-faults", 17)
@pytest.mark.parametrize("kind", ["drop", "not-json"])
async def test_an_outage_may_pass(ours: Maskinporten, theirs: MaskinportenSimulator, kind: str) -> None:
    theirs.fail(kind)
    with pytest.raises(UpstreamError) as caught:
        await ours.token(SCOPES)
    assert caught.value.transient
    assert await ours.token(SCOPES)


@pytest.mark.assertion("registries-faults", 18)
async def test_clocks_that_differ_are_measured_and_not_asked_again(
    ours: Maskinporten, theirs: MaskinportenSimulator, seconds: Seconds
) -> None:
    seconds_of_theirs = seconds.host
    theirs.set_clock(lambda: datetime.fromtimestamp(seconds_of_theirs, UTC))
    seconds.host += 60
    with pytest.raises(UpstreamError, match="token_clock_skew") as caught:
        await ours.token(SCOPES)
    assert not caught.value.transient
    assert caught.value.detail == "our clock is +60 s off theirs" or "+61 s" in caught.value.detail


@pytest.mark.parametrize(
    ("option", "code", "detail"),
    [
        ({"issuer": "http://127.0.0.1/"}, "token_invalid_grant", "MP-110"),
        ({"client_id": "somebody"}, "token_invalid_grant", "MP-100"),
        ({"jwk": "other"}, "token_invalid_grant", "MP-100"),
    ],
)
async def test_what_a_person_must_mend_is_told_by_their_codes(
    theirs: MaskinportenSimulator, seconds: Seconds, option: dict[str, str], code: str, detail: str
) -> None:
    options: dict[str, Any] = {**option, **({"jwk": jwk("another")} if "jwk" in option else {})}
    ours = make(theirs, seconds, **options)
    with pytest.raises(UpstreamError, match=code) as caught:
        await ours.token(SCOPES)
    assert (caught.value.transient, caught.value.detail) == (False, detail)
    await ours.close()


@pytest.mark.assertion("registries", 100)
async def test_neither_grant_nor_key_nor_token_is_told(
    ours: Maskinporten, theirs: MaskinportenSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = await ours.token(SCOPES)
    with pytest.raises(UpstreamError) as caught:
        await ours.token("scope:denied")
    told = "\n".join([str(caught.value), caught.value.detail, repr(ours), *(str(vars(r)) for r in caplog.records)])
    assert "token not fetched" in told
    secrets = [token, private_key("client").as_dict(private=True)["d"], jwk().get_secret_value()]
    assert not any(str(secret) in told for secret in secrets)
    assert "eyJ" not in told, "no part of a grant"
    assert theirs.asked(TOKEN)[0].body["assertion"] == "***"


@pytest.mark.parametrize("value", ["", "?", "e30=", "bm90IGpzb24="])
def test_a_key_that_is_none_is_refused_without_telling_it(
    theirs: MaskinportenSimulator, seconds: Seconds, value: str
) -> None:
    with pytest.raises(ValueError, match="maskinporten_jwk"):
        make(theirs, seconds, jwk=SecretStr(value))


async def test_a_public_key_signs_nothing(theirs: MaskinportenSimulator, seconds: Seconds) -> None:
    import base64
    import json

    public = base64.b64encode(json.dumps(private_key("client").as_dict(private=False)).encode()).decode()
    with pytest.raises(ValueError, match="maskinporten_jwk"):
        make(theirs, seconds, jwk=SecretStr(public))


async def test_a_token_can_be_exchanged(ours: Maskinporten, theirs: MaskinportenSimulator) -> None:
    client = FeedClient(ours.scope(SCOPES))
    exchanged = await client.ask("GET", URL(theirs.url.rstrip("/") + EXCHANGE))
    assert theirs.claims(f"Bearer {exchanged}")
    await client.close()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 5 ", 5),
        ("Mon, 23 Nov 2026 10:01:00 GMT", 60),
        ("Mon, 23 Nov 2026 09:00:00 GMT", None),
        ("99999999999999", timedelta(days=7).total_seconds()),
        ("0", None),
        ("-5", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_how_long_a_register_asks_us_to_wait(value: str | None, seconds: float | None) -> None:
    wait = retry_after(value, datetime(2026, 11, 23, 10, tzinfo=UTC))
    assert (wait and wait.total_seconds()) == seconds
