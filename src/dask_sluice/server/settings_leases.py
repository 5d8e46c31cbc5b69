"""Settings: how long clusters live."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from .settings_parts import Seconds, SecondsOrNever, Section


class Span(Section):
    """A time that users choose within bounds. In seconds; 0 stands for never."""

    default: SecondsOrNever = 0.0
    """What a cluster gets whose user does not choose."""
    minimum: Seconds = 60.0
    """The least that may be chosen."""
    maximum: Seconds | None = None
    """The most that may be chosen. Null: any time."""
    never: bool = True
    """Whether 0, never, may be chosen."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.default and not self.never:
            raise ValueError("a default of 0 means never, which 'never: false' forbids")
        if self.default and not self.minimum <= self.default <= (self.maximum or self.default):
            most = "" if self.maximum is None else f" <= {self.maximum:g}"
            got = f"{self.minimum:g} <= {self.default:g}{most}"
            raise ValueError(f"must keep minimum <= default <= maximum, all in seconds; got {got}")
        return self


class Idle(Span):
    """A cluster in which no task has run or waited for so long is stopped."""

    default: SecondsOrNever = 1800.0
    """What a cluster gets whose user does not choose. Half an hour: long enough for a coffee and a conversation."""
    without_clients: bool = False
    """Whether a cluster counts as idle only while no client is connected to it."""


class Absent(Span):
    """A cluster that was made to end with its notebook is stopped after its client has been away for so long. Longer
    than a laptop sleeps between two rooms; a cluster that is made to outlive its client is not concerned.
    """

    default: SecondsOrNever = 900.0
    """What a cluster gets whose user does not choose."""


class Leases(Section):
    """How long clusters live. Users are warned 15 and 5 minutes before an end, as an event and where they work."""

    idle: Idle = Idle()
    """Without work."""
    absent: Absent = Absent()
    """Without the notebook that made it."""
    notebook: Literal["asked", "always", "never"] = "asked"
    """Which clusters end at once with the notebook server that made them, where the authenticator knows of such servers
    (`jupyterhub`). `asked`: those that were made so (our client's `shutdown_on_close`, its default), and those of
    dask-gateway's clients, which cannot say. `always`: those made to outlive it, too. `never`: none, they end by the
    rest of this section. While a user has asked to keep a cluster alive, it stays."""
    age: Span = Span()
    """At all: the longest life of a cluster, however busy it is."""
    keep_alive_max_s: SecondsOrNever = Field(12 * 3600.0)
    """For how long a user may ask, at a time, that a cluster is not ended for being idle or alone. 0: not at all."""
    extend_max_s: SecondsOrNever = Field(0.0)
    """By how much in all a user may put off the end that `age` sets. 0: not at all."""
