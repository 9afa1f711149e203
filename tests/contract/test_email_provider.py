"""The guarantees of an email provider (channels 1.4) and every row of the reply table (2.1), over real sockets."""

import asyncio
import logging
import sys
from email import message_from_bytes, policy
from pathlib import Path
from typing import Final

import pytest

from postal import BOUNCES, FAULT, NO_BOUNCES, QUICK, RETRY, THROTTLED, Canned, email, one, pair, provider_at, shape
from varsel.delivery.ports import (
    Accepted,
    Confirms,
    Deferred,
    Email,
    Refused,
    SendResult,
    Suppress,
    Unknown,
)
from varsel.domain.captured import Captured
from varsel.domain.notification import Reason
from varsel.providers.smtp_session import Limits
from varsel.providers.verp import Verp, xtext_decode
from varsel.simulators.sink import Sink
from varsel.simulators.smtp import ALL_EXTENSIONS, SmtpSimulator

SCRIPTED: dict[str, SendResult] = {
    "ok": Accepted(),
    "someone": Accepted(),
    "multi": Accepted(),
    "slow-1": Accepted(),
    "bounce": Refused(Reason.BOUNCED, suppress=Suppress.HARD_BOUNCE),
    "disabled": Refused(Reason.BOUNCED, suppress=Suppress.DISABLED),
    "full": Refused(Reason.BOUNCED),
    "fullsoft": RETRY,
    "badaddr": Refused(Reason.INVALID_EMAIL_FORMAT, suppress=Suppress.HARD_BOUNCE),
    "norelay": RETRY,
    "badsender": Refused(Reason.UNSPECIFIED),
    "defer": RETRY,
    "defer-2": RETRY,
    "grey": RETRY,
    "ratelimit": THROTTLED,
    "busy": RETRY,
    "toolarge": Refused(Reason.PAYLOAD_TOO_LARGE),
    "spam": Refused(Reason.FILTERED_SPAM),
    "refuse": Refused(Reason.BOUNCED),
    "hang": Unknown(),
    "drop": Unknown(),
    "drop-rcpt": RETRY,
    "drop-data": Unknown(),  # design 8: a loss after the first octet of content is unknown
    "junk": RETRY,
}


@pytest.mark.assertion("channels", 1, 40)
async def test_every_scripted_address_ends_as_the_table_says_and_in_the_order_of_the_batch() -> None:
    async with pair(limits=QUICK, connections=4) as (provider, server):
        results = await provider.send([email(f"{script}+x@mottaker.test") for script in SCRIPTED])
        assert {script: shape(result) for script, result in zip(SCRIPTED, results, strict=True)} == SCRIPTED
        stored = sorted(message.script.name for message in server.stored)
        assert stored == sorted(["ok", "ok", "multi", "slow-1", "hang", "drop"])  # each exactly once


