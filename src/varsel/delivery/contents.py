"""What each creator may put into its messages, by the settings (channels 6.7)."""

from collections.abc import Sequence

from varsel.domain.content import Carrier, Content, Strictness, fold_name, fold_names
from varsel.domain.links import domains_of
from varsel.settings import ContentSettings, CreatorContentSettings


class Contents:
    """Raises `ValueError` for a domain that is none. `default_sms`: a sender that everybody has who names none.

    `carriers`: whether each provider of SMS takes a text, which is cleaned.
    """

    def __init__(self, settings: ContentSettings, default_sms: str = "", carriers: Sequence[Carrier] = ()) -> None:
        self._carriers = tuple(carriers)
        self._plain_senders = settings.plain_sms_senders
        self._protected = fold_names(settings.protected_sms_senders) - {fold_name(default_sms)}
        self._own = {name.casefold(): self._content(own) for name, own in settings.creators.items()}
        self._others = self._own.get("*") or self._content(CreatorContentSettings())

    def of(self, creator: str | None) -> Content:
        """None: a creator that is not known yet."""
        return self._own.get(creator.casefold(), self._others) if creator else self._others

    def _content(self, own: CreatorContentSettings) -> Content:
        return Content(
            links=Strictness(own.links),
            link_domains=domains_of(own.link_domains),
            active_html=own.active_html,
            sender_domains=domains_of(own.sender_domains),
            protected=self._protected - fold_names(own.sms_senders),
            plain_senders=self._plain_senders,
            carriers=self._carriers,
        )
