"""Read LINK's XML, hardened (channels 5.6): answers and delivery reports are both a list of flat `MSG`."""

import codecs
import re
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

_MAX_DEPTH: Final = 8
_MAX_ELEMENTS: Final = 10_000
_MAX_TEXT: Final = 2_000  # characters of one element
_DECLARED: Final = re.compile(rb"""\s*<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_CHARSET: Final = re.compile(r""";\s*charset\s*=\s*["']?([^\s;"']+)""", re.IGNORECASE)
_ENCODINGS: Final = {  # never UTF-16, -32 or -7
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "iso-8859-1": "iso-8859-1",
    "latin1": "iso-8859-1",
    "iso-8859-15": "iso-8859-15",
    "windows-1252": "cp1252",
}


class Malformed(Exception):
    """The bytes are no such document. The text says why, and repeats nothing of the document."""


@dataclass(slots=True)
class Document:
    """`fields`: the texts of elements outside `MSG`. `messages`: the texts of each `MSG`, by element name."""

    root: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    messages: list[dict[str, str]] = field(default_factory=list)


def read_document(body: bytes, content_type: str | None) -> Document:
    """Raises `Malformed`. No entity is expanded and no DTD loaded; a DOCTYPE that only names one is allowed."""
    text = _decode(body, content_type)
    if not text.strip():
        raise Malformed("the document is empty")
    if "\0" in text:  # expat would take it for UTF-16, whatever it is told
        raise Malformed("the document holds NUL")
    reader = _Reader()
    parser = DefusedXMLParser(target=reader)
    try:
        parser.feed(text)
        parser.close()
    except ParseError as error:
        raise Malformed("the document is not well-formed XML") from error
    except DefusedXmlException as error:
        raise Malformed("the document declares entities or refers to external ones") from error
    return reader.document


def _decode(body: bytes, content_type: str | None) -> str:
    encoding = _ENCODINGS.get(_charset(body, content_type).lower())
    if encoding is None:
        raise Malformed("the character set is not supported")
    try:
        return body.removeprefix(codecs.BOM_UTF8).decode(encoding)
    except UnicodeDecodeError as error:
        raise Malformed("the document is not in its character set") from error


def _charset(body: bytes, content_type: str | None) -> str:
    """That of the byte order mark, else of the content type, else of the XML declaration, else ISO-8859-1."""
    if body.startswith(codecs.BOM_UTF8):
        return "utf-8"
    if named := _CHARSET.search(content_type or ""):
        return named[1]
    declared = _DECLARED.match(body)
    return declared[1].decode("ascii") if declared else "iso-8859-1"


class _Reader:
    """The parser's target. It keeps no tree, so that its memory is bounded by the texts it keeps."""

    def __init__(self) -> None:
        self.document = Document()
        self._path: list[str] = []
        self._text: list[str] = []
        self._length = 0
        self._elements = 0

    def start(self, tag: str, _attributes: dict[str, str]) -> None:
        self._path.append(tag.rpartition("}")[2])
        self._elements += 1
        if len(self._path) > _MAX_DEPTH or self._elements > _MAX_ELEMENTS:
            raise Malformed("the document is too deep or has too many elements")
        if len(self._path) == 1:
            self.document.root = self._path[0]
        if self._inside_message():
            self.document.messages.append({})
        self._text, self._length = [], 0

    def data(self, data: str) -> None:
        self._length += len(data)
        if self._length > _MAX_TEXT:
            raise Malformed("an element is too long")
        self._text.append(data)

    def end(self, _tag: str) -> None:
        name, value = self._path.pop(), "".join(self._text).strip()
        self._text, self._length = [], 0
        if self._inside_message():
            self.document.messages[-1].setdefault(name, value)
        elif name not in {"MSG", "MSGLST"}:
            self.document.fields.setdefault(name, value)

    def close(self) -> None:
        """Called by the parser at the end."""

    def _inside_message(self) -> bool:
        return self._path[-2:] == ["MSGLST", "MSG"]
