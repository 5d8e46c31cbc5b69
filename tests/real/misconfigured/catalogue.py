"""What an entry of the catalogue of misconfigurations is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .standins import Seen, Site

Make = Callable[[Site], Seen]


@dataclass(frozen=True)
class Misconfiguration:
    """`step` of `dask-sluice doctor` names it, or `serve`; `make` makes it and gives back what a person saw.

    `says` and `do` are the whole sentence and the whole hint; what differs from case to case is a `{field}`.
    """

    wrong: str
    step: str
    says: str
    do: str
    make: Make


class Catalogue(list[Misconfiguration]):
    """Entries, in the order in which they were added."""

    def add(self, wrong: str, step: str, says: str, do: str) -> Callable[[Make], Make]:
        """Decorate what makes it."""

        def decorated(make: Make) -> Make:
            self.append(Misconfiguration(wrong, step, says, do, make))
            return make

        return decorated
