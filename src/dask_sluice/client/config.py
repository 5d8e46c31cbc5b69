"""Where the client finds its settings: arguments, then Dask's `sluice:` configuration, then `gateway:`.

`gateway:` is dask-gateway's section, read so that an existing notebook works with nothing but another import.
Text values may hold `{VARIABLES}` of the environment; braces that name no variable stay as they are.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from typing import Any

import dask.config

from .errors import GatewayWarning

_VARIABLE = re.compile(r"\{(\w+)\}")


def setting(key: str, default: Any = None) -> Any:
    """The value of `sluice.KEY`, else of `gateway.KEY`, else `default`; variables filled in."""
    for section in ("sluice", "gateway"):
        value = dask.config.get(f"{section}.{key}", None)
        if value is not None:
            return fill(value)
    return default


def fill(value: Any) -> Any:
    """Text with `{VARIABLES}` of the environment filled in, also inside mappings.

    An entry of a mapping that is one variable alone, and that variable is not there, is left out, with a warning: a hub
    passes on what a notebook has, and not every notebook has all of it.
    """
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), value)
    if isinstance(value, Mapping):
        return {key: fill(item) for key, item in value.items() if not _lacks(key, item)}
    return value


def _lacks(key: Any, item: Any) -> bool:
    match = _VARIABLE.fullmatch(item) if isinstance(item, str) else None
    if match is None or match[1] in os.environ:
        return False
    warnings.warn(
        f"Dask's configuration sets {key!r} to the environment variable {match[1]}, which is not set: left out",
        GatewayWarning,
        stacklevel=4,
    )
    return True
