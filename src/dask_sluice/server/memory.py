"""Amounts of memory as people write them: the one parser, for every setting and template.

8 GiB, 8 Gi, 8G, 8g, "8 G"   8 x 2^30 bytes; K, M and T alike. `G` alone has dask-gateway's meaning, not
                             Kubernetes', so that values can be moved over as they are
8 GB                         8 x 10^9 bytes
8589934592                   bytes; fewer than one MiB are taken for a forgotten unit and refused, but for 0
"""

from __future__ import annotations

import re

_TEXT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:e([+-]?\d{1,2}))?\s*([kmgtp]?)(i?)(b?)", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_LEAST = 2**20


def parse_memory(value: object) -> int:
    """Bytes.

    raises  ValueError saying what is accepted
    """
    found = _TEXT.fullmatch(value.strip()) if isinstance(value, str) and len(value) < 40 else None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 2**63:
        size = int(value)
    elif found and not (found[4] and not found[3]):
        number, exponent, prefix, binary, is_bytes = found.groups()
        unit = 1000 if is_bytes and not binary else 1024
        size = round(float(f"{number}e{exponent or 0}") * unit ** _POWER[prefix.lower()])
    else:
        raise ValueError(f"must be memory such as '8 GiB' (or 8G, the same; 8 GB is 8 x 10^9) or bytes; got {value!r}")
    if size >= 2**63:
        raise ValueError(f"is more than there is in the world: {value!r}")
    if 0 < size < _LEAST:
        raise ValueError(f"is less than one MiB: {value!r} has no unit? Write '{value} GiB'")
    return size


def shown(size: int) -> str:
    """`7.5 GiB`; exact enough to tell sizes apart."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB")):
        if size >= 1024**power:
            return f"{size / 1024**power:.4g} {unit}"
    return f"{size} bytes"
