"""What keeps a server from starting, as one error with a sentence and what to do about it."""

from __future__ import annotations

from ..wire.errors import SluiceError


class CannotStart(SluiceError):
    """The server cannot start; nothing was changed and nothing is left running."""

    code, title = "cannot_start", "Cannot start"