REPLIES: list[tuple[str, str, SendResult]] = [
    ("BANNER", "421 4.3.2 Not now", FAULT),
    ("BANNER", "554 5.7.1 Go away", FAULT),
    ("BANNER", "hello", FAULT),
    ("EHLO", "421 4.3.2 Not now", FAULT),
    ("EHLO", "550 5.7.1 No", FAULT),
    ("MAIL", "530 5.7.0 Authentication required", FAULT),
    ("RCPT", "530 5.7.0 Authentication required", FAULT),
    ("MAIL", "421 4.3.2 Closing", FAULT),
    ("MAIL", "421 4.7.0 Too many messages", THROTTLED),
    ("RCPT", "421 4.7.0 Rate limited", THROTTLED),
    ("RCPT", "421 4.3.2 Closing", RETRY),
    ("MAIL", "452 4.3.1 Insufficient storage", THROTTLED),
    ("RCPT", "452 4.3.1 Insufficient storage", THROTTLED),
    ("RCPT", "450 4.7.1 Too many messages, slow down", THROTTLED),
    ("DOT", "451 4.7.28 Unusual rate of mail", THROTTLED),
    ("MAIL", "451 4.3.0 Try later", RETRY),
    ("MAIL", "550 5.7.1 Sender not allowed", Refused(Reason.UNSPECIFIED)),
    ("MAIL", "553 Sender unknown", Refused(Reason.UNSPECIFIED)),
    ("MAIL", "501 5.1.7 Bad sender", Refused(Reason.UNSPECIFIED)),
    ("RCPT", "550 5.1.7 Bad sender", Refused(Reason.UNSPECIFIED)),
    ("MAIL", "552 Too big", Refused(Reason.PAYLOAD_TOO_LARGE)),
    ("MAIL", "500 5.3.4 Too big", RETRY),
    ("MAIL", "554 5.3.4 Too big", Refused(Reason.PAYLOAD_TOO_LARGE)),
    ("MAIL", "503 5.5.1 Out of step", RETRY),
    ("MAIL", "555 Unknown option", FAULT),
    ("RCPT", "504 Not implemented", FAULT),
    ("RCPT", "501 5.5.4 Bad NOTIFY parameter", FAULT),
    ("RCPT", "550 5.1.10 Null MX", Refused(Reason.BOUNCED, suppress=Suppress.HARD_BOUNCE)),
    ("RCPT", "550 No such user", Refused(Reason.BOUNCED)),
    ("RCPT", "551 Not local", Refused(Reason.BOUNCED)),
    ("RCPT", "501 Bad address", Refused(Reason.INVALID_EMAIL_FORMAT)),
    ("RCPT", "553 Bad address", Refused(Reason.INVALID_EMAIL_FORMAT)),
    ("RCPT", "550 5.4.1 Access denied", Refused(Reason.BOUNCED)),
    ("RCPT", "550 5.2.3 Too long for the mailbox", Refused(Reason.PAYLOAD_TOO_LARGE)),
    ("RCPT", "550 5.7.1 Relaying denied", RETRY),
    ("RCPT", "550 relay not permitted", RETRY),
    ("RCPT", "550 5.7.1 Blocked by relay.example", Refused(Reason.BOUNCED)),
    ("RCPT", "550 5.0.0 No", Refused(Reason.BOUNCED)),
    ("RCPT", "550 4.1.1 At odds with itself", Refused(Reason.BOUNCED)),
    ("RCPT", "354 Unexpected", RETRY),
    ("RCPT", "251 Will forward", Accepted()),
    ("DATA", "554 5.5.1 No valid recipients", Refused(Reason.BOUNCED)),
    ("DATA", "503 5.5.1 Out of step", Refused(Reason.UNSPECIFIED)),  # once more, and then for good
    ("DATA", "451 Try later", RETRY),
    ("DATA", "250 Unexpected", RETRY),
    ("DOT", "552 Too big", Refused(Reason.PAYLOAD_TOO_LARGE)),
    ("DOT", "550 5.2.3 Too big", Refused(Reason.PAYLOAD_TOO_LARGE)),
    ("DOT", "552 5.2.2 Mailbox full", Refused(Reason.BOUNCED)),
    ("DOT", "554 5.6.0 Bad content", Refused(Reason.FILTERED_SPAM)),
    ("DOT", "550 5.7.1 Spam", Refused(Reason.FILTERED_SPAM)),
    ("DOT", "554 Refused", Refused(Reason.BOUNCED)),
    ("DOT", "451 4.3.0 Try later", RETRY),
    ("DOT", "421 4.3.2 Closing", RETRY),
    ("DOT", "354 Unexpected", Unknown()),
    ("DOT", "junk", Unknown()),
]


PIPED: Final = pytest.mark.parametrize("piped", [False, True], ids=["one by one", "all at once"])


@PIPED
@pytest.mark.parametrize(("stage", "reply", "expected"), REPLIES)
async def test_a_reply_means_what_the_table_says(stage: str, reply: str, expected: SendResult, piped: bool) -> None:
    async with Canned({stage: reply}, piped=piped) as server, provider_at(server.port) as provider:
        result = await one(provider, email())
        assert shape(result) == expected
        if not isinstance(result, Accepted) and reply[:3].isdigit():
            assert reply[:3] in result.detail or isinstance(expected, Deferred)


