"""Environment variables: which names can be one, and which of them users may set."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from ...wire.reasons import Reason, ReasonCode
from ..settings_policy import VariableRules

RESERVED = ("SLUICE_*",)
"""The server's own: nobody sets them."""
LOADERS = ("LD_*", "DYLD_*", "BASH_ENV", "BASH_FUNC_*", "ENV", "GCONV_PATH", "PYTHONHOME", "PYTHONEXECUTABLE", "IFS")
"""They make a process, or its interpreter, load something else before our agent's first line. Administrators may."""
LONGEST = 100_000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def is_name(name: str) -> bool:
    """Whether a process can be sure to get a variable of this name. A shell exports functions under names that no
    shell takes back; Kubernetes refuses them.
    """
    return bool(_NAME.fullmatch(name)) and len(name) <= 255


def wrong_with_name(name: str, rules: VariableRules | None) -> str:
    """Why this variable may not be set, as a sentence without its subject; empty where it may.

    rules  for names that a user gave; None: the administrator's own
    """
    if not is_name(name):
        return f"has a variable {name!r}: names consist of letters, digits and _, and start with no digit"
    denied = (*RESERVED, *(() if rules is None else (*LOADERS, *rules.denied)))
    for pattern in denied:
        if fnmatchcase(name, pattern):
            whose = "belong to dask-sluice" if pattern in RESERVED else "must not be set"
            return f"has a variable {name!r}: variables {pattern} {whose}"
    if rules is not None and not any(fnmatchcase(name, pattern) for pattern in rules.allowed):
        return f"has a variable {name!r}: only {', '.join(rules.allowed) or 'none'} may be set"
    return ""


def left_out(names: Iterable[str]) -> Reason:
    """What is said of variables whose names cannot be: the first few, shortened."""
    shown = [repr(name if len(name) <= 40 else f"{name[:40]}...") for name in sorted(names)]
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    return Reason(ReasonCode.VARIABLES_LEFT_OUT, {"names": ", ".join(shown[:5]) + more})


def as_text(value: Any) -> str:
    """A variable's value as text.

    raises  ValueError, naming no value: it may be a secret
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):  # a user's groups; no user can give one
        return ",".join(value)
    if not isinstance(value, (str, int, float)):
        raise ValueError("must be text, a number, true or false")  # noqa: TRY004  a wrong value, like the next one
    text = f"{value:.12g}" if isinstance(value, float) else str(value)
    if "\0" in text or len(text) > LONGEST:
        raise ValueError(f"must be no longer than {LONGEST} letters, without NUL")
    return text
