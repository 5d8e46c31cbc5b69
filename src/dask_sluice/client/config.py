"""Where the client finds its settings: arguments, then Dask's `sluice:` configuration, then `gateway:`.

`gateway:` is dask-gateway's section, read so that an existing notebook works with nothing but another import.
Text values may hold `{VARIABLES}` of the environment; braces that name no variable stay as they are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import dask.config

_VARIABLE = re.compile(r"\{(\w+)\}")


def setting(key: str, default: Any = None) -> Any:
    """The value of `sluice.KEY`, else of `gateway.KEY`, else `default`; variables filled in."""
    for section in ("sluice", "gateway"):
        value = dask.config.get(f"{section}.{key}", None)
        if value is not None:
            return fill(value)
    return default


def fill(value: Any) -> Any:
    """Text with `{VARIABLES}` of the environment filled in, also as the values of a mapping."""
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), value)
    if isinstance(value, Mapping):
        return {key: fill(item) if isinstance(item, str) else item for key, item in value.items()}
    return value
