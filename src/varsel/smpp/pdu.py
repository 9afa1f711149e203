"""PDUs of SMPP 3.4 (sections 3-5 there; channels 3.4): bytes to values and back.

Pure and total: any bytes give a value or `Malformed`. Nothing that a user wrote can get out of its field.
"""

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

HEADER_BYTES: Final = 16
MAX_PDU_BYTES: Final = 64 * 1024
MAX_SEQUENCE: Final = 0x7FFFFFFF
MAX_SHORT_MESSAGE: Final = 254
RESPONSE: Final = 0x80000000
VERSION: Final = 0x34

_HEADER: Final = struct.Struct(">IIII")
_TLV: Final = struct.Struct(">HH")


class Command(IntEnum):
    BIND_RECEIVER = 0x01
    BIND_TRANSMITTER = 0x02
    QUERY_SM = 0x03
    SUBMIT_SM = 0x04
    DELIVER_SM = 0x05
    UNBIND = 0x06
    BIND_TRANSCEIVER = 0x09
    ENQUIRE_LINK = 0x15
    ALERT_NOTIFICATION = 0x102
    DATA_SM = 0x103
    GENERIC_NACK = 0x80000000


BINDS: Final = frozenset({Command.BIND_RECEIVER, Command.BIND_TRANSMITTER, Command.BIND_TRANSCEIVER})


class Status(IntEnum):
    """Those that we name; others are plain numbers."""

    OK = 0x00
    INVALID_LENGTH = 0x01
    INVALID_COMMAND_LENGTH = 0x02
    INVALID_COMMAND = 0x03
    WRONG_BIND_STATE = 0x04
    ALREADY_BOUND = 0x05
    SYSTEM_ERROR = 0x08
    INVALID_SOURCE = 0x0A
    INVALID_DESTINATION = 0x0B
    BIND_FAILED = 0x0D
    INVALID_PASSWORD = 0x0E
    INVALID_SYSTEM_ID = 0x0F
    QUEUE_FULL = 0x14
    SUBMIT_FAILED = 0x45
    THROTTLED = 0x58
    TEMPORARY_APPLICATION_ERROR = 0x64
    PERMANENT_APPLICATION_ERROR = 0x65


class Tag(IntEnum):
    """Of optional parameters."""

    RECEIPTED_MESSAGE_ID = 0x001E
    SAR_REFERENCE = 0x020C
    SAR_TOTAL = 0x020E
    SAR_NUMBER = 0x020F
    NETWORK_ERROR_CODE = 0x0423
    MESSAGE_PAYLOAD = 0x0424
    MESSAGE_STATE = 0x0427


class Malformed(Exception):
    """The bytes are no such PDU. The text says why, and repeats nothing of them."""


@dataclass(frozen=True, slots=True)
class Header:
    """`length`: of the whole PDU. Not yet known to be sensible."""

    length: int
    command: int
    status: int
    sequence: int

    @property
    def body_bytes(self) -> int:
        """Raises `Malformed` for a length that no PDU has."""
        if not HEADER_BYTES <= self.length <= MAX_PDU_BYTES:
            raise Malformed("the length is out of range")
        return self.length - HEADER_BYTES


@dataclass(frozen=True, slots=True)
class Pdu:
    command: int
    sequence: int
    status: int = Status.OK
    body: bytes = b""

    @property
    def is_response(self) -> bool:
        return bool(self.command & RESPONSE)

    def to_bytes(self) -> bytes:
        return _HEADER.pack(HEADER_BYTES + len(self.body), self.command, self.status, self.sequence) + self.body


def read_header(octets: bytes) -> Header:
    """Of exactly 16 octets."""
    return Header(*_HEADER.unpack(octets))


@dataclass(frozen=True, slots=True)
class Address:
    """`ton`, `npi`: type of number and numbering plan."""

    ton: int
    npi: int
    value: str


NOBODY: Final = Address(0, 0, "")


@dataclass(frozen=True, slots=True)
class Bind:
    system_id: str
    password: str = field(repr=False)
    system_type: str = ""
    version: int = VERSION
    ton: int = 0
    npi: int = 0
    addresses: str = ""

    def to_bytes(self) -> bytes:
        """Raises `ValueError` for what does not fit its field."""
        return b"".join(
            (
                _cstring(self.system_id, 15),
                _cstring(self.password, 8),
                _cstring(self.system_type, 12),
                bytes([self.version, self.ton, self.npi]),
                _cstring(self.addresses, 40),
            )
        )


