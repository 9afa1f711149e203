"""Users show that an address is theirs, by a code that Varsel itself sends (registries 4.3)."""

import asyncio
import logging
import re
from datetime import timedelta

import pytest

from profile_data import GUEST, LEADER, VERIFICATION, Users
from serving import HOUR, Api, Reply
from varsel.delivery.ports import Blame, Deferred, Email, Sms
from varsel.issuer import ENDUSER_SCOPE
from varsel.recipients.profile import codes

EMAIL = "mitt.valg@example.com"
PHONE = "99999599"


@pytest.fixture
def users(api: Api) -> Users:
    return Users(api.client, api.road.db)


async def send(users: Users, value: str = EMAIL, kind: str = "Email", user: int = LEADER) -> Reply:
    return await users.call("POST", f"{VERIFICATION}/send", {"value": value, "type": kind}, user=user)


async def verify(users: Users, code: str, value: str = EMAIL, kind: str = "Email", user: int = LEADER) -> Reply:
    body = {"value": value, "type": kind, "verificationCode": code}
    return await users.call("POST", f"{VERIFICATION}/verify", body, user=user)


def code_in(message: Email | Sms) -> str:
    text = message.text if isinstance(message, Sms) else message.body
    (code,) = re.findall(r"\b[1-9][0-9]{5}\b", text)
    return str(code)


def other_than(code: str, n: int = 1) -> str:
    return str(100_000 + (int(code) - 100_000 + n) % 900_000)


@pytest.mark.assertion("registries", 71, 76)
async def test_a_code_comes_by_email_and_works_once(users: Users, api: Api) -> None:
    assert (await users.call("GET", f"{VERIFICATION}/verified-addresses")).json == []
    assert (await send(users)).status == 204
    (message,) = api.road.mail.sent
    assert message.to == EMAIL
    code = code_in(message)
    assert (await verify(users, code, user=GUEST)).status == 422  # it is this user's alone
    assert (await verify(users, code, kind="Sms", value=PHONE)).status == 422
    done = await verify(users, code)
    assert (done.status, done.content) == (204, b"")
    assert (await verify(users, code)).status == 422
    listed = await users.call("GET", f"{VERIFICATION}/verified-addresses")
    assert listed.json == [{"value": EMAIL, "type": "Email"}]
    again = await send(users)
    assert (again.status, again.json["title"]) == (422, "Unprocessable Content")
    assert len(api.road.mail.sent) == 1


async def test_a_code_comes_by_sms_to_a_number_that_was_completed(users: Users, api: Api) -> None:
    assert (await send(users, PHONE, "Sms")).status == 204
    (message,) = api.road.sms.sent
    assert message.to == f"+47{PHONE}"
    assert (await verify(users, code_in(message), PHONE, "sms")).status == 204
    order = "SELECT (senders_reference, kind, sending_time)::text FROM orders JOIN order_content ON order_id = id"
    told = str(await api.road.value(order))
    assert re.search(r"profile-101-Sms-[0-9]{18}\b", told)
    creator = "SELECT c.name FROM orders o JOIN creator c ON c.id = o.creator_id"
    assert await api.road.value(creator) == "varsel"


@pytest.mark.parametrize(
    ("language", "words"),
    [(None, "Koden din er"), ("se", "Koden din er"), ("nn", "Oppgi han berre"), ("en", "Your code is")],
)
async def test_the_message_is_in_the_users_language(users: Users, api: Api, language: str | None, words: str) -> None:
    path = "/profile/api/v1/users/current/profilesettings"
    assert (await users.call("PATCH", path, {"language": language})).status == 200
    assert (await send(users, PHONE, "Sms")).status == 204
    (message,) = api.road.sms.sent
    assert isinstance(message, Sms)
    assert words in message.text


@pytest.mark.assertion("registries", 71)
async def test_a_code_is_too_old_after_fifteen_minutes(users: Users, api: Api) -> None:
    assert (await send(users)).status == 204
    code = code_in(api.road.mail.sent[0])
    api.road.clock.advance(timedelta(minutes=15))
    assert (await verify(users, code)).status == 422
    assert (await send(users)).status == 204
    api.road.clock.advance(timedelta(minutes=14, seconds=59))
    assert (await verify(users, code_in(api.road.mail.sent[1]))).status == 204


@pytest.mark.assertion("registries", 72)
async def test_the_next_code_for_an_address_comes_a_minute_later_and_replaces_the_first(users: Users, api: Api) -> None:
    assert (await send(users)).status == 204
    api.road.clock.advance(timedelta(seconds=20))
    refused = await send(users)
    assert refused.status == 429
    assert refused.headers["Retry-After"] == "40"
    assert refused.json["retryAfterSeconds"] == 40
    assert (await send(users, "andre@example.com")).status == 204
    api.road.clock.advance(timedelta(seconds=40))
    assert (await send(users)).status == 204
    first, _, second = (code_in(message) for message in api.road.mail.sent)
    if first != second:
        assert (await verify(users, first)).status == 422
    assert (await verify(users, second)).status == 204


