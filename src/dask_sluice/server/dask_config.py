"""Dask's configuration as environment variables: the way in that every release of Dask reads before anything else."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

_PART = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")
"""What one part of a key may be, since Dask reads a variable's name in lower case and `__` in it as a dot."""
_OF_NAMES = ("logging", "resources", "environ", "pre-spawn-environ", "default-task-durations")
"""Mappings whose keys are no parts of configuration but names of loggers, resources, variables, tasks."""


def as_variables(config: Any) -> dict[str, str]:
    """`{"distributed.worker": {"memory.spill": 0.5}}` as `{"DASK_DISTRIBUTED__WORKER__MEMORY__SPILL": "0.5"}`.

    Keys are dotted, or nested as in Dask's files, or both; `-` and `_` are the same. A mapping with keys that no
    variable's name can hold, such as the names of loggers, goes as one value.
    raises  ValueError, naming the key
    """
    if not isinstance(config, Mapping):
        raise ValueError(  # noqa: TRY004  a wrong value of a setting, as any other
            f"must be keys of Dask's configuration with values, such as {{'distributed.worker.memory.spill': 0.5}}; "
            f"got {config!r}"
        )
    found: dict[str, str] = {}
    for key, value in _leaves(config):
        name = f"DASK_{key.upper().replace('-', '_').replace('.', '__')}"
        if name in found:
            raise ValueError(f"says {key!r} twice")
        found[name] = repr(_literal(key, value))
    return found


def _leaves(config: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if not _is_key(key):
            raise ValueError(f"has a key {key!r}: keys are dotted parts of small letters, digits, - and _")
        named = key.rpartition(".")[2].replace("_", "-") in _OF_NAMES
        if isinstance(value, Mapping) and value and not named and all(map(_is_key, value)):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _is_key(key: Any) -> bool:
    return isinstance(key, str) and all(map(_PART.fullmatch, key.split(".")))


def _literal(key: str, value: Any) -> Any:
    """The value as what Python's `repr` writes and Dask's reader understands."""
    if isinstance(value, Mapping):
        return {str(name): _literal(f"{key}.{name}", inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_literal(key, item) for item in value]
    if not isinstance(value, (str, bool, int, float, type(None))) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        raise ValueError(f"{key}: must be text, a finite number, true, false, null, or lists and mappings of these")
    return value