@dataclass(frozen=True, slots=True)
class Message:
    """The body of submit_sm and deliver_sm. `tlvs`: optional parameters by tag."""

    source: Address
    destination: Address
    short_message: bytes = field(default=b"", repr=False)
    service_type: str = ""
    esm_class: int = 0
    protocol_id: int = 0
    priority: int = 0
    schedule: str = ""
    validity: str = ""
    registered_delivery: int = 0
    replace_if_present: int = 0
    data_coding: int = 0
    default_message: int = 0
    tlvs: dict[int, bytes] = field(default_factory=dict, repr=False)

    def to_bytes(self) -> bytes:
        """Raises `ValueError` for what does not fit its field."""
        if len(self.short_message) > MAX_SHORT_MESSAGE:
            raise ValueError(f"a short message has at most {MAX_SHORT_MESSAGE} octets")
        return b"".join(
            (
                _cstring(self.service_type, 5),
                _address(self.source),
                _address(self.destination),
                bytes([self.esm_class, self.protocol_id, self.priority]),
                _cstring(self.schedule, 16),
                _cstring(self.validity, 16),
                bytes([self.registered_delivery, self.replace_if_present, self.data_coding, self.default_message]),
                bytes([len(self.short_message)]),
                self.short_message,
                _tlvs(self.tlvs),
            )
        )


def read_bind(body: bytes) -> Bind:
    reader = _Reader(body)
    system_id, password, system_type = reader.cstring(), reader.cstring(), reader.cstring()
    return Bind(system_id, password, system_type, reader.octet(), reader.octet(), reader.octet(), reader.cstring())


def read_message(body: bytes) -> Message:
    """Of submit_sm or deliver_sm. Raises `Malformed`."""
    reader = _Reader(body)
    service_type, source, destination = reader.cstring(), reader.address(), reader.address()
    esm_class, protocol_id, priority = reader.octet(), reader.octet(), reader.octet()
    schedule, validity = reader.cstring(), reader.cstring()
    registered, replaces, coding, default = reader.octet(), reader.octet(), reader.octet(), reader.octet()
    short_message = reader.octets(reader.octet())
    return Message(
        source=source,
        destination=destination,
        short_message=short_message,
        service_type=service_type,
        esm_class=esm_class,
        protocol_id=protocol_id,
        priority=priority,
        schedule=schedule,
        validity=validity,
        registered_delivery=registered,
        replace_if_present=replaces,
        data_coding=coding,
        default_message=default,
        tlvs=reader.tlvs(),
    )


def read_data(body: bytes) -> Message:
    """Of data_sm, whose text is always the payload. Raises `Malformed`."""
    reader = _Reader(body)
    service_type, source, destination = reader.cstring(), reader.address(), reader.address()
    esm_class, registered, coding = reader.octet(), reader.octet(), reader.octet()
    return Message(
        source=source,
        destination=destination,
        service_type=service_type,
        esm_class=esm_class,
        registered_delivery=registered,
        data_coding=coding,
        tlvs=reader.tlvs(),
    )


def message_id(value: str) -> bytes:
    """The body of submit_sm_resp and deliver_sm_resp."""
    return _cstring(value, 64)


def read_message_id(body: bytes) -> str:
    """Empty where there is none, as in answers that refuse. Raises `Malformed`."""
    return _Reader(body).cstring() if body else ""


def _cstring(value: str, most: int) -> bytes:
    try:
        octets = value.encode("ascii")
    except UnicodeEncodeError:
        raise ValueError("a field holds letters beyond ASCII") from None
    if b"\0" in octets or len(octets) > most:
        raise ValueError(f"a field holds more than {most} letters, or NUL")
    return octets + b"\0"


def _address(address: Address) -> bytes:
    return bytes([address.ton, address.npi]) + _cstring(address.value, 20)


def _tlvs(tlvs: dict[int, bytes]) -> bytes:
    return b"".join(_TLV.pack(tag, len(value)) + value for tag, value in tlvs.items())


class _Reader:
    """Over the body of one PDU, which is bounded by its length. Raises `Malformed`."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def octet(self) -> int:
        return self.octets(1)[0]

    def octets(self, count: int) -> bytes:
        found = self._body[self._at : self._at + count]
        if len(found) < count:
            raise Malformed("the body is too short")
        self._at += count
        return found

    def cstring(self) -> str:
        end = self._body.find(b"\0", self._at)
        if end < 0:
            raise Malformed("a field does not end")
        found = self._body[self._at : end]
        self._at = end + 1
        return found.decode("latin-1")

    def address(self) -> Address:
        return Address(self.octet(), self.octet(), self.cstring())

    def tlvs(self) -> dict[int, bytes]:
        """To the end. Of those that are repeated, the first; octets that are too few for one are left out."""
        found: dict[int, bytes] = {}
        while len(self._body) - self._at >= _TLV.size:
            tag, length = _TLV.unpack(self.octets(_TLV.size))
            found.setdefault(tag, self.octets(length))
        return found
