"""Where a service is, and who we say that we are."""

from typing import Final
from urllib.parse import SplitResult, urlsplit

import varsel

USER_AGENT: Final = f"varsel-client/{varsel.__version__}"


def base_of(url: str) -> SplitResult:
    """What comes before `/notifications`, without a slash at its end. Raises `ValueError` for anything else."""
    base = urlsplit(url.strip().rstrip("/"))
    if base.scheme not in ("http", "https") or not base.hostname or base.query or base.fragment or base.username:
        raise ValueError(f"{url!r} is not the address of a service: https://notify.example, say")
    _ = base.port  # raises for what is no number
    return base
