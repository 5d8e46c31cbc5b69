"""What a warm process has read before it is told its environment variables: those that then come too late."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

_READ_AT_START = (
    "PYTHON", "LD_", "DYLD_", "MALLOC_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "NUMEXPR_",
    "DASK_CONFIG", "DASK_ROOT_CONFIG", "DASK_INTERNAL_INHERIT_CONFIG",
)  # fmt: skip
"""Read by Python, by libraries that distributed brings, and by Dask where it looks for its files."""

_read: set[str] = {"logging", "logging_file_config", "distributed.logging", "distributed.logging_file_config"}
"""Keys of Dask's configuration. Those of the loggers distributed reads in a way of its own."""


@contextlib.contextmanager
def noting_what_is_read() -> Iterator[None]:
    """Note which keys of Dask's configuration the imports inside read, and keep for good."""
    import dask

    get = dask.config.get

    def note(key: str, *args: Any, **kwargs: Any) -> Any:
        _read.add(_canonical(key))
        return get(key, *args, **kwargs)

    dask.config.get = note
    try:
        yield
    finally:
        dask.config.get = get


def take_over(variables: Mapping[str, str]) -> bool:
    """Set these variables; whether a new interpreter is needed for one of them. Else Dask has read them anew."""
    anew = needs_new_interpreter(variables, os.environ)
    os.environ.update(variables)
    if not anew and any(name.startswith("DASK_") for name in variables):
        import dask

        dask.config.refresh()
    return anew


def needs_new_interpreter(variables: Mapping[str, str], present: Mapping[str, str]) -> bool:
    """Whether a variable comes too late for this process."""
    changed = (name for name, value in variables.items() if present.get(name) != value)
    return any(name.startswith(_READ_AT_START) or _was_read(name) for name in changed)


def _was_read(name: str) -> bool:
    """Whether a key was read that this variable sets, or one above or below it."""
    if not name.startswith("DASK_"):
        return False
    key = _canonical(name[len("DASK_") :].lower().replace("__", "."))
    return any(f"{key}.".startswith(f"{read}.") or f"{read}.".startswith(f"{key}.") for read in _read)


def _canonical(key: str) -> str:
    return key.replace("-", "_")
