"""The text part of an HTML mail (channels 2.2): what a reader would see, with the addresses of links written out."""

import re
from html import unescape
from typing import Final

from varsel.domain.markup import attribute, scan

_RAW: Final = frozenset(
    {"script", "style", "title", "template", "textarea", "noscript", "iframe"}
)  # not for the reader
_PARAGRAPHS: Final = frozenset(
    {"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "blockquote", "pre", "hr"}
)
_LINES: Final = frozenset({"div", "tr", "li", "section", "article", "header", "footer", "dt", "dd", "address"})
_CELLS: Final = frozenset({"td", "th"})
_UNSHOWN_LINK: Final = re.compile(r"(?:#|javascript:|data:)", re.IGNORECASE)


def text_of(html: str) -> str:
    """Paragraphs apart by one blank line, `- ` before list items, `text (URL)` for links."""
    page = _Page()
    scan(html, page, raw=_RAW)
    return page.text()


class _Page:
    """What has been read so far, as a reader would see it."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._link = ""
        self._link_from = 0  # the piece where the text of the open link begins

    def text(self) -> str:
        self._end_link()
        text = re.sub(r" *\n *", "\n", re.sub(r" {2,}", " ", "".join(self._pieces)))
        return re.sub(r"\n{3,}", "\n\n", text).strip()

    def add(self, markup: str) -> None:
        text = _one_line(markup)
        if text.strip(" ") or not self._at_line_start():  # not the blanks between two blocks
            self._pieces.append(text)

    def start(self, tag: str, attributes: str) -> None:
        if tag == "a":
            self._begin_link(attribute("href", attributes))
        elif tag == "img":
            self._pieces.append(_one_line(attribute("alt", attributes)))
        self._break(tag)
        if tag == "li":
            self._pieces.append("- ")

    def end(self, tag: str) -> None:
        if tag == "a":
            self._end_link()
        self._break(tag)

    def _break(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            self._pieces.append("\n\n")
        elif tag == "br" or (tag in _LINES and not self._at_line_start()):
            self._pieces.append("\n")
        elif tag in _CELLS and not self._at_line_start():
            self._pieces.append(" ")

    def _at_line_start(self) -> bool:
        return not self._pieces or self._pieces[-1].endswith("\n")

    def _begin_link(self, href: str) -> None:
        self._end_link()
        self._link = "".join(href.split())
        self._link_from = len(self._pieces)

    def _end_link(self) -> None:
        link, self._link = self._link, ""
        if not link or _UNSHOWN_LINK.match(link):
            return
        shown = "".join(self._pieces[self._link_from :]).strip()
        if shown not in (link, link.removeprefix("mailto:")):
            self._pieces.append(f" ({link})" if shown else link)


def _one_line(markup: str) -> str:
    return re.sub(r"\s+", " ", unescape(markup))
