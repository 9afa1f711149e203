"""What a sender is told of an SMS text before it leaves: alphabet, length, parts, and what will look different."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from varsel.domain.content import Caution, cautions
from varsel.domain.keywords import has_keyword
from varsel.domain.order import Order, OrderChannel
from varsel.domain.sms_text import Alphabet, Replacement, alphabet_of, beyond_gsm_7, clean, link_parts, replaced

_MAX_SHOWN: Final = 20  # of the characters that are named


@dataclass(frozen=True, slots=True)
class SmsReceipt:
    """Of the text as it is sent, cleaned. `parts` are what the gateway makes of it, and bills.

    `unfilled`: keywords stand in it, whose values will make it shorter or longer. `beyond_gsm_7` and `replaced` name at
    most 20 characters each. `cautions`: what it should not say.
    """

    alphabet: Alphabet
    characters: int
    parts: int
    unfilled: bool
    beyond_gsm_7: tuple[str, ...]
    replaced: tuple[Replacement, ...]
    cautions: tuple[Caution, ...] = ()


def receipt_of(order: Order) -> SmsReceipt | None:
    """Of the order's own text, unfilled. None when it sends no SMS, whether or not it has a text for one."""
    if order.sms is None or order.channel is OrderChannel.EMAIL:
        return None
    return sms_receipt(order.sms.body)


@lru_cache(maxsize=256)  # many orders say the same
def sms_receipt(text: str) -> SmsReceipt:
    sent = clean(text)
    return SmsReceipt(
        alphabet_of(sent),
        len(sent),
        link_parts(sent),
        has_keyword(sent),
        beyond_gsm_7(sent)[:_MAX_SHOWN],
        replaced(text)[:_MAX_SHOWN],
        cautions(sent),
    )
