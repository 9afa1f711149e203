"""The Python client while the API is killed again and again: every order is placed once."""

import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Final

from varsel.client import EmailSettings, OrderChain, RecipientEmail, Varsel
from varsel.testing import Sandbox, running_sandbox

ORDERS: Final = 80
KILLED_AFTER: Final = (20, 50)
PATIENT: Final = timedelta(minutes=3)  # a slow machine takes its time to start a process again


def started_by(pid: int) -> list[int]:
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def kill_the_api(home: Path) -> None:
    """The API process of the `varsel up` with this home."""
    for up in started_by(os.getpid()):
        if str(home).encode() not in Path(f"/proc/{up}/cmdline").read_bytes():
            continue
        for child in started_by(up):
            if b"\0api\0" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(child, signal.SIGKILL)


def address(number: int) -> str:
    return f"reader{number}@example.com"


class Ordering:
    """Orders in several threads; the API is killed when so many have been answered."""

    def __init__(self, sandbox: Sandbox, client: Varsel) -> None:
        self._sandbox = sandbox
        self._client = client
        self._answered = 0
        self._lock = threading.Lock()

    def one(self, number: int) -> None:
        email = EmailSettings(subject="A letter", body="Log in to read it.")
        self._client.order(OrderChain(recipient=RecipientEmail(email_address=address(number), email_settings=email)))
        with self._lock:
            self._answered += 1
            if self._answered in KILLED_AFTER:
                kill_the_api(self._sandbox.home)


def read_through_a_kill(sandbox: Sandbox, client: Varsel) -> None:
    """Each order once; and the second half again, for who goes on in the middle."""
    told: list[tuple[int, str]] = []
    for entry in client.feed(follow=True):
        told.append((entry.sequence_number, str(entry.shipment_id)))
        if len(told) == ORDERS // 2:
            kill_the_api(sandbox.home)
        if len(told) == ORDERS:
            break
    assert len({shipment for _, shipment in told}) == ORDERS
    again = client.feed(after=told[ORDERS // 2 - 1][0])
    assert [str(entry.shipment_id) for entry in again] == [shipment for _, shipment in told[ORDERS // 2 :]]


def test_while_the_api_is_killed_nothing_is_lost_and_nothing_ordered_twice() -> None:
    with running_sandbox(people=False) as sandbox:
        with (
            Varsel(sandbox.url, sandbox.token(), within=PATIENT) as client,
            ThreadPoolExecutor(8) as threads,
        ):
            list(threads.map(Ordering(sandbox, client).one, range(ORDERS)))
            for number in range(ORDERS):
                sandbox.wait_for_message(to=address(number), within=timedelta(minutes=1))
            sandbox.advance("P3D")  # reports that met no API are lost, and those messages expire
            read_through_a_kill(sandbox, client)
        captured = Counter(message.to for message in sandbox.messages(limit=500))
        assert captured == Counter(address(number) for number in range(ORDERS))
