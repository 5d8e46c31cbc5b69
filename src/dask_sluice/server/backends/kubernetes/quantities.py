"""Kubernetes' way to write numbers: `1500m`, `2Gi`."""

from __future__ import annotations

import re

_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([A-Za-z]{0,2})")
_UNITS = {"": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3}
_UNITS |= {letter: 1000.0**power for power, letter in enumerate("kMGTPE", start=1)}
_UNITS |= {f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", start=1)}


def number(quantity: str) -> float:
    """The number that is meant; 0 for what is none."""
    match = _QUANTITY.fullmatch(quantity)
    if match is None or match[2] not in _UNITS:
        return 0.0
    return float(match[1]) * _UNITS[match[2]]