async def test_of_requests_at_once_one_sends_a_code(users: Users, api: Api) -> None:
    replies = await asyncio.gather(*(send(users) for _ in range(5)))
    assert sorted(reply.status for reply in replies) == [204, 429, 429, 429, 429]
    assert len(api.road.mail.sent) == 1


@pytest.mark.assertion("registries", 73)
async def test_after_five_wrong_codes_the_right_one_does_not_help(users: Users, api: Api) -> None:
    assert (await send(users)).status == 204
    code = code_in(api.road.mail.sent[0])
    for n in range(1, 6):
        assert (await verify(users, other_than(code, n))).status == 422
    assert (await verify(users, code)).status == 422
    assert (await users.call("GET", f"{VERIFICATION}/verified-addresses")).json == []


async def test_guesses_at_once_are_no_more_than_the_limit(users: Users, api: Api) -> None:
    assert (await send(users)).status == 204
    code = code_in(api.road.mail.sent[0])
    wrong = [verify(users, other_than(code, n)) for n in range(1, 9)]
    assert {reply.status for reply in await asyncio.gather(*wrong)} == {422}
    assert await users.value("SELECT failed_attempts FROM registry.verification_code") == 5
    assert (await verify(users, code)).status == 422


async def test_more_than_ten_tries_a_minute_are_too_many_for_one_user(users: Users) -> None:
    for _ in range(10):
        assert (await verify(users, "123456")).status == 422
    refused = await verify(users, "123456")
    assert refused.status == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert (await verify(users, "123456", user=GUEST)).status == 422


@pytest.mark.assertion("registries", 74)
async def test_blanks_and_case_make_no_other_address(users: Users, api: Api) -> None:
    assert (await send(users, "A@Example.test ")).status == 204
    assert api.road.mail.sent[0].to == "A@Example.test"
    assert (await send(users, "a@example.test")).status == 429
    assert (await verify(users, code_in(api.road.mail.sent[0]), "a@EXAMPLE.test")).status == 204
    listed = await users.call("GET", f"{VERIFICATION}/verified-addresses")
    assert listed.json == [{"value": "a@example.test", "type": "Email"}]


@pytest.mark.assertion("registries", 75)
@pytest.mark.parametrize("login", ["IdportenEpost", "idportenepost", None])
async def test_who_logged_in_by_email_may_not_verify(users: Users, login: str | None) -> None:
    token = users.client.issuer.mint_user(GUEST, HOUR, scopes=(ENDUSER_SCOPE,), login=login)
    headers = {"Authorization": f"Bearer {token}"}
    body = {"value": EMAIL, "type": "Email", "verificationCode": "123456"}
    for path in ("send", "verify"):
        assert (await users.client.apost(f"{VERIFICATION}/{path}", body, headers=headers)).status == 403
    assert (await users.client.aget(f"{VERIFICATION}/verified-addresses", headers=headers)).status == 200


async def test_what_cannot_be_an_address_or_a_code_is_refused(users: Users) -> None:
    for value, kind in (("nobody", "Email"), ("a@b", "Email"), ("12", "Sms"), (EMAIL, "Sms"), (PHONE, "Email")):
        assert list((await send(users, value, kind)).errors) == ["Value"]
    assert list((await send(users, f"{'a' * 310}@example.com")).errors) == ["Value"]
    assert (await send(users, kind="Letter")).status == 400
    for code in ("12345", "1234567", "12345a", "１２３４５６", ""):
        assert list((await verify(users, code)).errors) == ["VerificationCode"]


@pytest.mark.assertion("registries-faults", 45)
async def test_a_code_that_could_not_be_sent_is_500_and_its_cool_down_counts(
    users: Users, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    api.road.mail.answers = lambda _: Deferred("no connection", Blame.PROVIDER)
    with caplog.at_level(logging.ERROR):
        failed = await send(users)
    assert failed.status == 500
    assert "detail" in failed.json
    assert [record.getMessage() for record in caplog.records] == ["verification code not sent"]
    assert EMAIL not in caplog.text
    assert (await send(users)).status == 429


async def test_a_code_is_stored_as_a_hash_that_fits_nothing_else(users: Users, api: Api) -> None:
    assert (await send(users)).status == 204
    code = code_in(api.road.mail.sent[0])
    stored = str(await users.value("SELECT v::text FROM registry.verification_code v"))
    assert code not in stored
    code_hash = str(await users.value("SELECT hash FROM registry.verification_code"))
    assert codes.fits(code, code_hash)
    assert not codes.fits(other_than(code), code_hash)
    assert codes.hash_code(code) != code_hash
