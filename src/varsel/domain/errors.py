"""Errors, sorted by who must act (house style 7). Anything else that is raised is a bug of ours."""

from datetime import datetime, timedelta


class Rejected(Exception):
    """The caller must act. `code` is stable; the text is a sentence they can use and holds no personal data."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class OverLimit(Rejected):
    """The caller has used up a limit; `code` is its name. Nothing was stored. Answered 429.

    `limit`: as it is configured. `left`: what is left of it, of the `wanted`. `until`: when the same request may pass,
    in business time; `wait`: how long that is.
    """

    def __init__(self, code: str, limit: int, *, wanted: int, left: int, until: datetime, wait: timedelta) -> None:
        super().__init__(code, f"The limit {code} is {limit}: {wanted} are asked for, and {left} are left.")
        self.limit = limit
        self.until = until
        self.wait = wait


class Unavailable(Exception):
    """The other side must act; trying again later can help. Answered 503, or retried by the worker."""

    def __init__(self, what: str, retry_after: timedelta | None = None) -> None:
        super().__init__(f"{what} is not available")
        self.what = what
        self.retry_after = retry_after


class RegistryUnavailable(Unavailable):
    """A contact registry, the name register or the authorizer cannot answer now (processing 3.5)."""


class RegistryRejected(RegistryUnavailable):
    """It refuses the question (registries 0.2): an address, a key or a setting of ours is wrong. The order waits."""


class RegistryProtocolError(RegistryUnavailable):
    """It answered something that cannot be read (registries 0.2)."""
