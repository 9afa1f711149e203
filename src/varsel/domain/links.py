"""Pure: the links of a text, and what is wrong with each by the policy of its creator (channels 6.7).

A link is read as browsers and phones read it, which is more generous than the standard: blanks inside vanish, any
number of slashes begins a host, and a bare name of a host in a text becomes a link when its end is a known one.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from html import unescape
from typing import Final, NamedTuple
from urllib.parse import unquote

import phonenumbers

from varsel.domain.hosts import is_ip_address, mixes_scripts, to_a_labels, within
from varsel.domain.markup import attributes_of, scan


class Fault(StrEnum):
    """What a link must not be. The first that fits is named."""

    SCHEME = "is no link of the web"
    UNREADABLE = "names no host that every program reads alike"
    NOT_HTTPS = "does not begin with https://"
    USER_INFO = "has a user name before the host"
    IP_ADDRESS = "leads to a bare IP address"
    PORT = "names a port"
    SHORTENER = "is a short form of another link"
    MIXED_SCRIPTS = "has letters of different alphabets in its host"
    FOREIGN = "leads to a host that is not on the list"
    OTHER_TEXT = "shows another host than it leads to"


class Link(NamedTuple):
    """`shown`: the text that a reader sees in its place, where that can differ."""

    url: str
    shown: str = ""


@dataclass(frozen=True, slots=True)
class Allowed:
    """`domains`: in A-labels; hosts under them are allowed too. `http`: also without TLS."""

    domains: tuple[str, ...]
    http: bool = False


def faults(links: Sequence[Link], allowed: Allowed) -> list[tuple[int, Fault]]:
    """The number of each wrong link in its text, from 1, and what is wrong with it."""
    judged = ((number, fault_of(link, allowed)) for number, link in enumerate(links, 1))
    return [(number, fault) for number, fault in judged if fault]


def fault_of(link: Link, allowed: Allowed) -> Fault | None:
    if "\\" in link.url:  # a slash to some programs, and none to others
        return Fault.UNREADABLE
    scheme, rest = _split(link.url)
    if scheme in _HARMLESS:
        return None
    if scheme not in ("", "http", "https"):
        return Fault.SCHEME
    authority = _authority(rest)
    if not authority:
        return Fault.UNREADABLE
    if scheme != "https" and not (scheme == "http" and allowed.http):
        return Fault.NOT_HTTPS
    return _fault_of_host(authority, scheme, allowed) or _fault_of_shown(authority, link.shown)


def links_of_text(text: str) -> list[Link]:
    """Those of plain text. A bare name of a host counts as https: so it is opened where that is possible."""
    return [Link(url) for url in _urls(text)]


def links_of_html(html: str) -> list[Link]:
    """Those of attributes, with the text that a reader sees in their place, and those of the text itself."""
    page = _Page()
    scan(_CONDITIONAL.sub(" ", html), page, raw=_RAW)
    return page.read()


# Reading one link

_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_BLANKS: Final = re.compile(r"[\t\r\n]")
_EDGES: Final = "".join(map(chr, range(0x21)))  # controls and the blank: browsers drop them at both ends
_HARMLESS: Final = frozenset({"mailto", "tel", "sms", "cid"})
_DEFAULT_PORTS: Final = {"https": "443", "http": "80"}
SHORTENERS: Final = (
    *("bit.ly", "bitly.com", "tinyurl.com", "t.co", "goo.gl", "ow.ly", "is.gd", "v.gd", "buff.ly", "rebrand.ly"),
    *("cutt.ly", "rb.gy", "shorturl.at", "tiny.cc", "t.ly", "s.id", "lnkd.in", "bl.ink", "short.io", "shorte.st"),
    *("adf.ly", "tr.im", "qr.ae", "db.tt", "x.gd", "1url.com", "urlz.fr", "n9.cl", "kutt.it", "soo.gd", "surl.li"),
    *("trib.al", "dlvr.it", "snip.ly", "fb.me", "wa.me", "g.page", "forms.gle", "youtu.be", "amzn.to"),
)


def _split(url: str) -> tuple[str, str]:
    """The scheme in lower case, empty when there is none, and what follows it."""
    url = _BLANKS.sub("", url).strip(_EDGES)
    found = _SCHEME.match(url)
    return (found[1].lower(), url[found.end() :]) if found else ("", url)


def _authority(rest: str) -> str:
    """What stands before the path; empty for a relative link. Any number of slashes begins it."""
    return re.split(r"[/?#]", rest.lstrip("/"), maxsplit=1)[0] if rest.startswith("/") else ""


def _fault_of_host(authority: str, scheme: str, allowed: Allowed) -> Fault | None:
    name, port = _host_and_port(authority)
    host = _host_of(authority)
    wrong = {
        Fault.USER_INFO: "@" in authority,
        Fault.IP_ADDRESS: is_ip_address(unquote(name)),
        Fault.PORT: port not in ("", _DEFAULT_PORTS[scheme]),
        Fault.UNREADABLE: host is None,
        Fault.SHORTENER: host is not None and within(host, SHORTENERS) and host not in allowed.domains,
        Fault.MIXED_SCRIPTS: host is not None and mixes_scripts(host),
        Fault.FOREIGN: host is not None and not within(host, allowed.domains),
    }
    return next((fault for fault, found in wrong.items() if found), None)


def _host_and_port(authority: str) -> tuple[str, str]:
    if authority.startswith("["):
        return authority, ""
    name, _, port = authority.partition(":")
    return name, port


def _host_of(authority: str) -> str | None:
    """In A-labels; None for what is none."""
    return to_a_labels(unquote(_host_and_port(authority)[0]).rstrip("."))


def _fault_of_shown(authority: str, shown: str) -> Fault | None:
    """A text that looks like a link must lead where it says, or to a host above or under that one."""
    host = _host_of(authority) or ""
    for url in _urls(shown):
        told = (_host_of(_authority(_split(url)[1])) or "").removeprefix("www.")
        if not (within(host, [told]) or within(told, [host])):
            return Fault.OTHER_TEXT
    return None


# Links in plain text

_HOST_LETTER: Final = r"[^\W_]"
_URL: Final = re.compile(
    rf"""(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*:[/\\]{{1,}}[^\s<>"]+"""
    rf"""|(?<![\w@.-])(?:{_HOST_LETTER}(?:[\w-]*{_HOST_LETTER})?\.)+(?P<end>{_HOST_LETTER}{{2,24}})(?![\w@-])"""
    r"""(?::\d{1,5}(?!\d))?(?:[/?\#][^\s<>"]*)?""",
    re.IGNORECASE,
)
_CLOSING: Final = ".,:;!?)]}'’”»"
_COUNTRIES: Final = frozenset(region.lower() for region in phonenumbers.SUPPORTED_REGIONS) | {"eu", "uk", "su"}
_GENERIC_ENDS: Final = (
    "com org net info biz name pro mobi tel asia edu gov mil int aero coop jobs museum post travel cat "
    "app dev page web site online website tech store shop blog cloud digital click link live life world today "
    "news email media agency network systems services solutions support help center group company business "
    "finance bank insurance money loan credit cash vip club top xyz icu win bid men date review stream "
    "download racing party science work trade webcam accountant faith cricket buzz rest fit cyou cfd sbs bond "
    "monster quest lol zip mov nexus foo health care clinic doctor city space zone run team plus one fun "
    "social chat video photo pics wiki law legal tax academy school university oslo example test invalid "
)
_GENERIC: Final = frozenset(_GENERIC_ENDS.split())


def _urls(text: str) -> Iterator[str]:
    for found in _URL.finditer(text):
        if found["end"] is None:
            yield found[0].rstrip(_CLOSING)
        elif _is_end(found["end"], found[0]):
            yield f"https://{found[0].rstrip(_CLOSING)}"


def _is_end(end: str, url: str) -> bool:
    """Whether a bare name ends like a host. `Takk.No` is the end of a sentence, and the begin of the next."""
    if not end.isascii():
        return not any(unicodedata.name(letter, "").startswith("LATIN") for letter in end)
    known = end.lower() in _COUNTRIES or end.lower() in _GENERIC
    return known and (end.islower() or url.upper() == url)


# Links in HTML

_RAW: Final = frozenset({"script", "style", "title", "textarea"})  # no mail program shows links of theirs
_CONDITIONAL: Final = re.compile(r"<!--\[if[^\]>]*\]>", re.IGNORECASE)  # Outlook reads on
_URL_ATTRIBUTES: Final = frozenset(
    {"href", "src", "action", "formaction", "background", "poster", "cite", "data", "ping", "xlink:href", "longdesc"}
)


class _Page:
    """Collects links. A link's shown text is what stands between its tags."""

    def __init__(self) -> None:
        self._links: list[Link] = []
        self._text: list[str] = []
        self._open: tuple[str, int] | None = None  # the link that is open, and where its text begins

    def read(self) -> list[Link]:
        self._close()
        return [*self._links, *links_of_text("".join(self._text))]

    def add(self, markup: str) -> None:
        self._text.append(unescape(markup))

    def start(self, tag: str, attributes: str) -> None:
        for name, value in attributes_of(attributes):
            if tag == "a" and name == "href":
                self._close()
                self._open = value, len(self._text)
            elif name == "srcset":
                self._links += [Link(part.split()[0]) for part in value.split(",") if part.strip()]
            elif name in _URL_ATTRIBUTES:
                self._keep(Link(value))
        if tag not in _INLINE:
            self._text.append(" ")

    def end(self, tag: str) -> None:
        if tag == "a":
            self._close()
        if tag not in _INLINE:
            self._text.append(" ")

    def _close(self) -> None:
        if self._open:
            url, begin = self._open
            self._open = None
            self._keep(Link(url, "".join(self._text[begin:])))
            if _split(url)[0] in _DEFAULT_PORTS:
                del self._text[begin:]  # judged with its link

    def _keep(self, link: Link) -> None:
        if link.url.strip() and not link.url.strip().startswith("#"):  # others lead nowhere else
            self._links.append(link)


_INLINE: Final = frozenset({"a", "b", "i", "em", "strong", "span", "u", "font", "small", "mark", "wbr", "sub", "sup"})


# Content that does something

_ACTIVE_TAGS: Final = frozenset(
    {"script", "form", "iframe", "frame", "frameset", "object", "embed", "applet", "base", "input", "button", "link"}
)


def is_active(html: str) -> bool:
    """Whether it has scripts, forms, event handlers, frames, foreign style sheets, or leads away by itself."""
    reader = _Active()
    scan(_CONDITIONAL.sub(" ", html), reader, raw=_RAW)
    return reader.found


class _Active:
    def __init__(self) -> None:
        self.found = False

    def add(self, markup: str) -> None: ...

    def end(self, tag: str) -> None: ...

    def start(self, tag: str, attributes: str) -> None:
        given = list(attributes_of(attributes))
        refresh = tag == "meta" and ("http-equiv", "refresh") in [(n, v.strip().lower()) for n, v in given]
        handler = any(name.startswith("on") for name, _ in given)
        self.found = self.found or tag in _ACTIVE_TAGS or refresh or handler


def domains_of(names: Collection[str]) -> tuple[str, ...]:
    """Domains as settings name them, in A-labels. Raises `ValueError` naming one that is none."""
    found = {name: to_a_labels(name.strip().removeprefix(".")) for name in names}
    for name, labels in found.items():
        if labels is None:
            raise ValueError(f"{name} is no domain")
    return tuple(labels for labels in found.values() if labels)
