"""Times as people say them, in every sentence that tells of one: `30 min` and not `1800 s`."""

from __future__ import annotations

_UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def span(seconds: float) -> str:
    """`0.3 s`, `45 s`, `1 min 30 s`, `30 min`, `12 h`, `7 d`: exact, so that two that differ never look alike."""
    said, left = [], round(abs(seconds), 3)
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            said.append(f"{count:.0f} {unit}")
    left = round(left, 3)
    if left or not said:
        said.append(f"{left:g} s")
    return ("-" if seconds < 0 else "") + " ".join(said)
