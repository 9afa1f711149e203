"""The gateway's simulator keeps what it promises to others (channels 8.3): it validates like the gateway."""

from collections.abc import Sequence
from xml.sax.saxutils import escape

import aiohttp
import pytest
from defusedxml.ElementTree import fromstring

from varsel.domain.captured import Captured
from varsel.domain.notification import Channel
from varsel.domain.sms_text import Alphabet
from varsel.simulators.link import LinkSimulator


def msg(id_: int = 1, text: str = "Hei", to: str = "4799999500", sender: str = "Altinn", more: str = "") -> str:
    return f"<MSG><ID>{id_}</ID><TEXT>{escape(text)}</TEXT><SND>{escape(sender)}</SND><RCV>{to}</RCV>{more}</MSG>"


async def post(
    simulator: LinkSimulator, *messages: str, login: str = "<CLIENT>c</CLIENT><PW>p</PW>"
) -> tuple[int, str]:
    document = f"<SESSION>{login}<MSGLST>{''.join(messages)}</MSGLST></SESSION>"
    body = f'<?xml version="1.0" encoding="ISO-8859-1"?>{document}'.encode("iso-8859-1", "xmlcharrefreplace")
    async with aiohttp.ClientSession() as session, session.post(simulator.url, data=body) as response:
        return response.status, await response.text()


def infos(answer: str) -> list[tuple[str | None, str | None]]:
    return [(m.findtext("STATUS"), m.findtext("INFO")) for m in fromstring(answer).iter("MSG")]


def gateway(*, quiet: bool = False) -> LinkSimulator:
    return LinkSimulator({"c": "p"}, None, time_factor=0.001, quiet=quiet)


async def test_a_message_is_taken_with_a_reference_of_its_own() -> None:
    async with gateway() as simulator:
        _, answer = await post(simulator, msg(1), msg(2))
    references = [m.findtext("REF") for m in fromstring(answer).iter("MSG")]
    assert references == [message.reference for message in simulator.submitted]
    assert len(set(references)) == 2
    assert all(reference and reference == reference.upper() for reference in references)


@pytest.mark.parametrize(
    "login", ["", "<CLIENT>c</CLIENT><PW>x</PW>", "<CLIENT>x</CLIENT><PW>p</PW>", "<CLIENT>x</CLIENT>"]
)
async def test_an_unknown_account_is_refused(login: str) -> None:
    async with gateway() as simulator:
        _, answer = await post(simulator, msg(), login=login)
    assert fromstring(answer).findtext("LOGON") == "FAIL"
    assert not simulator.submitted


@pytest.mark.parametrize(
    ("message", "info"),
    [
        (msg(to="+4799999500"), "Invalid RCV"),
        (msg(to="47999995"), "Invalid RCV"),
        (msg(to="004799999500"), "Invalid RCV"),
        (msg(sender="Twelve chars"), "Invalid SND"),
        (msg(sender="+4799999500"), "Invalid SND"),
        (msg(sender="Æ"), "Invalid SND"),
        (msg(sender=""), "Invalid SND"),
        (msg(sender="12"), "Invalid SND"),
        (msg(text="04", more="<OP>9</OP>"), "Invalid TEXT"),
        (msg(text="zzzz", more="<OP>9</OP>"), "Invalid TEXT"),
        (msg(more="<TTL>soon</TTL>"), "Invalid TTL"),
    ],
)
async def test_a_message_that_the_gateway_would_refuse_is_refused(message: str, info: str) -> None:
    async with gateway() as simulator:
        _, answer = await post(simulator, message)
    ((status, said),) = infos(answer)
    assert status == "FAIL"
    assert said is not None
    assert said.startswith(info)
    assert not simulator.submitted


@pytest.mark.parametrize("sender", ["Altinn", "Min etat 1", "2300", "4799999500", "A&B-C.D"])
async def test_a_sender_that_the_gateway_knows_is_taken(sender: str) -> None:
    async with gateway() as simulator:
        await post(simulator, msg(sender=sender))
    assert [message.sender for message in simulator.submitted] == [sender]


async def test_more_than_a_hundred_messages_are_refused() -> None:
    async with gateway() as simulator:
        _, answer = await post(simulator, *(msg(n) for n in range(1, 102)))
    assert infos(answer) == [("FAIL", "Too many messages")] * 101


@pytest.mark.parametrize(
    ("text", "more", "kept", "flags"),
    [
        ("Hei", "<TTL>5</TTL>", "Hei", set()),
        ("Hei", "<TTL>0</TTL>", "Hei", {"default ttl"}),
        ("Hei", "", "Hei", {"default ttl"}),
        ("Hei ж!", "<TTL>5</TTL>", "Hei ?!", {"mangled"}),
        ("04160436", "<TTL>5</TTL><OP>9</OP>", "Жж", set()),
        ("a" * 2145, "<TTL>5</TTL>", "a" * 2144, {"truncated"}),
        ("€" * 1100, "<TTL>5</TTL>", "€" * 1072, {"truncated"}),
        ("0416" * 1100, "<TTL>5</TTL><OP>9</OP>", "Ж" * 1072, {"truncated"}),
    ],
)
async def test_what_the_gateway_does_to_a_text_is_done_and_flagged(
    text: str, more: str, kept: str, flags: set[str]
) -> None:
    async with gateway() as simulator:
        await post(simulator, msg(text=text, more=more))
    (message,) = simulator.submitted
    assert message.text == kept
    assert set(message.flags) == flags


async def test_the_next_messages_follow_what_a_test_asks_for() -> None:
    async with gateway() as simulator:
        simulator.next(1, "202")
        _, answer = await post(simulator, msg(1), msg(2))
    assert [status for status, _ in infos(answer)] == ["FAIL", "OK"]


async def test_what_came_in_is_handed_on_before_it_is_answered() -> None:
    captured: list[Captured] = []

    async def capture(messages: Sequence[Captured]) -> None:
        captured.extend(messages)

    async with LinkSimulator({"c": "p"}, None, capture=capture) as simulator:
        await post(simulator, msg(1, "Å gå\nhit"), msg(2, "041F", to="4799999103", more="<OP>9</OP>"), msg(3, to="1"))
    first, second = captured
    assert (first.channel, first.sender, first.recipient) == (Channel.SMS, "Altinn", "+4799999500")
    assert (first.text, first.alphabet, first.parts, first.outcome) == ("Å gå\nhit", Alphabet.GSM_7.value, 1, "")
    assert (second.text, second.alphabet, second.outcome) == ("П", Alphabet.UCS_2.value, "UNDELIV")
    assert fromstring(second.raw).findtext("TEXT") == "041F"


async def test_what_is_no_xml_is_refused() -> None:
    async with (
        gateway() as simulator,
        aiohttp.ClientSession() as session,
        session.post(simulator.url, data=b"<SESSION>") as response,
    ):
        assert response.status == 400


async def test_in_quiet_mode_everything_is_taken_with_references_never_seen_before() -> None:
    async with gateway(quiet=True) as simulator:
        answers = [await post(simulator, msg(1), msg(2, to="4799999201")) for _ in range(2)]
    references = [m.findtext("REF") for _, answer in answers for m in fromstring(answer).iter("MSG")]
    assert len(set(references)) == 4
    assert simulator.accepted == 4
    assert not simulator.journal
