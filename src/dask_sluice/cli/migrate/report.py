"""What `migrate` has to say about an old configuration, in five kinds, and how it is printed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["decide", "wrong", "changes", "dropped", "maps"]

HEADINGS: dict[Kind, str] = {
    "decide": "Needs your decision",
    "wrong": "Was wrong before, and nobody was told",
    "changes": "Means something else now",
    "dropped": "Not needed any more",
    "maps": "Carried over",
}


@dataclass(frozen=True, order=True)
class Where:
    """A place in an old file; line 0 where it is about something that does not stand there."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Finding:
    """One thing to say: about which key or piece of code, and what."""

    kind: Kind
    what: str
    about: str = ""
    where: Where = Where()

    def __str__(self) -> str:
        place = f"{self.where}: " if str(self.where) else ""
        about = f"{self.about}: " if self.about else ""
        return f"{place}{about}{self.what}"


class Report:
    """Findings, each once, in the order in which a reader needs them."""

    def __init__(self) -> None:
        self._findings: dict[Finding, None] = {}

    def add(self, kind: Kind, what: str, about: str = "", where: Where | None = None) -> None:
        self._findings.setdefault(Finding(kind, what, about, where or Where()))

    def about(self, about: str, where: Where) -> Callable[[Kind, str], None]:
        """What adds findings about one thing."""
        return lambda kind, what: self.add(kind, what, about, where)

    def of(self, kind: Kind) -> list[Finding]:
        """Those of one kind, by file and line."""
        return sorted((each for each in self._findings if each.kind == kind), key=lambda each: each.where)

    def text(self) -> str:
        """For people: what they have to do comes first."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterable[str]:
        for kind, heading in HEADINGS.items():
            if findings := self.of(kind):
                yield f"\n## {heading}\n"
                yield from (f"- {_indented(str(each))}" for each in findings)
        yield ""


def _indented(text: str) -> str:
    first, *more = text.splitlines()
    return "\n".join([first, *(f"      {line}".rstrip() for line in more)])
