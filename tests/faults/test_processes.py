"""The children of `varsel up`: none is lost, none outlives us, and stopping has an end."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.cli.processes import NEVER_AGAIN, BackOff, ChildRefused, Processes, Spec
from varsel.cli.up import Stopped, stopping_on_signals

LIVES = ("sleep", "600")
DIES = ("sh", "-c", "exit 3")
REFUSES = ("sh", "-c", f"exit {NEVER_AGAIN}")


class Watch:
    """A clock of machine time that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def processes(*specs: Spec, now: Callable[[], float] = time.monotonic) -> Iterator[Processes]:
    running = Processes(specs, {"PATH": os.environ["PATH"]}, now=now)
    try:
        yield running
    finally:
        running.stop(5)


def wait_for_death(pid: int) -> None:
    """Until it has ended, without taking its status from the supervisor."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_every_child_is_started_once() -> None:
    with processes(Spec("one", LIVES), Spec("two", LIVES)) as children:
        children.tend()
        before = children.pids
        children.tend()
        assert children.pids == before
        assert before.keys() == {"one", "two"}


def test_a_child_that_is_killed_is_started_again_after_a_pause_and_its_sister_is_left_alone() -> None:
    watch = Watch()
    with processes(Spec("victim", LIVES), Spec("sister", LIVES), now=watch) as children:
        children.tend()
        before = children.pids
        os.kill(before["victim"], signal.SIGKILL)
        wait_for_death(before["victim"])
        children.tend()
        assert children.pids == {"sister": before["sister"]}
        watch.now += 0.49
        children.tend()
        assert "victim" not in children.pids
        watch.now += 0.02
        children.tend()
        assert children.pids["victim"] != before["victim"]
        assert children.pids["sister"] == before["sister"]


def test_a_child_that_dies_at_once_is_started_slower_and_slower_but_always_again() -> None:
    watch = Watch()
    starts: list[float] = []
    with processes(Spec("unlucky", DIES), now=watch) as children:
        for _ in range(1000):
            children.tend()
            if pid := children.pids.get("unlucky"):
                starts.append(watch.now)
                wait_for_death(pid)
                children.tend()
            watch.now += 0.1
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert [round(pause) for pause in pauses[1:6]] == [1, 2, 4, 8, 10]
    assert len(starts) >= 10


@given(st.lists(st.floats(min_value=0, max_value=100), max_size=50))
def test_a_pause_is_never_longer_than_ten_seconds_and_short_again_after_a_long_life(lives: list[float]) -> None:
    back_off = BackOff()
    pauses = [back_off.after(lived) for lived in lives]
    for lived, pause in zip(lives, pauses, strict=True):
        assert 0.5 <= pause <= 10
        assert lived < 30 or pause == 0.5


def test_a_child_that_a_person_must_help_ends_the_start() -> None:
    with processes(Spec("misconfigured", REFUSES), Spec("other", LIVES)) as children:
        children.tend()
        wait_for_death(children.pids["misconfigured"])
        with pytest.raises(ChildRefused, match="misconfigured"):
            children.tend()
        assert children.pids.keys() == {"other"}
    assert children.pids == {}


def test_once_all_have_been_ready_no_death_of_a_child_ends_the_others() -> None:
    with processes(Spec("misconfigured", REFUSES)) as children:
        children.tend()
        children.settle()
        wait_for_death(children.pids["misconfigured"])
        children.tend()


def test_those_that_others_depend_on_start_first_and_stop_last(tmp_path: Path) -> None:
    note = "trap 'echo {0} stopped >> {1}; exit' TERM; echo {0} started >> {1}; while :; do sleep 0.01; done"
    diary = tmp_path / "diary"
    diary.touch()
    user, server = (("sh", "-c", note.format(name, diary)) for name in ("user", "server"))
    with processes(Spec("user", user), Spec("server", server, serves=True)) as children:
        children.tend()
        assert list(children.pids) == ["server", "user"]
        while diary.read_text().count("started") < 2:
            time.sleep(0.01)  # another process is starting
    assert diary.read_text().split("\n")[2:4] == ["user stopped", "server stopped"]


def test_stopping_leaves_nobody_and_kills_who_will_not_go() -> None:
    deaf = ("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
    with processes(Spec("deaf", deaf), Spec("polite", LIVES)) as children:
        children.tend()
        pids = children.pids.values()
        started = time.monotonic()
        children.stop(0.3)
        assert time.monotonic() - started < 2
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


SUPERVISOR = f"""
import sys, time
from varsel.cli.processes import Processes, Spec
children = Processes([Spec("child", {LIVES!r})], {{"PATH": {os.environ["PATH"]!r}}})
children.tend()
print(children.pids["child"], flush=True)
time.sleep(600)
"""


def test_children_die_with_a_supervisor_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", SUPERVISOR], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout
        child = int(supervisor.stdout.readline())
        assert runs(child)
        supervisor.kill()
        supervisor.wait()
        deadline = time.monotonic() + 10
        while runs(child) and time.monotonic() < deadline:
            time.sleep(0.01)  # the kernel tells it
        assert not runs(child)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_stops_and_the_next_ones_do_not_disturb_the_stopping(sig: signal.Signals) -> None:
    before = signal.getsignal(sig)
    tidied = False
    with suppress(Stopped), stopping_on_signals():
        try:
            os.kill(os.getpid(), sig)
        finally:
            os.kill(os.getpid(), sig)
            tidied = True
    assert tidied
    assert signal.getsignal(sig) is before
