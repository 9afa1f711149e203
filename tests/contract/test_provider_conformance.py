"""What every provider guarantees, whatever it speaks (channels 1.4: G1-G11; G12 is the sending stage's).

Each type is driven against its simulator, and against peers that do not know its protocol, over real sockets. How one
is added: `tests/conformance/bench.py`.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from conformance.bench import NOW, REFERENCE, TEXT, Bench
from conformance.benches import BENCHES
from conformance.certificates import untrusted_tls
from conformance.peers import Peer
from varsel.delivery.ports import (
    Accepted,
    Asked,
    Asking,
    Blame,
    Confirms,
    Deferred,
    Indeterminate,
    Pending,
    SendResult,
    Unknown,
    Verdict,
)
from varsel.providers.kind import ReportAnswer
from varsel.settings import provider_module

every = pytest.mark.parametrize("bench", BENCHES, ids=lambda bench: bench.type)
talking = pytest.mark.parametrize("bench", [bench for bench in BENCHES if bench.has_peer], ids=lambda bench: bench.type)
alone = pytest.mark.parametrize(
    "bench", [bench for bench in BENCHES if not bench.has_peer], ids=lambda bench: bench.type
)
reporting = pytest.mark.parametrize(
    "bench", [bench for bench in BENCHES if bench.kind.reports], ids=lambda bench: bench.type
)

ANSWERS = [
    b"",
    b"\x00\xff" * 2_000,
    b"hello\r\n" * 3,
    b"220 hello\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\nnull",
    b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"[" * 200_000,
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 500 Oh\r\nContent-Length: 6\r\n\r\n<html>",
    b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
]


@every
async def test_it_says_what_it_is_and_takes(bench: Bench[Any]) -> None:
    made = bench.make(1)
    assert made.name == "bench"
    assert 1 <= made.max_batch <= made.step
    assert made.step % made.max_batch == 0
    assert made.confirms in Confirms
    assert made.on_indeterminate is Indeterminate.RESEND
    assert bench.make_from({**bench.settings(1), "on_indeterminate": "hold"}).on_indeterminate is Indeterminate.HOLD
    assert bench.kind.asks == isinstance(made, Asking)
    assert provider_module(bench.type) == type(made).__module__
    await made.close()
    await made.close()


@every
@pytest.mark.assertion("channels", 1, 2)
async def test_each_message_gets_one_result_in_the_order_of_the_batch(bench: Bench[Any]) -> None:
    recipients = [to for to in bench.outcomes for _ in range(3)]
    recipients = recipients[::2] + recipients[1::2]
    async with bench.simulator() as site, bench.provider(site.port) as provider:
        results: list[SendResult] = []
        for start in range(0, len(recipients), provider.max_batch):
            batch = [bench.message(to) for to in recipients[start : start + provider.max_batch]]
            results += await provider.send(batch)
        assert [type(result) for result in results] == [bench.outcomes[to] for to in recipients]
        arrived = Counter(taken.to for taken in site.taken())
    assert arrived == Counter(to for to in recipients if bench.outcomes[to] in {Accepted, Pending})


@every
async def test_nothing_to_send_is_nothing_said(bench: Bench[Any]) -> None:
    async with Peer(stays=True) as peer, bench.provider(peer.port) as provider:
        assert await provider.send([]) == []
        assert not peer.met.is_set()


@every
async def test_as_much_as_it_takes_at_once_arrives_once_each_and_every_reference_is_its_own(bench: Bench[Any]) -> None:
    async with bench.simulator() as site, bench.provider(site.port) as provider:
        sends = provider.step // provider.max_batch + 2
        batches = [[bench.message() for _ in range(provider.max_batch)] for _ in range(sends)]
        results = [result for answer in await asyncio.gather(*map(provider.send, batches)) for result in answer]
        assert len(site.taken()) == len(results) == sends * provider.max_batch
    assert all(isinstance(result, Accepted | Pending) for result in results)
    references = [result.reference for result in results]
    assert len(set(references)) == (1 if references[0] is None else len(references))


@talking
@pytest.mark.assertion("channels", 4)
async def test_a_wrong_login_fails_no_message_and_sends_none(bench: Bench[Any]) -> None:
    async with bench.simulator() as site, bench.provider(site.port, wrong_login=True) as provider:
        results = [result for _ in range(4) for result in await provider.send([bench.message()])]
        assert not site.taken()
    assert {(type(r), r.blame is not Blame.MESSAGE) for r in results} == {(Deferred, True)}


@every
@pytest.mark.assertion("channels", 10)
async def test_where_nobody_listens_the_provider_is_to_blame_and_nothing_has_left(bench: Bench[Any]) -> None:
    async with bench.deserted() as provider:
        results = await provider.send([bench.message()])
    assert [(type(r), r.blame is not Blame.MESSAGE) for r in results] == [(Deferred, True)]


@talking
@pytest.mark.parametrize("words", ANSWERS, ids=range(len(ANSWERS)))
@pytest.mark.assertion("channels", 2, 10)
async def test_a_peer_that_talks_nonsense_neither_takes_nor_refuses_a_message(bench: Bench[Any], words: bytes) -> None:
    async with Peer(words, waits=not bench.greets) as peer, bench.provider(peer.port) as provider:
        (result,) = await provider.send([bench.message()])
    believed = words.startswith(b"HTTP/1.1 2") and not bench.reads_answers
    assert type(result) in {
        Deferred,
        Unknown,
        *([Pending] if bench.remembers else []),
        *([Accepted] if believed else []),
    }


@talking
@pytest.mark.assertion("channels", 3)
async def test_cancelled_it_lets_go_of_its_connection_and_can_go_on(bench: Bench[Any]) -> None:
    greeting = b"220 hello\r\n" if bench.greets else b""
    async with Peer(greeting, stays=True) as peer, bench.provider(peer.port) as provider:
        for _ in range(2):
            peer.asked.clear()
            peer.left.clear()
            sending = asyncio.create_task(provider.send([bench.message()]))
            async with asyncio.timeout(30):
                await peer.asked.wait()
                sending.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await sending
                if bench.lets_go:
                    await peer.left.wait()


@every
@pytest.mark.assertion("channels", 6)
async def test_no_text_address_or_secret_is_logged_or_told(bench: Bench[Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[SendResult] = []
    async with bench.simulator() as site:
        for wrong_login in (False, True):
            async with bench.provider(site.port, wrong_login=wrong_login) as provider:
                for to in bench.outcomes:
                    told += await provider.send([bench.message(to)])
    for words in ANSWERS[-4:] if bench.has_peer else ():
        async with Peer(words, waits=not bench.greets) as peer, bench.provider(peer.port) as provider:
            told += await provider.send([bench.message()])
    own = [record for record in caplog.records if record.name.startswith("varsel.providers")]
    everything = "".join(str(vars(record)) for record in own) + repr(told)
    for forbidden in (TEXT, *bench.secrets, *bench.outcomes):
        assert forbidden not in everything


HOSTILE = [
    "\r\nBcc: victim@example.com",
    "\r\n.\r\nMAIL FROM:<a@b.example>\r\n",
    "</TEXT><RCV>4799999999</RCV><TEXT>",
    "]]><!ENTITY x 'y'>",
    '","to":[{"address":"victim@example.com"}],"x":"',
    "&To=%2B4799999999&From=x",
    "\x00\x1b\x7f\u2028\u0085",
    "=?utf-8?q?=0d=0aBcc:_victim@example.com?=",
]


@every
@pytest.mark.parametrize("words", HOSTILE, ids=range(len(HOSTILE)))
async def test_no_text_of_a_user_changes_what_is_said(bench: Bench[Any], words: str) -> None:
    async with bench.simulator() as site, bench.provider(site.port) as provider:
        message = bench.message(text=f"{TEXT}{words}{TEXT}")
        (result,) = await provider.send([message])
        assert isinstance(result, Accepted | Pending)
        assert [(taken.to, taken.text) for taken in site.taken()] == [
            (message.to, bench.arrives(f"{TEXT}{words}{TEXT}"))
        ]
        await provider.send([bench.message(hostile=words), bench.message()][: provider.max_batch])
        assert {taken.to for taken in site.taken()} == {message.to}
        assert len(site.taken()) <= 1 + provider.max_batch


@every
@settings(max_examples=15, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_characters="\r\n\0"), max_size=60), min_size=1, max_size=5))
def test_every_text_arrives_as_it_is(bench: Bench[Any], texts: list[str]) -> None:
    texts = [f"Hei {text}" for text in texts]  # nothing is left of some texts, and nobody sends that

    async def sent() -> Sequence[str]:
        async with bench.simulator() as site, bench.provider(site.port) as provider:
            for text in texts:
                (result,) = await provider.send([bench.message(text=text)])
                assert isinstance(result, Accepted | Pending)
            return [taken.text for taken in site.taken()]

    assert asyncio.run(sent()) == [bench.arrives(text) for text in texts]


@pytest.mark.parametrize("bench", [b for b in BENCHES if b.remembers], ids=lambda bench: bench.type)
async def test_what_is_handed_over_twice_leaves_once_where_the_provider_remembers(bench: Bench[Any]) -> None:
    message = bench.message()
    async with bench.simulator() as site, bench.provider(site.port) as provider:
        first, second = [await provider.send([message]) for _ in range(2)]
        assert first == second
        assert len(site.taken()) == 1
    assert isinstance(provider, Asking)


asking = pytest.mark.parametrize("bench", [b for b in BENCHES if b.kind.asks], ids=lambda bench: bench.type)


@asking
@pytest.mark.parametrize("words", ANSWERS, ids=range(len(ANSWERS)))
async def test_nonsense_in_answer_to_a_question_decides_nothing(bench: Bench[Any], words: bytes) -> None:
    questions = [Asked(bench.message().id, None, 1, NOW), Asked(bench.message().id, REFERENCE, 2, NOW)]
    async with Peer(words, waits=not bench.greets) as peer, bench.provider(peer.port) as provider:
        answers = await provider.ask(questions)
    assert len(answers) == len(questions)
    assert {type(answer) for answer in answers} <= {Unknown, Pending}


@asking
async def test_a_question_that_nobody_hears_decides_nothing(bench: Bench[Any]) -> None:
    async with Peer() as peer:
        pass
    async with bench.provider(peer.port) as provider:
        assert await provider.ask([]) == []
        assert [type(answer) for answer in await provider.ask([Asked(bench.message().id, None, 1, NOW)])] == [Unknown]


@talking
async def test_a_certificate_that_nobody_vouches_for_gets_nothing(bench: Bench[Any]) -> None:
    async with (
        Peer(b"220 hello\r\n", tls=untrusted_tls()) as peer,
        bench.provider(peer.port, tls=True) as provider,
    ):
        results = await provider.send([bench.message()])
        assert [(type(r), r.blame is not Blame.MESSAGE) for r in results] == [(Deferred, True)]
        assert not peer.heard


@talking
def test_secrets_never_travel_in_the_clear(bench: Bench[Any]) -> None:
    assert bench.insecure
    with pytest.raises(ValueError):  # noqa: PT011 - of whichever kind: it does not start
        bench.make_from({**bench.settings(1), **bench.insecure})


@alone
def test_what_talks_to_nobody_has_no_secret_and_production_does_not_start_with_it(bench: Bench[Any]) -> None:
    assert not bench.secrets
    assert not any(field.annotation is SecretStr for field in bench.kind.settings.model_fields.values())
    chosen = bench.kind.settings.model_validate({"type": bench.type, **bench.settings(1)})
    assert chosen.unfit_for_production()
    with pytest.raises(ValueError, match="cannot be captured here"):
        bench.kind.make(chosen, replace(bench.tools, production=True))


@every
def test_settings_show_no_secret(bench: Bench[Any]) -> None:
    shown = repr(bench.kind.settings.model_validate({"type": bench.type, **bench.settings(1)}))
    for secret in bench.secrets:
        assert secret not in shown


# Reports


def read(bench: Bench[Any], request: Any) -> ReportAnswer:
    async def reading() -> ReportAnswer:
        return await bench.reader().read(request)

    return asyncio.run(reading())


@reporting
@pytest.mark.assertion("channels", 9)
def test_a_state_that_nobody_knows_is_kept_and_decides_nothing(bench: Bench[Any]) -> None:
    answer = read(bench, bench.report_request(bench.unknown_state))
    assert 200 <= answer.status < 300
    assert [(report.verdict, report.provider) for report in answer.reports] == [(Verdict.UNRECOGNISED, "bench")]


@reporting
def test_a_report_of_a_stranger_is_refused_and_not_kept(bench: Bench[Any]) -> None:
    answer = read(bench, bench.stranger(bench.report_request(bench.unknown_state)))
    assert answer.status in {401, 403}
    assert not answer.reports


@reporting
def test_the_same_report_has_the_same_key_and_another_has_another(bench: Bench[Any]) -> None:
    request = bench.report_request(bench.unknown_state)
    keys = [read(bench, r).reports[0].event_key for r in (request, request, bench.report_request("another"))]
    assert keys[0] == keys[1] != keys[2]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
)


@reporting
@settings(max_examples=150, deadline=None)
@given(body=st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_whatever_bytes_come_there_is_an_answer(bench: Bench[Any], body: bytes) -> None:
    for request in (bench.authentic(body), bench.stranger(bench.authentic(body))):
        answer = read(bench, request)
        assert 200 <= answer.status < 500
        assert all(report.verdict is Verdict.UNRECOGNISED for report in answer.reports)


@reporting
@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 20_000, b"<a>" * 50_000, b"\xff\xfe" * 1_000, b"a=" * 9_999]
)
def test_a_body_that_is_made_to_hurt_is_answered(bench: Bench[Any], body: bytes) -> None:
    assert 200 <= read(bench, bench.authentic(body)).status < 500
