"""Body of a v2 composed email (http-api 15): one direct address, and files that are fetched when it leaves."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from varsel.api.bodies import Body, Findings, in_chunks
from varsel.api.fields import RequiredText, Text, check_time
from varsel.api.future_bodies import DialogportenBody
from varsel.api.recipient_bodies import EmailSettingsBody
from varsel.api.rules import NOT_AN_EMAIL, is_url, unless_blank
from varsel.api.shapes import AttachmentUrlText, FilenameText, MimeTypeText, RequiredEmailText, UrlText, V2Time
from varsel.domain.address import valid_email
from varsel.domain.attachments import MIME_TYPES, FileStores, valid_filename
from varsel.domain.ids import ChainId, OrderId, uuid7
from varsel.domain.order import Attachment, Chain, Order, OrderChannel, OrderFamily, OrderKind, Recipient
from varsel.settings import SenderSettings


class AttachmentBody(Body):
    """`sas_url` is a secret: no message repeats it."""

    filename: FilenameText
    mime_type: MimeTypeText
    sas_url: AttachmentUrlText

    def check_rules(self, path: str, stores: FileStores, send_time: datetime, findings: Findings) -> None:
        if not valid_filename(self.filename):
            findings.add(f"{path}.Filename", "A file name has an extension, and neither / nor \\.")
        if self.mime_type.lower() not in MIME_TYPES:
            findings.add(f"{path}.MimeType", "Files of this type cannot be attached.")
        for problem in stores.problems(self.sas_url, send_time):
            findings.add(f"{path}.SasUrl", problem)

    def to_attachment(self) -> Attachment:
        return Attachment(self.filename, MIME_TYPES[self.mime_type.lower()], self.sas_url)


class ComposedEmailSettingsBody(EmailSettingsBody):
    attachments: list[AttachmentBody] | None = None


class ComposedRecipientBody(Body):
    email_address: RequiredEmailText
    email_settings: ComposedEmailSettingsBody


class ComposedEmailBody(Body):
    """POST /future/orders/composed-email."""

    stores: ClassVar[FileStores] = FileStores()

    idempotency_id: RequiredText
    senders_reference: Text | None = None
    requested_send_time: V2Time = None
    condition_endpoint: UrlText | None = None
    dialogporten_association: DialogportenBody | None = None
    recipient: ComposedRecipientBody

    async def check(self, now: datetime, findings: Findings) -> None:
        check_time(self.requested_send_time, now, "RequestedSendTime", findings)
        if self.condition_endpoint is not None and not is_url(self.condition_endpoint):
            findings.add("ConditionEndpoint", "The value must be an absolute http or https URL.")
        if not valid_email(self.recipient.email_address):
            findings.add("Recipient.EmailAddress", NOT_AN_EMAIL)
        self.recipient.email_settings.check_rules("Recipient.EmailSettings", findings)
        send_time = self.requested_send_time or now
        if send_time.tzinfo is None:
            send_time = now  # an error already; the attachments' rules are looked at all the same

        def check(start: int, attachments: Sequence[AttachmentBody]) -> None:
            for index, attachment in enumerate(attachments, start):
                path = f"Recipient.EmailSettings.Attachments[{index}]"
                attachment.check_rules(path, self.stores, send_time, findings)

        await in_chunks(self._attachments, check)

    def to_chain(self, creator: str, now: datetime, senders: SenderSettings) -> tuple[Chain, Order]:
        id_ = ChainId(uuid7())
        dialog = self.dialogporten_association or DialogportenBody()
        chain = Chain(
            id=id_,
            creator=creator,
            idempotency_id=self.idempotency_id,
            family=OrderFamily.COMPOSED,
            request_hash=hashlib.sha256(self.canonical()).digest(),
            dialog_id=dialog.dialog_id,
            transmission_id=dialog.transmission_id,
        )
        order = Order(
            id=OrderId(uuid7()),
            creator=creator,
            chain=id_,
            kind=OrderKind.COMPOSED,
            channel=OrderChannel.EMAIL,
            created=now,
            requested_send_time=self.requested_send_time or now,
            recipients=(Recipient(email=self.recipient.email_address),),
            email=self.recipient.email_settings.to_template(senders),
            senders_reference=unless_blank(self.senders_reference),
            condition_endpoint=self.condition_endpoint,
            attachments=tuple(attachment.to_attachment() for attachment in self._attachments),
        )
        return chain, order

    @property
    def _attachments(self) -> Sequence[AttachmentBody]:
        return self.recipient.email_settings.attachments or ()


def body_for(stores: FileStores) -> type[ComposedEmailBody]:
    """The body where attachments may lie in these stores."""
    return type("ComposedEmailBody", (ComposedEmailBody,), {"stores": stores, "__module__": __name__})
