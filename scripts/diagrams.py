"""Print the state diagrams of `docs/life-of-a-cluster.md` (mermaid) from the tables in `wire/states.py`.

python scripts/diagrams.py --write      puts them into the page; a test fails where the page lags behind
"""

import re
import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from dask_sluice.wire.states import CLUSTER_CHANGES, WORKER_CHANGES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "life-of-a-cluster.md"


def diagram(changes: Mapping[Enum, frozenset[Enum]]) -> str:
    """One mermaid state diagram: every edge of the table, in the table's order."""
    states = list(changes)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {states[0].value}"]
    for state, following in changes.items():
        lines += [f"    {state.value} --> {to.value}" for to in states if to in following]
        lines += [] if following else [f"    {state.value} --> [*]"]
    return "\n".join([*lines, "```"])


def with_diagrams(text: str) -> str:
    """The page's text with its two diagrams as the tables have them."""
    diagrams = iter([diagram(CLUSTER_CHANGES), diagram(WORKER_CHANGES)])  # type: ignore[arg-type]
    return re.sub(r"```mermaid\n.*?```", lambda _: next(diagrams), text, flags=re.DOTALL)


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        PAGE.write_text(with_diagrams(PAGE.read_text()))
    else:
        print(diagram(CLUSTER_CHANGES), diagram(WORKER_CHANGES), sep="\n\n")  # type: ignore[arg-type]
