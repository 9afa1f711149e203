"""Answers of registers that may be kept for a while in the memory of a process, under pseudonyms (registries 5, 6.3).

Ages are counted in machine time.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from hashlib import blake2b
from typing import Final, Generic, TypeVar

V = TypeVar("V")

_MAX_ENTRIES: Final = 200_000


class Memory(Generic[V]):
    """`found_for` and `missing_for`: how long an answer is kept, and how long that there was none."""

    def __init__(
        self,
        found_for: timedelta,
        missing_for: timedelta = timedelta(),
        *,
        max_entries: int = _MAX_ENTRIES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._found_for = found_for.total_seconds()
        self._missing_for = missing_for.total_seconds()
        self._max_entries = max_entries
        self._monotonic = monotonic
        self._secret = secrets.token_bytes(32)
        self._entries: OrderedDict[bytes, tuple[float, V | None]] = OrderedDict()

    def recall(self, keys: Collection[str]) -> tuple[dict[str, V], list[str]]:
        """What is remembered of them, and those that must be asked for. Known to be missing: in neither."""
        now = self._monotonic()
        known: dict[str, V] = {}
        unknown: list[str] = []
        for key in dict.fromkeys(keys):
            until, value = self._entries.get(self._pseudonym(key), (now, None))
            if until <= now:
                unknown.append(key)
            elif value is not None:
                known[key] = value
        return known, unknown

    def keep(self, asked: Collection[str], found: Mapping[str, V]) -> None:
        """What was found of those that were asked for; the others are missing."""
        now = self._monotonic()
        for key in asked:
            value = found.get(key)
            pseudonym = self._pseudonym(key)
            self._entries.pop(pseudonym, None)  # so that the oldest stand first
            if value is not None or self._missing_for:
                self._entries[pseudonym] = (now + (self._missing_for if value is None else self._found_for), value)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def _pseudonym(self, key: str) -> bytes:
        return blake2b(key.encode(), key=self._secret, digest_size=16).digest()
