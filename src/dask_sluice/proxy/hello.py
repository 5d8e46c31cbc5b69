"""What the first bytes of a connection say: a TLS ClientHello with some server name, or no TLS at all.

Pure functions over the bytes seen so far, so that they can be tried with anything. They read a hello that
is spread over several TLS records, and one as large as post-quantum key shares make it. Nothing here
checks the hello beyond what is needed to find the name: the scheduler's TLS library does that.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..wire.names import SNI_PREFIX

MAX_MESSAGE = 32 * 1024
"""Largest ClientHello that is read. Post-quantum ones are near 2 kB today; 16 kB must work."""
MAX_BYTES = 64 * 1024
"""Most bytes looked at, record headers included."""

UNRECOGNIZED_NAME = 112
INTERNAL_ERROR = 80
HANDSHAKE_FAILURE = 40

_RECORD_HEADER = 5
_HANDSHAKE = 22
_CLIENT_HELLO = 1
_MAX_RECORD = 2**14
_SERVER_NAME_EXTENSION = 0
_HOST_NAME = 0


@dataclass(frozen=True)
class NeedMore:
    """Undecided until at least `total` bytes are there."""

    total: int


@dataclass(frozen=True)
class NotTLS:
    """The first byte is not that of a TLS handshake."""


@dataclass(frozen=True)
class Hello:
    """A complete ClientHello; `server_name` is None where it carries none."""

    server_name: str | None


@dataclass(frozen=True)
class Broken:
    """Began like TLS and is not a ClientHello."""

    why: str


Verdict = NeedMore | NotTLS | Hello | Broken


def read_hello(data: bytes) -> Verdict:
    """What `data`, the first bytes of a connection, turn out to be. RFC 8446, sections 4.1.2 and 5.1."""
    if not data:
        return NeedMore(1)
    if data[0] != _HANDSHAKE:
        return NotTLS()
    message = bytearray()
    position = 0
    while True:
        header = data[position : position + _RECORD_HEADER]
        if len(header) < _RECORD_HEADER:
            return _need(position + _RECORD_HEADER)
        length = int.from_bytes(header[3:5], "big")
        if header[0] != _HANDSHAKE or header[1] != 3 or not 0 < length <= _MAX_RECORD:
            return Broken("a TLS record of another kind")
        start, end = position + _RECORD_HEADER, position + _RECORD_HEADER + length
        message += data[start:end]
        wanted = 4
        if len(message) >= wanted:
            wanted += int.from_bytes(message[1:4], "big")
            if message[0] != _CLIENT_HELLO:
                return Broken("a handshake message that is not a ClientHello")
            if wanted > MAX_MESSAGE:
                return Broken(f"a ClientHello of {wanted} bytes")
            if len(message) >= wanted:
                return _read_message(bytes(message[4:wanted]))
        if len(data) < end:
            return _need(min(end, len(data) + wanted - len(message)))
        position = end


def _need(total: int) -> Verdict:
    return NeedMore(total) if total <= MAX_BYTES else Broken("a ClientHello in too many records")


class _Truncated(Exception):
    pass


class _Cursor:
    """Reads length-prefixed fields off some bytes."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    def take(self, count: int) -> bytes:
        end = self._position + count
        if end > len(self._data):
            raise _Truncated
        taken, self._position = self._data[self._position : end], end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """A field behind its own length, which takes `size` bytes."""
        return self.take(self.number(size))

    def __bool__(self) -> bool:
        return self._position < len(self._data)


def _read_message(body: bytes) -> Verdict:
    try:
        return Hello(_server_name(body))
    except (_Truncated, UnicodeDecodeError):
        return Broken("a malformed ClientHello")


def _server_name(body: bytes) -> str | None:
    cursor = _Cursor(body)
    cursor.take(2 + 32)  # version, random
    cursor.vector(1)  # session id
    cursor.vector(2)  # cipher suites
    cursor.vector(1)  # compression methods
    extensions = _Cursor(cursor.vector(2) if cursor else b"")
    while extensions:
        kind, content = extensions.number(2), extensions.vector(2)
        if kind == _SERVER_NAME_EXTENSION:
            names = _Cursor(_Cursor(content).vector(2))
            while names:
                name_kind, name = names.number(1), names.vector(2)
                if name_kind == _HOST_NAME:
                    return name.decode("ascii")
    return None


def cluster_of(server_name: str | None) -> str | None:
    """The cluster whose scheduler is meant, None where the name is not one of ours."""
    if server_name is None or not server_name.startswith(SNI_PREFIX):
        return None
    return server_name[len(SNI_PREFIX) :] or None


def alert(description: int) -> bytes:
    """A fatal TLS alert as it is sent before any encryption. RFC 8446, section 6."""
    return bytes((21, 3, 3, 0, 2, 2, description))