@PIPED
@pytest.mark.parametrize(
    ("stage", "expected"),
    [("BANNER", FAULT), ("EHLO", FAULT), ("MAIL", FAULT), ("RCPT", RETRY), ("DATA", RETRY), ("DOT", Unknown())],
)
@pytest.mark.assertion("channels-faults", 4)
async def test_a_lost_connection_is_unknown_only_once_content_has_left(
    stage: str, expected: SendResult, piped: bool
) -> None:
    async with Canned({stage: None}, piped=piped) as server, provider_at(server.port) as provider:
        assert shape(await one(provider, email())) == expected


@PIPED
@pytest.mark.parametrize(
    ("stage", "expected"),
    [("BANNER", FAULT), ("EHLO", FAULT), ("MAIL", FAULT), ("RCPT", FAULT), ("DATA", FAULT), ("DOT", Unknown())],
)
async def test_a_time_out_is_charged_to_the_provider_and_unknown_once_content_has_left(
    stage: str, expected: SendResult, piped: bool
) -> None:
    limits = Limits(connect=0.05, command=0.05, final=0.05)
    async with Canned({stage: ""}, piped=piped) as server, provider_at(server.port, limits=limits) as provider:
        assert shape(await one(provider, email())) == expected
        await one(provider, email())
        assert server.connections == 2  # what timed out is never used again


async def test_a_server_that_is_down_defers_the_whole_batch_and_is_charged_itself() -> None:
    async with Canned() as server:
        port = server.port
    async with provider_at(port, connections=3) as provider:
        results = await provider.send([email() for _ in range(20)])
        assert [shape(result) for result in results] == [FAULT] * 20


@pytest.mark.assertion("channels", 41)
async def test_deferred_messages_arrive_on_a_later_try() -> None:
    async with pair() as (provider, server):
        message = email("defer-2@mottaker.test")
        results = [shape(await one(provider, message)) for _ in range(3)]
        assert results == [RETRY, RETRY, Accepted()]
        assert len(server.stored) == 1


@pytest.mark.assertion("channels", 43)
async def test_three_recipient_domains_that_are_denied_relay_are_the_accounts_fault_and_one_is_not() -> None:
    async with pair(connections=1) as (provider, _):
        same = await provider.send([email(f"norelay+{n}@a.test") for n in range(5)])
        assert [shape(result) for result in same] == [RETRY] * 5
        other = await provider.send([email("norelay@b.test"), email("norelay@c.test"), email("norelay@a.test")])
        assert [shape(result) for result in other] == [RETRY, FAULT, FAULT]
        await provider.send([email("ok@a.test")])
        assert shape(await one(provider, email("norelay@d.test"))) == RETRY


async def test_refused_senders_of_one_creator_are_theirs_and_of_three_are_ours() -> None:
    async with pair(connections=1) as (provider, _):
        one_creator = [email("badsender@a.test") for _ in range(5)]
        assert {shape(result) for result in await provider.send(one_creator)} == {Refused(Reason.UNSPECIFIED)}
        others = [email("badsender@a.test", creator=creator) for creator in ("nav", "skd")]
        assert [shape(result) for result in await provider.send(others)] == [Refused(Reason.UNSPECIFIED), FAULT]


async def test_an_extension_that_is_offered_and_then_refused_is_left_out_from_then_on() -> None:
    async with pair(connections=1) as (provider, server):
        server.refuse_options = True
        assert shape(await one(provider, email())) == Accepted()
        assert shape(await one(provider, email())) == Accepted()
        mails = [command.argument for command in server.commands if command.verb == "MAIL"]
        assert ["ENVID" in argument for argument in mails] == [True, False, False]


async def test_a_connection_is_kept_and_reset_only_after_a_refusal() -> None:
    async with pair(connections=1) as (provider, server):
        for address in ("ok@a.test", "ok@a.test", "bounce@a.test", "spam@a.test", "ok@a.test"):
            await one(provider, email(address))
        assert {command.connection for command in server.commands} == {1}
        verbs = [command.verb for command in server.commands]
        assert verbs.count("RSET") == 1  # RCPT was refused; a refused content ends the transaction by itself
        assert verbs.count("EHLO") == 1


