"""Times as people write them."""

from __future__ import annotations

import re
from typing import overload

from dask.utils import parse_timedelta


@overload
def seconds(duration: float | str) -> float: ...
@overload
def seconds(duration: None) -> None: ...
def seconds(duration: float | str | None) -> float | None:
    """Seconds in a number or a text such as "90 s", "30 min", "2h", "1 day"; None stays None.

    raises  ValueError naming what was given
    """
    if duration is None:
        return None
    if isinstance(duration, str):  # Dask knows `m` and `minutes`
        duration = re.sub(r"(?<=[\d\s])min\s*$", "m", duration)
    try:
        value = float(parse_timedelta(duration, default="s"))
    except (LookupError, ValueError, TypeError):
        raise ValueError(f"a duration is seconds or a text such as '30min' or '2h', got {duration!r}") from None
    if not 0 <= value < 1e9:
        raise ValueError(f"a duration is at least 0 and shorter than thirty years, got {duration!r}")
    return value
