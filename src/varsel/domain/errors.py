"""Errors, sorted by who must act (house style 7). Anything else that is raised is a bug of ours."""

from datetime import timedelta


class Rejected(Exception):
    """The caller must act. `code` is stable; the text is a sentence they can use and holds no personal data."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


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
