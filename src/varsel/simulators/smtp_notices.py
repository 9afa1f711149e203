"""The mails that come back to a return path: status notifications and their like (channels 2.3, 8.1), really sent."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

import aiosmtplib

from varsel.log import Log
from varsel.simulators.smtp_script import Form, Notice

log = Log(__name__)

_BOUNDARY: Final = "=_notice"
_DIAGNOSTICS: Final = {"2": "250 Ok", "4": "450 Try again later", "5": "550 Refused by the mailbox"}
_WAITS: Final = (1, 2, 4, 8, 16)  # seconds between tries, as any mail server has them


@dataclass(frozen=True, slots=True)
class Original:
    """The message that a notice is about, as its envelope and content came."""

    return_path: str
    recipient: str
    envelope_id: str  # decoded; may be empty
    content: bytes


@dataclass(frozen=True, slots=True)
class NoticeSent:
    """`reply` is our listener's answer."""

    notice: Notice
    return_path: str
    reply: int


class Notices:
    """Sends what it is given, each in its time; `journal` hears of each one taken or given up."""

    def __init__(self, to: tuple[str, int] | None, time_factor: float, journal: Callable[[NoticeSent], None]) -> None:
        self._to = to
        self._time_factor = time_factor
        self._journal = journal
        self._under_way: set[asyncio.Task[None]] = set()

    def send_later(self, notices: tuple[Notice, ...], original: Original) -> None:
        """Not to the null sender: no bounce is bounced."""
        if self._to is None or original.return_path in ("", "<>"):
            return
        task = asyncio.create_task(self._send_in_time(notices, original))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def close(self) -> None:
        for task in self._under_way:
            task.cancel()
        await self.idle()

    async def _send_in_time(self, notices: tuple[Notice, ...], original: Original) -> None:
        waited = 0.0
        for notice in notices:
            await asyncio.sleep((notice.after - waited) * self._time_factor)
            waited = notice.after
            await self._send(notice, original)

    async def _send(self, notice: Notice, original: Original) -> None:
        assert self._to is not None
        return_path = damaged(original.return_path) if notice.damaged else original.return_path
        mail = compose(notice, return_path, original)
        for wait in (*_WAITS, 0):
            reply = await _hand_over(self._to, return_path, mail)
            if reply // 100 != 4:
                break
            await asyncio.sleep(wait * self._time_factor)
        self._journal(NoticeSent(notice, return_path, reply))


async def _hand_over(to: tuple[str, int], recipient: str, mail: bytes) -> int:
    """The last reply's code; 421 when there was none."""
    client = aiosmtplib.SMTP(hostname=to[0], port=to[1], start_tls=False, local_hostname="[127.0.0.1]", timeout=10)
    try:
        async with client:
            await client.mail("")
            await client.rcpt(recipient)
            return (await client.data(mail)).code
    except aiosmtplib.SMTPResponseException as error:
        return error.code
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:  # ValueError: a return path that is no address
        log.info("notice not taken", kind=type(error).__name__)
        return 421


def damaged(return_path: str) -> str:
    """The same address with another last character of its local part."""
    local, _, domain = return_path.rpartition("@")
    return f"{local[:-1]}{'a' if local[-1:] != 'a' else 'b'}@{domain}"


def compose(notice: Notice, return_path: str, original: Original) -> bytes:
    headers = original.content.partition(b"\r\n\r\n")[0] + b"\r\n"
    match notice.form:
        case Form.REPORT:
            return _multipart(return_path, "delivery-status", _status(notice, original), headers)
        case Form.COMPLAINT:
            return _multipart(return_path, "feedback-report", _feedback(notice, original), headers)
        case Form.BROKEN:
            whole = _multipart(return_path, "delivery-status", _status(notice, original), headers)
            return whole[: whole.index(b"Action:")].replace(b"message/delivery-status", b"message/delivery-st\xff")
        case Form.PROSE:
            text = f"Delivery to <{original.recipient}> has failed: 550 {notice.status} Unknown user"
            return _plain(return_path, "Undeliverable mail", "", text)
        case Form.VACATION:
            text = "Jeg er borte fra kontoret."
            return _plain(return_path, "Automatisk svar", "Auto-Submitted: auto-replied\r\n", text)


def _status(notice: Notice, original: Original) -> str:
    envelope_id = f"Original-Envelope-Id: {original.envelope_id}\r\n" if original.envelope_id else ""
    retry = f"Will-Retry-Until: {formatdate()}\r\n" if notice.action == "delayed" else ""
    return (
        f"Reporting-MTA: dns; simulator.varsel.example\r\n{envelope_id}Arrival-Date: {formatdate()}\r\n\r\n"
        f"Final-Recipient: rfc822; {original.recipient}\r\n"
        f"Action: {notice.action}\r\nStatus: {notice.status}\r\n"
        f"Diagnostic-Code: smtp; {_DIAGNOSTICS[notice.status[0]]}\r\n{retry}"
    )


def _feedback(notice: Notice, original: Original) -> str:
    return (
        f"Feedback-Type: {notice.action}\r\nUser-Agent: simulator/1\r\nVersion: 1\r\n"
        f"Original-Rcpt-To: {original.recipient}\r\n"
    )


def _multipart(return_path: str, kind: str, machine_part: str, returned: bytes) -> bytes:
    head = (
        f"From: MAILER-DAEMON@simulator.varsel.example\r\nTo: {return_path}\r\nDate: {formatdate()}\r\n"
        "Subject: Delivery status notification\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        f'Content-Type: multipart/report; report-type={kind}; boundary="{_BOUNDARY}"\r\n\r\n'
        f"--{_BOUNDARY}\r\nContent-Type: text/plain\r\n\r\nThis is a notification by a simulator.\r\n"
        f"--{_BOUNDARY}\r\nContent-Type: message/{kind}\r\n\r\n{machine_part}"
        f"\r\n--{_BOUNDARY}\r\nContent-Type: text/rfc822-headers\r\n\r\n"
    )
    return head.encode() + returned + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _plain(return_path: str, subject: str, more: str, text: str) -> bytes:
    return (
        f"From: MAILER-DAEMON@simulator.varsel.example\r\nTo: {return_path}\r\nDate: {formatdate()}\r\n"
        f"Subject: {subject}\r\n{more}\r\n{text}\r\n"
    ).encode()
