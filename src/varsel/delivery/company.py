"""What one instance cannot carry another one gets, as long as there is one that may (channels 1.9, 2.1).

Whether a message can be carried shows when it is complete: an address that needs SMTPUTF8, an email that is too large.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from varsel.delivery.ports import (
    Asking,
    Blame,
    Confirms,
    Deferred,
    Email,
    Indeterminate,
    Refused,
    SendResult,
    Sms,
)
from varsel.domain.ids import NotificationId

Message = TypeVar("Message", Email, Sms)
Sent_contra = TypeVar("Sent_contra", bound=Email | Sms, contravariant=True)

_REMEMBERED: Final = 5_000  # messages; one that is forgotten is offered once more


class Provider(Protocol[Sent_contra]):
    """An `EmailProvider` or an `SmsProvider`."""

    @property
    def name(self) -> str: ...
    @property
    def max_batch(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def confirms(self) -> Confirms: ...
    @property
    def on_indeterminate(self) -> Indeterminate: ...
    async def send(self, batch: Sequence[Sent_contra], /) -> list[SendResult]: ...


class Company:
    """Which instances of a pool could not carry a message, as this process knows.

    `takers`: by creator and address, who takes such messages at all, whether it is ready or not.
    """

    def __init__(self, takers: Callable[[str, str], Iterable[str]]) -> None:
        self._takers = takers
        self._unfit: OrderedDict[NotificationId, frozenset[str]] = OrderedDict()

    def judged(self, provider: str, message: Email | Sms, refused: Refused) -> SendResult:
        """It is refused once nobody is left who may carry it."""
        unfit = self._unfit.pop(message.id, frozenset()) | {provider}
        if unfit.issuperset(self._takers(message.creator, message.to)):
            return refused
        self._unfit[message.id] = unfit
        if len(self._unfit) > _REMEMBERED:
            self._unfit.popitem(last=False)
        return Deferred(refused.detail, Blame.NOBODY)


class InCompany(Generic[Message]):
    """A provider among others. As the provider itself, but for what only it cannot carry."""

    def __init__(self, provider: Provider[Message], company: Company) -> None:
        self._provider: Provider[Message] = provider
        self._company = company
        if isinstance(provider, Asking):  # then so is this
            self.ask = provider.ask

    @property
    def name(self) -> str:
        return self._provider.name

    @property
    def max_batch(self) -> int:
        return self._provider.max_batch

    @property
    def step(self) -> int:
        return self._provider.step

    @property
    def confirms(self) -> Confirms:
        return self._provider.confirms

    @property
    def on_indeterminate(self) -> Indeterminate:
        return self._provider.on_indeterminate

    async def send(self, batch: Sequence[Message]) -> list[SendResult]:
        results = await self._provider.send(batch)
        for place, (message, result) in enumerate(zip(batch, results)):  # noqa: B905 - who counts them is the sender
            if isinstance(result, Refused) and result.unfit:
                results[place] = self._company.judged(self.name, message, result)
        return results
