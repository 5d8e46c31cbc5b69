"""Print `docs/troubleshooting.md` from the catalogue of misconfigurations in `tests/real/misconfigurations.py`.

python scripts/troubleshooting_page.py --write      writes the page; a test fails where it lags behind
"""

import re
import sys
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dask_sluice.cli.doctor import STEPS
from tests.real.misconfigurations import CATALOGUE
from tests.real.misconfigured.catalogue import Misconfiguration

PAGE = Path(__file__).resolve().parent.parent / "docs" / "troubleshooting.md"
HEAD = """\
# When something does not work

    dask-sluice doctor [--address URL] [-o NAME=VALUE]

tries every step from here to a result, in the order of the sections below, and names the first that is broken. In a
notebook the sentences are the same. *Italics* are filled in. Each row is made for real by a test, which reads it.
What a cluster or worker waits for or ended by is in [reasons](reasons.md).
"""
SERVE = "what keeps `dask-sluice serve` from starting"
TABLE = "| what you see | what is wrong | what to do |\n|---|---|---|"


def page() -> str:
    """The page's text."""
    order = [*STEPS, "serve"]
    entries = sorted(CATALOGUE, key=lambda wrong: order.index(wrong.step))
    parts = [HEAD]
    for step, those in groupby(entries, key=lambda wrong: wrong.step):
        shows = SERVE if step == "serve" else STEPS[step][0]
        parts.append("\n".join([f"## {step}: {shows}\n", TABLE, *map(_row, those)]) + "\n")
    return "\n".join(parts)


def _row(wrong: Misconfiguration) -> str:
    return f"| {_filled_in(wrong.says)} | {wrong.wrong} | {_filled_in(wrong.do)} |"


def _filled_in(template: str) -> str:
    return re.sub(r"\{([^}]*)\}", r"*\1*", template).replace("|", r"\|").replace("<", r"\<")


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page())
    else:
        print(page(), end="")
