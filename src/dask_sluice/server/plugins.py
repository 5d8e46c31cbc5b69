"""What the settings name and others wrote: a backend, an authenticator, a hook. Found, and made with its settings.

Only what is used is imported: another one's libraries may not be there at all.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from .startup import CannotStart


def find(key: str, name: str, group: str = "") -> Any:
    """What an entry point of this group, or an import path, stands for.

    key     of the setting that has the name, for the error
    raises  CannotStart with the nearest name there is
    """
    path = name
    if ":" not in name:
        known = {point.name: point.value for point in entry_points(group=group)}
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            what = group.rpartition(".")[2].removesuffix("s")
            raise CannotStart(f"{key}: there is no {what} {name!r}.{meant} Known: {', '.join(sorted(known))}.")
        path = known[name]
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # somebody else's module: it can raise anything
        raise CannotStart(
            f"{key}: cannot import {name!r}: {type(error).__name__}: {error}",
            hint="It must be installed beside the server, or in a folder of PYTHONPATH.",
        ) from error
    if not callable(found):
        raise CannotStart(f"{key}: {name!r} is no function or class")
    return found


def make(section: str, kind: Any, settings: Mapping[str, Any]) -> Any:
    """One of this kind, with these settings as keyword arguments.

    raises  CannotStart with the nearest one that it takes
    """
    try:
        inspect.signature(kind).bind(**settings)
    except TypeError as error:
        known = [name for name in inspect.signature(kind).parameters if name != "self"]
        near = [meant for name in settings if name not in known for meant in difflib.get_close_matches(name, known, 1)]
        meant = f" Did you mean {near[0]!r}?" if near else ""
        takes = f"it takes {', '.join(known)}" if known else "it takes none"
        raise CannotStart(f"{section}.settings: {error}.{meant} Of settings {takes}.") from error
    try:
        return kind(**settings)
    except (TypeError, ValueError) as error:
        raise CannotStart(f"{section}.settings: {error}") from error