@pytest.mark.assertion("channels", 45)
async def test_a_connection_is_retired_after_its_messages_and_takes_leave() -> None:
    async with pair(connections=1) as (provider, server):
        await provider.send([email() for _ in range(201)])
        per_connection = [message.connection for message in server.stored]
        assert [per_connection.count(number) for number in (1, 2, 3)] == [100, 100, 1]
        assert [command.connection for command in server.commands if command.verb == "QUIT"] == [1, 2]


async def test_a_connection_is_retired_by_age_and_asked_when_it_was_idle() -> None:
    async with pair(connections=1, limits=Limits(idle=0, age=300)) as (provider, server):
        await one(provider, email())
        await one(provider, email())
        assert [command.verb for command in server.commands].count("NOOP") == 1
        assert len({command.connection for command in server.commands}) == 1
    async with pair(connections=1, limits=Limits(age=0)) as (provider, server):
        await one(provider, email())
        await one(provider, email())
        assert len({command.connection for command in server.commands}) == 2


@pytest.mark.parametrize("address", ["busy@a.test", "hang@a.test", "drop@a.test", "junk@a.test", "drop-rcpt@a.test"])
@pytest.mark.assertion("channels", 45)
async def test_a_connection_that_saw_trouble_is_not_used_again(address: str) -> None:
    async with pair(connections=1, limits=QUICK) as (provider, server):
        await one(provider, email(address))
        assert shape(await one(provider, email())) == Accepted()
        assert [command.connection for command in server.commands if command.verb == "EHLO"] == [1, 2]


@PIPED
async def test_a_kept_connection_that_the_server_closed_costs_nothing(piped: bool) -> None:
    async with Canned(mails=2, piped=piped) as server, provider_at(server.port, connections=1) as provider:
        results = await provider.send([email() for _ in range(5)])
        assert [shape(result) for result in results] == [Accepted()] * 5
        assert server.connections == 3


async def test_a_server_that_would_take_content_for_a_refused_address_gets_none() -> None:
    async with Canned({"RCPT": "550 5.1.1 No such user"}, piped=True) as server:
        async with provider_at(server.port, connections=1) as provider:
            results = [shape(await one(provider, email())) for _ in range(3)]
        assert results == [Refused(Reason.BOUNCED, suppress=Suppress.HARD_BOUNCE)] * 3
        assert [line[:4] for line in server.seen[1:-1]] == ["MAIL", "RCPT", "DATA", "RSET"] * 3
        assert server.content == [b".\r\n"] * 3


