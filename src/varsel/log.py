"""Events as JSON lines: a constant short name plus fields. Never addresses, identities or content (registries 1.8)."""

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Final

_ELEVEN_DIGITS: Final = re.compile(r"(?<!\d)\d{11}(?!\d)")
_PERSONAL: Final = frozenset({"nin", "email", "mobile", "identity", "address", "to", "body", "subject", "text"})


def scrub(text: str) -> str:
    """Replace every run of exactly eleven digits: the last net for an identity number in somebody else's words."""
    return _ELEVEN_DIGITS.sub("***********", text)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        event |= getattr(record, "fields", {})
        if record.exc_info:
            event["error"] = _where(record.exc_info[1])
        return scrub(json.dumps(event, default=str, ensure_ascii=False))


def _where(error: BaseException | None) -> str:
    """What was raised and where. Others' words are left out: a driver quotes the row that it stumbled over."""
    lines: list[str] = []
    while error is not None:
        own = type(error).__module__.startswith("varsel.")
        name = f"{type(error).__module__}.{type(error).__qualname__}"
        lines += [*traceback.format_tb(error.__traceback__), f"{name}: {error}" if own else name]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(line.rstrip() for line in lines)


class Log:
    """`log.info("email sent", notification_id=…)`. Fields named like personal data are dropped, by design."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: object) -> None:
        self._emit(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._emit(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._emit(logging.WARNING, event, fields)

    def error(self, event: str, *, exc: BaseException | None = None, **fields: object) -> None:
        self._emit(logging.ERROR, event, fields, exc)

    def _emit(self, level: int, event: str, fields: dict[str, object], exc: BaseException | None = None) -> None:
        if self._logger.isEnabledFor(level):
            kept = {k: v for k, v in fields.items() if k not in _PERSONAL}
            self._logger.log(level, event, extra={"fields": kept}, exc_info=exc)


def configure(level: str = "INFO") -> None:
    """JSON lines on standard error, for every logger of the process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("uvicorn.access", "mail.log", "aiohttp.access", "psycopg.pool"):
        logging.getLogger(chatty).setLevel(logging.ERROR)


def places(error: BaseException) -> list[str]:
    """Where an error came from, innermost last. Its message is not told: that may hold personal data."""
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    return [f"{frame.filename.rpartition('/varsel/')[2]}:{frame.lineno}" for frame in frames]
