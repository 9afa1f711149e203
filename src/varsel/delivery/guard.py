"""What keeps messages from leaving, and what they may say, made of the settings once for each process."""

from dataclasses import dataclass
from datetime import datetime

from varsel.delivery import render
from varsel.delivery.contents import Contents
from varsel.delivery.gate import Gate
from varsel.delivery.ports import Email
from varsel.delivery.store import Claimed, Templates
from varsel.delivery.suppression import SuppressionKey
from varsel.delivery.unsubscribe import UnsubscribeLinks
from varsel.settings import Settings


@dataclass(frozen=True, slots=True)
class Guard:
    """`key`, `links`: None without a key in the settings: then nothing is suppressed, and nobody can unsubscribe."""

    contents: Contents
    gate: Gate
    key: SuppressionKey | None = None
    links: UnsubscribeLinks | None = None

    @classmethod
    def configured(cls, settings: Settings) -> "Guard":
        """Raises `ValueError` for a domain that is none."""
        carriers = [chosen.carries for chosen in settings.providers if chosen.enabled and chosen.channel == "sms"]
        contents = Contents(settings.content, settings.senders.default_sms, carriers)
        if settings.suppression.key is None:
            return cls(contents, Gate(None, contents.of))
        secret = settings.suppression.key.get_secret_value().encode()
        key = SuppressionKey(secret)
        links = UnsubscribeLinks(secret, settings.server.base_url.rstrip("/"))
        return cls(contents, Gate(key, contents.of), key, links)

    def email(self, row: Claimed, templates: Templates, *, now: datetime) -> Email | None:
        """The email of a notification, with a link to unsubscribe where its sender allows that."""
        template = templates.email
        if template is None:
            return None
        link = None
        if template.unsubscribable and self.links:
            link = self.links.url(row.id, row.creator_name, now=now)
        return render.email(row, template, link)
