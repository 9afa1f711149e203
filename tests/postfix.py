"""A real Postfix for tests: Debian's, as an instance of its own in a folder of its own (channels 8.6).

It needs nothing that the package's installation may have configured, only its programs and its users. Nothing that it
relays can leave this machine.
"""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

POSTFIX: Final = Path("/usr/sbin/postfix")
_READY_SECONDS: Final = 60
_OWNER: Final = "postfix"
_PORTS: Final = 3  # are tried
_NOWHERE: Final = asyncio.subprocess.DEVNULL

_MAIN: Final = """\
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file = {home}/mail.log
maillog_file_prefixes = {home}
myhostname = relay.varsel.test
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtp_dns_support_level = disabled
smtp_tls_security_level = none
smtpd_tls_security_level = none
transport_maps = inline:{{ {bounce_domain}=lmtp:inet:127.0.0.1:{bounces}, {mailbox_domain}=virtual:, {routes} }}
virtual_mailbox_domains = {mailbox_domain}
virtual_mailbox_base = {home}/mail
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
delay_warning_time = 1s
maximal_queue_lifetime = {lifetime}s
bounce_queue_lifetime = {lifetime}s
"""

_SERVICES: Final = (
    *("cleanup unix n - n - 0 cleanup", "qmgr unix n - n 1 1 qmgr", "rewrite unix - - n - - trivial-rewrite"),
    *("bounce unix - - n - 0 bounce", "defer unix - - n - 0 bounce", "trace unix - - n - 0 bounce"),
    *("smtp unix - - n - - smtp", "lmtp unix - - n - - lmtp", "virtual unix - n n - - virtual"),
    *("retry unix - - n - - error", "error unix - - n - - error", "verify unix - - n - 1 verify"),
    *("proxymap unix - - n - - proxymap", "anvil unix - - n - 1 anvil", "scache unix - - n - 1 scache"),
    *("tlsmgr unix - - n 1000? 1 tlsmgr", "showq unix n - n - - showq", "postlog unix-dgram n - n - 1 postlogd"),
)


@dataclass(frozen=True, slots=True)
class Relay:
    """A running instance. Mail for `mailbox_domain` ends in a mailbox of its own; all other goes to the sinks."""

    port: int
    home: Path
    mailbox_domain: str

    def mailbox(self) -> list[bytes]:
        """What has arrived there."""
        return [file.read_bytes() for file in sorted((self.home / "mail/inbox/new").glob("*"))]

    def log(self) -> str:
        return (self.home / "mail.log").read_text(errors="replace")


@asynccontextmanager
async def postfix(
    sinks: dict[str, int], *, bounce_domain: str, bounces: int, lifetime: int = 12
) -> AsyncIterator[Relay]:
    """Relays by domain to ports of this machine (`*`: any other), hands mail for `bounce_domain` over by LMTP.

    `lifetime`: seconds after which it gives up.
    """
    assert POSTFIX.exists(), "install Debian's package postfix"
    assert os.getuid() == 0, "Postfix starts as root alone"
    home = Path(tempfile.mkdtemp(prefix="varsel-postfix-"))
    _prepare(home)
    try:
        relay, process = await _started(home, sinks, bounce_domain, bounces, lifetime)
        try:
            yield relay
        finally:
            await _end(process, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def _started(
    home: Path, sinks: dict[str, int], bounce_domain: str, bounces: int, lifetime: int
) -> tuple[Relay, asyncio.subprocess.Process]:
    """On a port that nobody took between our look and its own."""
    for _ in range(_PORTS):
        relay = Relay(_free_port(), home, "mailbox.example")
        _configure(relay, sinks, bounce_domain, bounces, lifetime)
        process = await asyncio.create_subprocess_exec(
            POSTFIX, "-c", home / "etc", "start-fg", stdout=_NOWHERE, stderr=_NOWHERE, start_new_session=True
        )
        try:
            if await _is_ready(relay, process):
                return relay, process
        except BaseException:
            await _end(process, home)
            raise
    log = home / "mail.log"
    raise AssertionError(log.read_text(errors="replace") if log.exists() else "Postfix says nothing")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _prepare(home: Path) -> None:
    owner = pwd.getpwnam(_OWNER)
    home.chmod(0o755)  # its daemons are not root
    for name in ("etc", "queue", "data", "mail"):
        (home / name).mkdir(mode=0o755)
    for name in ("data", "mail"):
        os.chown(home / name, owner.pw_uid, owner.pw_gid)


def _configure(relay: Relay, sinks: dict[str, int], bounce_domain: str, bounces: int, lifetime: int) -> None:
    owner = pwd.getpwnam(_OWNER)
    routes = ", ".join(f"{domain}=smtp:[127.0.0.1]:{port}" for domain, port in sinks.items())
    main = _MAIN.format(
        home=relay.home,
        bounce_domain=bounce_domain,
        bounces=bounces,
        mailbox_domain=relay.mailbox_domain,
        routes=routes,
        uid=owner.pw_uid,
        gid=owner.pw_gid,
        lifetime=lifetime,
    )
    (relay.home / "etc/main.cf").write_text(main)
    services = [f"127.0.0.1:{relay.port} inet n - n - - smtpd", *_SERVICES]
    (relay.home / "etc/master.cf").write_text("\n".join(services) + "\n")


async def _is_ready(relay: Relay, process: asyncio.subprocess.Process) -> bool:
    """False when it has ended."""
    async with asyncio.timeout(_READY_SECONDS):
        while process.returncode is None:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
                greeting = await reader.readline()
                writer.close()
                if greeting.startswith(b"220 relay.varsel.test"):
                    return True
            await asyncio.sleep(0.05)  # it tells nobody
    return False


async def _end(process: asyncio.subprocess.Process, home: Path) -> None:
    """The master, by the pid that it wrote down; its daemons are of its group."""
    try:
        master = int((home / "queue/pid/master.pid").read_text())
    except (OSError, ValueError):  # it never began
        master = process.pid
    try:
        with contextlib.suppress(ProcessLookupError):
            os.kill(master, signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 10)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(master, signal.SIGKILL)
