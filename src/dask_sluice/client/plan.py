"""What a cluster would get, as `new_cluster(dry_run=True)` gives it."""

from __future__ import annotations

from ..wire import plans
from ..wire.api import PlanView


class Plan(PlanView):
    """A plan that shows itself in words; its fields are there for programs."""

    def __repr__(self) -> str:
        return plans.text(self)

    def _repr_pretty_(self, printer: object, cycle: bool) -> None:
        printer.text(repr(self))  # type: ignore[attr-defined]
