"""Pure: what a creator may put into its messages, and what senders are warned of (channels 3.2, 6.7)."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from varsel.domain.hosts import to_a_labels, within
from varsel.domain.identifiers import valid_person_id
from varsel.domain.links import Allowed, faults, is_active, links_of_html, links_of_text

MAX_CHECKED: Final = 2_000_000
"""Characters of a text whose links are checked; a longer one is a fault of its own."""

_PLAIN_SENDER: Final = re.compile(r"\+?[0-9]{3,15}|(?=.*[A-Za-z])[A-Za-z0-9 .&-]{1,11}")
_NAMED: Final = re.compile(r'\s*"?([^<>"]*?)"?\s*<([^<>]+)>\s*')


class Strictness(StrEnum):
    """What becomes of a message with a link that its creator's list does not allow."""

    OFF = "off"
    WARN = "warn"
    ENFORCE = "enforce"


Carrier = Callable[[str], bool]
"""Whether a provider takes an SMS with this text, which is cleaned."""


@dataclass(frozen=True, slots=True)
class Content:
    """What one creator may say, and as whom. All domains are in A-labels, names are folded.

    `sender_domains`: none means any. `protected`: names of SMS senders that are not for this creator. `plain_senders`:
    senders of SMS must be what every network carries.
    """

    links: Strictness = Strictness.OFF
    link_domains: tuple[str, ...] = ()
    active_html: bool = True
    sender_domains: tuple[str, ...] = ()
    protected: frozenset[str] = frozenset()
    plain_senders: bool = False
    carriers: tuple[Carrier, ...] = ()

    def is_carried(self, text: str) -> bool:
        """By every provider: any of them may get it (design 8)."""
        return all(carries(text) for carries in self.carriers)

    def wrong_links(self, text: str, *, markup: bool = False) -> tuple[str, ...]:
        """A sentence for each link that is not allowed. It is told by its number: a link may hold a secret."""
        if self.links is Strictness.OFF:
            return ()
        return _wrong_links(text, markup, Allowed(self.link_domains, http=self.links is Strictness.WARN))

    def wrong_markup(self, html: str) -> str | None:
        if self.active_html or not is_active(html):
            return None
        return "Scripts, forms, frames, event handlers, foreign style sheets and redirects are not allowed."

    def wrong_email_sender(self, sender: str) -> str | None:
        """`sender`: an address, or `name <address>`."""
        if not self.sender_domains:
            return None
        found = _NAMED.fullmatch(sender)
        name, address = (found[1], found[2]) if found else ("", sender)
        domain = to_a_labels(address.strip().rpartition("@")[2])
        if domain is None or not within(domain, self.sender_domains):
            return "The address is not of a domain that the creator may send from."
        if "@" in name or any(reserved in fold_name(name) for reserved in self.protected):
            return "The name in front of the address could be taken for somebody else's."
        return None

    def wrong_sms_sender(self, sender: str) -> str | None:
        if fold_name(sender) in self.protected:
            return "The name is reserved for others."
        if self.plain_senders and not _PLAIN_SENDER.fullmatch(sender.strip()):
            return (
                "A sender is a number of 3 to 15 digits, or a name of at most 11 letters, digits, blanks, -, . and &."
            )
        return None


@lru_cache(maxsize=128)  # many messages say the same
def _wrong_links(text: str, markup: bool, allowed: Allowed) -> tuple[str, ...]:
    if len(text) > MAX_CHECKED:
        return (f"The text is longer than the {MAX_CHECKED} characters whose links can be checked.",)
    links = links_of_html(text) if markup else links_of_text(text)
    return tuple(f"Link {number} {fault}." for number, fault in faults(links, allowed))


def fold_name(name: str) -> str:
    """The form in which senders' names are compared: without blanks, letter case, and what cannot be seen."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in folded if unicodedata.category(letter)[0] not in "CZ")


def fold_names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(map(fold_name, names))


class Caution(StrEnum):
    """What an SMS should not say. Part of the public vocabulary: only ever added to."""

    LOGIN_LINK = "loginLink"
    IDENTITY_NUMBER = "nationalIdentityNumber"


CAUTIONS: Final[dict[Caution, str]] = {
    Caution.LOGIN_LINK: "The text asks its reader to log in and shows a link, as fraudulent messages do.",
    Caution.IDENTITY_NUMBER: "The text holds a national identity number, which anybody near the phone may read.",
}

_LOGIN: Final = re.compile(
    r"log+[\s-]*inn|log[\s-]*[io]n\b|sign[\s-]*in\b|bank[\s-]*id|min[\s-]*id\b|id[\s-]*porten|passord|password|"
    r"engangskode|one[\s-]time code|verif(?:y|iser)|bekreft (?:konto|identitet)",
    re.IGNORECASE,
)
_ELEVEN_DIGITS: Final = re.compile(r"(?<!\d)(\d{6}) ?(\d{5})(?!\d)", re.ASCII)


def cautions(text: str) -> tuple[Caution, ...]:
    found = []
    if _LOGIN.search(text) and links_of_text(text):
        found.append(Caution.LOGIN_LINK)
    if any(valid_person_id("".join(parts)) for parts in _ELEVEN_DIGITS.findall(text)):
        found.append(Caution.IDENTITY_NUMBER)
    return tuple(found)
