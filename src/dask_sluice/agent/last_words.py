"""What a process says about its own end, where the backend finds it: the most exact reason there is."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

from ..wire.launch import LAST_WORDS_VARIABLE, LastWords
from ..wire.reasons import Reason, ReasonCode

log = logging.getLogger("sluice.agent")


def say(code: ReasonCode, **details: Any) -> None:
    """Leave a reason behind, and put its sentence into the log."""
    log.error("%s", Reason(code, details).sentence)
    path = os.environ.get(LAST_WORDS_VARIABLE)
    if not path:
        return
    words = LastWords(code=code.value, details=details)
    # A file that is there is one that the backend put there, where nothing can be put into its place.
    place = path if os.path.exists(path) else f"{path}.new"
    try:
        with open(place, "w") as file:
            json.dump(words, file)
        if place != path:
            os.replace(place, path)
    except OSError as error:
        log.warning("last words cannot be written to %s: %s", path, error)


def first_cause(error: BaseException) -> BaseException:
    """The error that led to this one. Old releases raise a new one while they handle the first."""
    while (earlier := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        error = earlier
    return error


def in_words(error: BaseException) -> str:
    """What went wrong first, in one line: `ImportError: no module named x`."""
    error = first_cause(error)
    lines = str(error).strip().splitlines() or ["no details"]
    return f"{type(error).__name__}: {lines[0][:300]}"
