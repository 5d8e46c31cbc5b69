"""What keeps a server from starting, as one error with a sentence and what to do about it."""

from __future__ import annotations

from ..wire.errors import SluiceError


class CannotStart(SluiceError):
    """The server cannot start; nothing was changed and nothing is left running."""

    code, title = "cannot_start", "Cannot start"


def first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What to raise instead of the group: parts run in a task group, whoever started us wants the one thing that went
    wrong.
    """
    error: BaseException = group.subgroup(CannotStart) or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
