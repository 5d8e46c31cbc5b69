"""What callers send: the request types of `wire/api.py`, with the checks that belong to an edge.

Strict: `true` is not a count, `"3"` is not a number, and a field that is not known is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from fastapi import Header, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]
AfterEvent = Annotated[int, Query(ge=0, le=2**62, description="Only events with an id above this one.")]


class Body(BaseModel):
    """What all bodies have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)


SecondsOrNever = Annotated[float, Field(strict=True, ge=0, le=1e9)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=1e9)]


class LeaseBody(Body):
    """How long a new cluster shall live: `LeaseRequest`."""

    idle_s: SecondsOrNever | None = Field(None, description="End it after so long without work; 0: never.")
    age_s: SecondsOrNever | None = Field(None, description="End it after so long in any case; 0: never.")
    absent_s: SecondsOrNever | None = Field(None, description="End it after so long without its client; 0: never.")
    presence: bool | None = Field(
        None,
        strict=True,
        description="The client says now and then that it is there; false: it may be outlived.",
    )


class CreateBody(Body):
    """A new cluster: `CreateRequest`."""

    options: dict[str, Any] = Field({}, description="Option names and values; what is left out has its default.")
    lease: LeaseBody = Field(LeaseBody(), description="How long it shall live.")


class LeaseChangeBody(Body):
    """A change of a running cluster's lease: `LeaseChange`."""

    keep_alive_s: Seconds | None = Field(
        None, description="Do not end it for being idle or alone for so long from now."
    )
    extend_s: Seconds | None = Field(None, description="Make its whole life so much longer.")
    present: bool = Field(False, strict=True, description="Its client is there.")


class ScaleBody(Body):
    """`ScaleRequest`."""

    count: Count = Field(description="Workers wanted from now on. Ends adaptive scaling.")


class AdaptBody(Body):
    """`AdaptRequest`."""

    minimum: Count | None = Field(None, description="The fewest workers; null is 0.")
    maximum: Count | None = Field(None, description="The most workers; null is the cluster's limit.")
    active: bool = Field(True, strict=True, description="False turns adaptive scaling off.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum must not be above maximum, got {self.minimum} and {self.maximum}")
        return self


class DrainBody(Body):
    """`DrainRequest`."""

    message: str = Field("", max_length=500, description="What users are told besides.")


class NotebooksBody(Body):
    """Whose notebook servers have changed."""

    user: str = Field(min_length=1, max_length=255, description="The user's name at the hub.")
