"""What requests that are signed have in common: the host that is signed, and clocks that have to agree (fault F14)."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from yarl import URL

from varsel.log import Log
from varsel.providers.http_gateway import Answer

log = Log(__name__)

_WORTH_A_WORD: Final = timedelta(minutes=1)


def host_of(url: URL) -> str:
    """As it stands in the header `Host`: with the port only where it is not the usual one."""
    return url.raw_host or "" if url.is_default_port() else f"{url.raw_host}:{url.port}"


def note_refused_login(provider: str, answer: Answer) -> None:
    """Tell an operator what may be the matter."""
    log.warning("provider refuses our login", provider=provider, status=answer.status, clocks=_clocks(answer))


def _clocks(answer: Answer) -> str:
    """How the host's clock stands to theirs."""
    try:
        theirs = parsedate_to_datetime(answer.headers.get("Date", ""))
    except ValueError:
        return "unknown"
    ahead = datetime.now(UTC) - (theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC))
    return "agree" if abs(ahead) < _WORTH_A_WORD else f"ours is {ahead.total_seconds():+.0f} s off theirs"