async def test_all_commands_of_a_message_go_at_once_where_that_is_offered() -> None:
    """A server that says nothing before it has heard all three."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 patient\r\n")
        await reader.readline()
        writer.write(b"250-patient\r\n250 PIPELINING\r\n")
        for _ in range(3):
            heard.extend([await reader.readline() for _ in range(3)])
            writer.write(b"250 Ok\r\n250-Ok\r\n250 so far\r\n354 Go on\r\n")
            await reader.readuntil(b"\r\n.\r\n")
            writer.write(b"250 Ok\r\n")
        await reader.readline()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, provider_at(server.sockets[0].getsockname()[1], connections=1) as provider:
        assert [shape(await one(provider, email())) for _ in range(3)] == [Accepted()] * 3
    assert [line[:4] for line in heard] == [b"MAIL", b"RCPT", b"DATA"] * 3


async def test_a_server_that_closes_at_once_every_time_ends_the_batch() -> None:
    async with Canned(mails=0) as server, provider_at(server.port, connections=2) as provider:
        assert [shape(result) for result in await provider.send([email() for _ in range(5)])] == [FAULT] * 5


async def test_never_more_connections_than_configured_whoever_sends() -> None:
    async with pair(connections=3) as (provider, server):
        batches = [provider.send([email("slow-1@a.test") for _ in range(4)]) for _ in range(5)]
        results = [shape(result) for batch in await asyncio.gather(*batches) for result in batch]
        assert results == [Accepted()] * 20
        assert len({command.connection for command in server.commands}) == 3


async def test_a_server_that_takes_fewer_connections_gets_fewer_and_all_the_mail() -> None:
    async with SmtpSimulator(max_connections=2) as server, provider_at(server.port, connections=5) as provider:
        results = await provider.send([email() for _ in range(30)])
        assert {shape(result) for result in results} == {Accepted()}
        assert len(server.stored) == 30
        tried = server.turned_away
        singly = await asyncio.gather(*(one(provider, email()) for _ in range(30)))
        assert {shape(result) for result in singly} == {Accepted()}
        assert server.turned_away == tried  # it has learnt


async def test_cancelled_it_closes_what_it_used_and_can_go_on() -> None:
    hanging = asyncio.Semaphore(0)

    async def capture(_: Captured) -> None:
        hanging.release()

    async with SmtpSimulator(capture=capture) as server, provider_at(server.port, connections=2) as provider:
        sending = asyncio.create_task(provider.send([email("hang@a.test"), email("hang@a.test")]))
        await hanging.acquire()
        await hanging.acquire()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert shape(await one(provider, email())) == Accepted()
        assert max(command.connection for command in server.commands) == 3


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (email("ikke en adresse"), Refused(Reason.INVALID_EMAIL_FORMAT)),
        (email("a@b.no\r\nRCPT TO:<victim@example.com>"), Refused(Reason.INVALID_EMAIL_FORMAT)),
        (email("a> NOTIFY=NEVER <b@c.no"), Refused(Reason.INVALID_EMAIL_FORMAT)),
        (email(sender="ikke en adresse"), Refused(Reason.UNSPECIFIED)),
        (email(body="x" * 1_000_001), Refused(Reason.PAYLOAD_TOO_LARGE)),
    ],
    ids=["no address", "command injection", "option injection", "no sender", "over SIZE"],
)
async def test_what_cannot_be_sent_is_refused_without_a_word_about_it(message: Email, expected: SendResult) -> None:
    async with Canned() as server, provider_at(server.port) as provider:
        results = await provider.send([message, email()])
        assert [shape(result) for result in results] == [expected, Accepted()]
        assert sum(line.startswith("MAIL") for line in server.seen) == 1


async def test_the_envelope_carries_a_signed_return_path_and_asks_for_reports() -> None:
    async with pair() as (provider, server):
        message = email("Kari.Nordmann+a=b@mottaker.example")
        await one(provider, message)
        [stored] = server.stored
        verp = Verp.configured(BOUNCES)
        assert verp is not None
        assert verp.verify(stored.sender) == message.id
        assert xtext_decode(stored.sender_options["ENVID"]) == f"n-{message.id}"
        assert stored.sender_options["RET"] == "HDRS"
        assert stored.sender_options["SIZE"] == str(len(stored.content))
        assert stored.recipient_options == {
            "NOTIFY": "SUCCESS,FAILURE,DELAY",
            "ORCPT": "rfc822;Kari.Nordmann+2Ba+3Db@mottaker.example",
        }
        assert provider.confirms is Confirms.ARRIVAL


async def test_reports_of_success_can_be_left_out() -> None:
    async with pair(success_dsn=False) as (provider, server):
        await one(provider, email())
        assert server.stored[0].recipient_options["NOTIFY"] == "FAILURE,DELAY"
        assert provider.confirms is Confirms.NOTHING


async def test_without_keys_mail_goes_from_its_sender_and_asks_for_nothing() -> None:
    async with pair(bounces=NO_BOUNCES) as (provider, server):
        await one(provider, email(sender="Etaten <post@Etat.example>"))
        assert server.stored[0].sender == "post@etat.example"
        assert server.stored[0].recipient_options == {}
        assert set(server.stored[0].sender_options) == {"SIZE"}
        assert provider.confirms is Confirms.NOTHING


@pytest.mark.assertion("channels", 37)
async def test_options_are_sent_only_where_they_are_offered(caplog: pytest.LogCaptureFixture) -> None:
    async with SmtpSimulator(offer=frozenset()) as server, provider_at(server.port) as provider:
        assert [shape(result) for result in await provider.send([email(), email()])] == [Accepted(), Accepted()]
        assert server.stored[0].sender_options == server.stored[0].recipient_options == {}
    assert [record.message for record in caplog.records].count("smtp server offers no delivery reports") == 1


@pytest.mark.assertion("channels", 30)
async def test_an_international_local_part_needs_smtputf8() -> None:
    message = email("ægir@blåbær.example")
    async with pair() as (provider, server):
        assert shape(await one(provider, message)) == Accepted()
        assert server.stored[0].recipient == "ægir@xn--blbr-roah.example"
        assert server.stored[0].sender_options.keys() >= {"SMTPUTF8", "BODY"}
        assert server.stored[0].recipient_options["ORCPT"] == r"utf-8;\x{E6}gir@xn--blbr-roah.example"
    async with SmtpSimulator(offer=ALL_EXTENSIONS - {"SMTPUTF8"}) as server, provider_at(server.port) as provider:
        assert shape(await one(provider, message)) == Refused(Reason.INVALID_EMAIL_FORMAT)
        assert shape(await one(provider, email("a@blåbær.example"))) == Accepted()  # a domain alone does not


@pytest.mark.assertion("channels", 33)
async def test_dots_and_long_lines_arrive_unchanged() -> None:
    body = ".\r\n..\r\n.dot\r\n" + "x" * 5_000 + "\r\nblåbær\r\n"
    async with pair() as (provider, server):
        await one(provider, email(body=body))
        received = message_from_bytes(server.stored[0].content, policy=policy.default)
        assert received.get_content().replace("\r\n", "\n") == body.replace("\r\n", "\n")


@pytest.mark.assertion("channels", 34)
async def test_every_try_carries_the_same_message_id() -> None:
    async with pair(limits=QUICK) as (provider, server):
        message = email("hang@a.test")
        await one(provider, message)
        await one(provider, message)
        ids = {message_from_bytes(stored.content)["Message-ID"] for stored in server.stored}
        assert ids == {f"<{message.id}@etat.example>"}


async def test_the_pool_sends_thousands_and_each_once(tmp_path: Path) -> None:
    sink = Sink(ids=tmp_path / "ids")
    await sink.start()
    async with provider_at(sink.port) as provider:
        messages = [email(f"person{n}@example.com") for n in range(2_000)]
        results = await provider.send(messages)
    assert {shape(result) for result in results} == {Accepted()}
    assert sink.count == 2_000
    await sink.stop()
    assert sorted((tmp_path / "ids").read_text().split()) == sorted(str(message.id) for message in messages)


async def test_the_sink_as_a_program_tells_its_port_its_count_and_whose_mail_it_took(tmp_path: Path) -> None:
    ids = tmp_path / "ids"
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "varsel.simulators.sink", "--ids", str(ids)), stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    messages = [email() for _ in range(3)]
    async with provider_at(int(await program.stdout.readline())) as provider:
        await provider.send(messages)
    program.terminate()
    assert await program.stdout.read() == b"3\n"
    assert await program.wait() == 0
    assert set(ids.read_text().split()) == {str(message.id) for message in messages}


async def test_no_address_text_or_secret_is_logged_or_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="varsel")
    secret, text = "hemmelig-passord", "fortrolig innhold"
    async with (
        SmtpSimulator(login=("sim", "another")) as server,
        provider_at(server.port, username="sim", password=secret) as provider,
    ):
        refused = await one(provider, email("kari.nordmann@mottaker.example", body=text))
    echo = "550 5.1.1 <kari.nordmann@mottaker.example> 13918399999 unknown"
    async with Canned({"RCPT": echo}) as canned, provider_at(canned.port) as provider:
        told = await one(provider, email("kari.nordmann@mottaker.example", body=text))
    detail = "rcpt: 550 5.1.1 <ka***@mottaker.example> *********** unknown"
    assert told == Refused(Reason.BOUNCED, detail, Suppress.HARD_BOUNCE)
    everything = caplog.text + "".join(str(vars(record)) for record in caplog.records) + repr((refused, told))
    for forbidden in ("kari.nordmann", "13918399999", secret, text):
        assert forbidden not in everything
