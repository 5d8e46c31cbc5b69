"""Cutting text in UTF-8 by bytes, as logs are, without cutting a character in two."""

from __future__ import annotations


def whole_start(data: bytes) -> bytes:
    """Without the rest of a character whose beginning was cut off."""
    start = 0
    while start < min(3, len(data)) and data[start] & 0xC0 == 0x80:
        start += 1
    return data[start:]


def whole_end(data: bytes) -> bytes:
    """Without a character at the end of which not all bytes are there; what is no UTF-8 anyway stays as it is."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        needed = 2 if byte & 0xE0 == 0xC0 else 3 if byte & 0xF0 == 0xE0 else 4 if byte & 0xF8 == 0xF0 else 1
        return data[:-back] if needed > back else data
    return data
