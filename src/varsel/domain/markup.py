"""A scanner of HTML: tags and the text between them, in order. Total, and linear in the length of what it reads.

A scanner of our own, because every step of it moves forward: the standard library's parser needs minutes for half a
megabyte of unclosed tags, and a sender may send that. What is never closed is dropped, as browsers do.
"""

import re
from collections.abc import Collection, Iterator
from html import unescape
from typing import Final, Protocol

_NAME: Final = re.compile(r"/?([a-zA-Z][^\s/>]*)")
_TO_VALUE_OR_END: Final = re.compile(r"""[^>=]*(?:=\s*(["'])?|>)""")
_ATTRIBUTE: Final = re.compile(r"""([^\s=/>"']+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]*)))?""")


class Reader(Protocol):
    """What is told of the page. `markup` is text with its entities; `attributes` is what stands behind a tag's name."""

    def add(self, markup: str) -> None: ...
    def start(self, tag: str, attributes: str) -> None: ...
    def end(self, tag: str) -> None: ...


def scan(html: str, reader: Reader, *, raw: Collection[str]) -> None:
    """Tell the reader of every tag, by its lower-case name, and of the text between them.

    `raw`: elements whose content is neither text nor tags; of them only the tags are told.
    """
    at = 0
    while (begin := html.find("<", at)) >= 0:
        reader.add(html[at:begin])
        at = _markup(html, begin, reader, raw)
    reader.add(html[at:])


def attributes_of(attributes: str) -> Iterator[tuple[str, str]]:
    """Names in lower case, values without entities; in their order, repeated ones too."""
    for found in _ATTRIBUTE.finditer(attributes):
        yield found[1].lower(), unescape(found[2] or found[3] or found[4] or "")


def attribute(name: str, attributes: str) -> str:
    """The first of that name; empty when there is none."""
    return next((value for key, value in attributes_of(attributes) if key == name), "")


def _markup(html: str, begin: int, reader: Reader, raw: Collection[str]) -> int:
    """Read what starts with the `<` at `begin`; returns where to go on."""
    name = _NAME.match(html, begin + 1)
    if html.startswith("<!--", begin):
        return _after("-->", html, begin + 4)
    if html.startswith(("<!", "<?"), begin):
        return _after(">", html, begin)
    if name is None:
        reader.add("<")
        return begin + 1
    end = _tag_end(html, name.end())
    tag = name[1].lower()
    if html[begin + 1] == "/":
        reader.end(tag)
    else:
        reader.start(tag, html[name.end() : end])
        if tag in raw:
            closing = re.compile(rf"</{re.escape(tag)}(?=[\s/>])", re.IGNORECASE).search(html, end)
            return closing.start() if closing else len(html)
    return end


def _after(what: str, html: str, at: int) -> int:
    found = html.find(what, at)
    return len(html) if found < 0 else found + len(what)


def _tag_end(html: str, at: int) -> int:
    """Behind the `>` of a tag; one inside a quoted value does not count."""
    while found := _TO_VALUE_OR_END.match(html, at):
        at = found.end()
        if html[at - 1] == ">":
            return at
        if found[1]:
            at = _after(found[1], html, at)
    return len(html)
