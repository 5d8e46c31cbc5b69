"""Print `docs/reasons.md` from the catalogue in `wire/reasons.py`.

python scripts/reasons_page.py --write      writes the page; a test fails where it lags behind
"""

import re
import sys
from pathlib import Path

from dask_sluice.wire.reasons import CATALOGUE

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reasons.md"
HEAD = """\
# Reasons

Everything that a cluster or worker waits for, does or ends by has one of these codes, in `cluster.events()`, errors,
the page, the API and `dask-sluice show`. Codes stay; sentences may change. *Italics* are filled in.

| code | sentence | what to do |
|---|---|---|
"""


def page() -> str:
    """The page's text."""
    rows = (f"| `{code}` | {_filled_in(text.sentence)} | {text.hint} |" for code, text in CATALOGUE.items())
    return HEAD + "\n".join(rows) + "\n"


def _filled_in(sentence: str) -> str:
    """`{limit_s:g} s` as *limit* s; the lines of a log follow a sentence and are no part of it."""
    without_lines = sentence.replace("{last_lines}", "")
    return re.sub(r"\{(\w+?)(?:_s|_gib)?(?::[^}]*)?\}", lambda field: f"*{field[1].replace('_', ' ')}*", without_lines)


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page())
    else:
        print(page(), end="")
