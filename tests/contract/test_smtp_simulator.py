"""The simulated mail server (channels 8.1) as an ordinary client meets it."""

from datetime import UTC, datetime
from email.message import EmailMessage
from uuid import UUID

import aiosmtplib
import pytest

from varsel.domain.captured import Captured
from varsel.domain.ids import NotificationId
from varsel.domain.notification import Channel
from varsel.simulators.smtp import SmtpSimulator
from varsel.simulators.smtp_script import SCRIPTS, script_for

ID = NotificationId(UUID("019ab000-0000-7000-8000-000000000001"))


def mail(**headers: str) -> EmailMessage:
    message = EmailMessage()
    for name, value in {"From": "Etaten <noreply@etat.example>", "Subject": "Ny post, blåbær", **headers}.items():
        message[name.replace("_", "-")] = value
    message.set_content("Hei på deg\n")
    message.add_alternative("<p>Hei på deg</p>\n", subtype="html")
    return message


def client(server: SmtpSimulator) -> aiosmtplib.SMTP:
    return aiosmtplib.SMTP(hostname="127.0.0.1", port=server.port, start_tls=False, local_hostname="client.example")


@pytest.mark.parametrize("domain", ["a.example", "b.c.test", "A.EXAMPLE"])
def test_scripts_are_known_by_the_local_part_up_to_a_plus_in_any_case(domain: str) -> None:
    for name in SCRIPTS:
        assert script_for(f"{name.upper()}+anything@{domain}").name == name
    assert script_for(f"slow-12@{domain}").wait == 12
    assert script_for(f"defer-3@{domain}").times == 3
    assert script_for(f"dsn-late-7@{domain}").notices[-1].after == 7
    assert script_for(f"bouncer@{domain}").name == "ok"


@pytest.mark.parametrize("address", ["bounce@example.com", "bounce@example", "bounce@mottaker.no", "bounce", ""])
def test_no_other_domain_is_scripted(address: str) -> None:
    assert script_for(address).name == "ok"


async def test_what_is_taken_is_captured_before_it_is_answered() -> None:
    captured: list[Captured] = []

    async def capture(message: Captured) -> None:
        captured.append(message)

    begun = datetime.now(UTC)
    async with SmtpSimulator(capture=capture) as server, client(server) as relay:
        message = mail(X_Notification_Id=str(ID))
        await relay.sendmail(
            "bounces@etat.example", ["kari@mottaker.example", "slow-0@mottaker.test"], message.as_bytes()
        )
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused):
            await relay.sendmail("", ["bounce@mottaker.example"], message.as_bytes())
        with pytest.raises(aiosmtplib.SMTPDataError):
            await relay.sendmail("", ["spam@mottaker.example"], message.as_bytes())
    first, second = captured
    assert (first.recipient, first.outcome) == ("kari@mottaker.example", "")
    assert (second.recipient, second.outcome) == ("slow-0@mottaker.test", "slow-0")
    assert (first.channel, first.sender, first.subject) == (Channel.EMAIL, "noreply@etat.example", "Ny post, blåbær")
    assert (first.text, first.html) == ("Hei på deg\n", "<p>Hei på deg</p>\n")
    assert (first.notification_id, first.parts, first.alphabet) == (ID, 1, None)
    assert first.raw.startswith(b"From: Etaten")
    assert begun <= first.received_at <= datetime.now(UTC)


async def test_mail_of_strangers_is_captured_as_far_as_it_can_be_read() -> None:
    captured: list[Captured] = []

    async def capture(message: Captured) -> None:
        captured.append(message)

    async with SmtpSimulator(capture=capture) as server, client(server) as relay:
        for raw in (b"", b"no headers at all\r\n", b"X-Notification-Id: 7\r\nContent-Type: image/png\r\n\r\n\x89\0"):
            await relay.mail("stranger@a.example")
            await relay.rcpt("kari@mottaker.example")
            await relay.data(raw)
    assert [(one.sender, one.notification_id, one.html) for one in captured] == [("stranger@a.example", None, None)] * 3
    assert not any("\0" in one.text for one in captured)


async def test_a_message_that_could_not_be_captured_is_refused_for_now() -> None:
    async def capture(_: Captured) -> None:
        raise OSError("disk full")

    async with SmtpSimulator(capture=capture) as server, client(server) as relay:
        with pytest.raises(aiosmtplib.SMTPDataError) as refused:
            await relay.sendmail("a@b.example", ["kari@mottaker.example"], mail().as_bytes())
        assert refused.value.code == 451
        assert not server.stored


async def test_the_next_recipients_can_be_told_what_to_meet() -> None:
    async with SmtpSimulator() as server, client(server) as relay:
        server.next(2, "full")
        codes = []
        for _ in range(3):
            await relay.mail("a@b.example")
            try:
                codes.append((await relay.rcpt("kari@mottaker.no")).code)
            except aiosmtplib.SMTPRecipientRefused as refused:
                codes.append(refused.code)
            await relay.rset()
        assert codes == [552, 552, 250]
        with pytest.raises(KeyError):
            server.next(1, "no such script")


async def test_commands_out_of_order_and_options_not_offered_are_refused() -> None:
    async with SmtpSimulator(offer=frozenset({"SIZE"}), max_bytes=1_000) as server, client(server) as relay:
        await relay.ehlo()
        assert {"dsn", "smtputf8", "8bitmime"}.isdisjoint(relay.esmtp_extensions)
        assert relay.esmtp_extensions["size"] == "1000"
        for command, code in (
            (b"RCPT TO:<a@b.example>", 503),
            (b"MAIL FROM:<a@b.example> RET=HDRS", 555),
            (b"MAIL FROM:<a@b.example> SIZE=1001", 552),
            (b"MAIL a@b.example", 501),
            (b"MAIL FROM:<>", 250),
            (b"MAIL FROM:<>", 503),
            (b"RCPT TO:<a@b.example> NOTIFY=NEVER", 555),
            (b"RCPT a@b.example", 501),
            (b"DATA", 503),
            (b"RCPT TO:<a@b.example>", 250),
        ):
            assert (await relay.execute_command(command)).code == code, command


async def test_greylisting_ends_by_itself() -> None:
    async with SmtpSimulator(time_factor=0) as server, client(server) as relay:
        for script, first in (("grey", 450), ("ratelimit", 452)):
            codes = []
            for _ in range(2):
                await relay.mail("a@b.example")
                try:
                    codes.append((await relay.rcpt(f"{script}@mottaker.example")).code)
                except aiosmtplib.SMTPRecipientRefused as refused:
                    codes.append(refused.code)
                await relay.rset()
            assert codes == [first, 250]
