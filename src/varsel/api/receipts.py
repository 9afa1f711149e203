"""The SMS receipt: an optional property of answers to orders with an SMS text, of our own (design 6)."""

from varsel.api.rules import SMS_CHANNELS
from varsel.api.schemas import Answer
from varsel.domain.order import Order
from varsel.domain.sms_receipt import SmsReceipt, sms_receipt


class ReplacedCharacter(Answer):
    """`sentAs` is empty when the character is left out."""

    character: str
    sent_as: str
    count: int


class SmsReceiptAnswer(Answer):
    """Of the text as it stands in the order.

    While `unfilled`, keywords stand in it, whose values will make it shorter or longer: a preview counts those too.
    """

    alphabet: str
    characters: int
    parts: int
    unfilled: bool
    characters_beyond_gsm7: tuple[str, ...] | None = None
    replaced_characters: tuple[ReplacedCharacter, ...] | None = None

    @classmethod
    def of(cls, receipt: SmsReceipt) -> "SmsReceiptAnswer":
        replaced = tuple(
            ReplacedCharacter(character=r.written, sent_as=r.sent, count=r.count) for r in receipt.replaced
        )
        return cls(
            alphabet=receipt.alphabet,
            characters=receipt.characters,
            parts=receipt.parts,
            unfilled=receipt.unfilled,
            characters_beyond_gsm7=receipt.beyond_gsm_7 or None,
            replaced_characters=replaced or None,
        )

    @classmethod
    def of_order(cls, order: Order) -> "SmsReceiptAnswer | None":
        """None when the order sends no SMS, also when it has an SMS text that its channel has no use for."""
        if order.sms is None or order.channel not in SMS_CHANNELS:
            return None
        return cls.of(sms_receipt(order.sms.body))
