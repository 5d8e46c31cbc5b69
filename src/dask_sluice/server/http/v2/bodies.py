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


class CreateBody(Body):
    """A new cluster: `CreateRequest`."""

    options: dict[str, Any] = Field({}, description="Option names and values; what is left out has its default.")


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
