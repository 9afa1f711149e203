"""The children of `varsel up`: started together, started again when they die, stopped together (design 8)."""

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from varsel.embedded.place import die_with_parent
from varsel.log import Log

log = Log(__name__)

NEVER_AGAIN: Final = 2
"""Exit status of a child that a person must help: wrong settings, a port that is taken, a schema that is too old."""


class ChildRefused(Exception):
    """A child ended with `NEVER_AGAIN` before it had ever been ready. It said why on standard error."""


@dataclass(slots=True)
class BackOff:
    """Seconds before a restart: 0.5, doubled up to 10 with each death; a life of 30 s is a new beginning."""

    first: float = 0.5
    most: float = 10.0
    long_life: float = 30.0
    _next: float = field(default=0.0, init=False)

    def after(self, lived: float) -> float:
        self._next = self.first if lived >= self.long_life or not self._next else min(self._next * 2, self.most)
        return self._next


@dataclass(frozen=True, slots=True)
class Spec:
    """A child to run. `serves`: others depend on it, so it is started before them and stopped after them."""

    name: str
    command: Sequence[str]
    serves: bool = False
    keep: tuple[int, ...] = ()  # file descriptors that it inherits


@dataclass(slots=True)
class _Child:
    spec: Spec
    back_off: BackOff = field(default_factory=BackOff)
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0  # when to start it again


class Processes:
    """Call `tend` often, from the main thread: children die with the thread that started them."""

    def __init__(
        self, specs: Sequence[Spec], environment: Mapping[str, str], *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._children = [_Child(spec) for spec in sorted(specs, key=lambda spec: not spec.serves)]
        self._environment = environment
        self._now = now
        self._settled = False

    @property
    def pids(self) -> dict[str, int]:
        """Of the children that run."""
        return {child.spec.name: child.process.pid for child in self._children if child.process}

    def settle(self) -> None:
        """All have been ready once: from now on, every death is an accident and ends in a new start."""
        self._settled = True

    def tend(self) -> None:
        """Start what is due; notice what has died. Raises `ChildRefused`."""
        for child in self._children:
            if child.process and child.process.poll() is not None:
                self._note_death(child, child.process.returncode)
            if child.process is None and self._now() >= child.due:
                self._start(child)

    def stop(self, within: float) -> None:
        """Ask all to stop, first those that nobody depends on; after `within` seconds kill what is left."""
        deadline = time.monotonic() + within
        for serves in (False, True):
            running = [child.process for child in self._children if child.process and child.spec.serves is serves]
            for process in running:
                process.terminate()
            for process in running:
                _wait_or_kill(process, deadline)
        for child in self._children:
            child.process = None

    def _start(self, child: _Child) -> None:
        child.started = self._now()
        child.process = subprocess.Popen(  # noqa: S603 - our own commands
            child.spec.command,
            stdin=subprocess.DEVNULL,
            env=self._environment,
            pass_fds=child.spec.keep,
            start_new_session=True,  # Ctrl-C is for us; we tell the children
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - one thread
        )

    def _note_death(self, child: _Child, status: int) -> None:
        child.process = None
        if status == NEVER_AGAIN and not self._settled:
            raise ChildRefused(child.spec.name)
        wait = child.back_off.after(self._now() - child.started)
        child.due = self._now() + wait
        log.warning("a process ended and will be started again", process=child.spec.name, status=status, seconds=wait)


def _wait_or_kill(process: subprocess.Popen[bytes], deadline: float) -> None:
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        log.warning("a process did not stop in time and was killed", pid=process.pid)
        process.kill()
        process.wait()
