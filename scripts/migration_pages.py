"""The tables of docs/coming-from-dask-gateway.md and docs/coming-from-dask-kubernetes.md, from those of the commands.

python scripts/migration_pages.py --write      writes them between their marks; a test fails where they lag behind
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dask_sluice.cli.migrate.keys import CHART, GROUPS, Row
from dask_sluice.client.kubecluster import KEYWORDS

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = ("coming-from-dask-gateway.md", "coming-from-dask-kubernetes.md")
_MARKED = re.compile(r"(<!-- made by scripts/migration_pages.py -->\n).*?(<!-- end -->)", re.DOTALL)
_WORDS = {
    "maps": "",
    "changes": "**means something else:** ",
    "decide": "**by hand:** ",
    "wrong": "**had no effect:** ",
    "dropped": "",
}


def gateway_tables() -> str:
    """Old key, new key, for each group of the table."""
    return "\n".join(line for name, rows in GROUPS.items() for line in ("", f"### {name}", "", *_rows(rows), ""))


def _rows(rows: Sequence[Row]) -> Iterator[str]:
    yield "| dask-gateway | here | |"
    yield "|---|---|---|"
    together: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        together.setdefault((row.new, row.kind, row.what), []).extend(row.old)
    for (new, kind, what), old in together.items():
        yield f"| {_code(old)} | {_new(new)} | {_cell(_WORDS[kind] + what)} |"


def _new(new: str) -> str:
    keys = [key.strip().removeprefix(CHART) for key in new.split(",") if key.strip()]
    return ("chart: " if CHART in new else "") + _code(keys) if keys else "-"


def _code(keys: Sequence[str]) -> str:
    return ", ".join(f"`{key}`" for key in keys)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def kubecluster_table() -> str:
    """Every keyword of dask-kubernetes."""
    rows = []
    for name, each in KEYWORDS.items():
        ours = f"`{each.ours}`" if each.ours else "leave it out"
        rows.append(f"| `{name}` | {ours} | {_cell(each.what)} | {'yes' if each.works else 'no'} |")
    return "\n".join(
        ["", "| `KubeCluster(...)` | here | | also in our `KubeCluster` |", "|---|---|---|---|", *rows, "", ""]
    )


def page(name: str) -> str:
    """The page's text with its table as it should be."""
    table = gateway_tables() if name == PAGES[0] else kubecluster_table()
    return _MARKED.sub(lambda found: f"{found[1]}{table}{found[2]}", (DOCS / name).read_text())


if __name__ == "__main__":
    for each in PAGES:
        text = page(each)
        if "--write" in sys.argv[1:]:
            (DOCS / each).write_text(text)
        else:
            print(text, end="")
