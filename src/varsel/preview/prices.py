"""What messages are expected to cost, by the configured table of prices."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from varsel.domain.address import e164


@dataclass(frozen=True, slots=True)
class Prices:
    """`email`: of one. `sms`: of one part, by how the number begins in E.164 ("" for all others). None: not known."""

    currency: str = "NOK"
    email: Decimal | None = None
    sms: Mapping[str, Decimal] = field(default_factory=dict)

    def of_sms(self, number: str, parts: int) -> Decimal | None:
        """The longest beginning that matches counts."""
        number = e164(number) or number
        for length in range(len(number), -1, -1):
            if (price := self.sms.get(number[:length])) is not None:
                return price * parts
        return None
