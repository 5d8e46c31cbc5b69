"""How the server does with many, and how the cost grows with their number.

    python -m bench.scale                                 everything, some ten minutes; creates on both databases
    python -m bench.scale rest --numbers 10,100,1000      one scene, with these numbers
    python -m bench.scale --database postgresql           on a PostgreSQL of its own instead of SQLite

Over a backend that runs nothing: real HTTP, a real database on a real disk, real processes of server and proxy.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from bench.scale import scenes
from bench.scale.scenes import Figure
from tests.postgresql import PostgreSQL, address

LATEST = Path(__file__).parents[1] / "scale.json"
SCENES: dict[str, tuple[Callable[[str | None, int], list[Figure]], tuple[int, ...]]] = {
    "creates": (scenes.creates, (2000,)),
    "rest": (scenes.rest, (10, 100, 1000, 10_000)),
    "links": (scenes.links, (10, 100, 1000, 5000)),
    "crowd": (scenes.crowd, (1000,)),
    "lesson": (scenes.lesson, (200,)),
}
DATABASES = ("sqlite", "postgresql")
ON_BOTH = ("creates", "crowd", "lesson")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="SCENE", help=f"which: {', '.join(SCENES)} (default: all)")
    parser.add_argument("--numbers", help="how many, separated by commas, instead of those of each scene")
    parser.add_argument("--database", choices=DATABASES, help="where records are (default: SQLite)")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in SCENES]:
        parser.error(f"there is no scene {unknown[0]!r}; there are: {', '.join(SCENES)}")
    figures: list[Figure] = []
    for name in arguments.names or SCENES:
        scene, numbers = SCENES[name]
        if arguments.numbers:
            numbers = tuple(int(number) for number in arguments.numbers.split(","))
        for database in [arguments.database] if arguments.database else DATABASES if name in ON_BOTH else ["sqlite"]:
            for number in numbers:
                print(f"{name} {number} on {database} ...", file=sys.stderr, flush=True)
                with _fresh(database) as url:
                    figures += [replace(figure, database=database) for figure in scene(url, number)]
    print("\n".join(map(shown, figures)))
    LATEST.write_text(json.dumps([asdict(figure) | {"met": figure.met} for figure in figures], indent=2) + "\n")
    return 0


@contextlib.contextmanager
def _fresh(database: str) -> Iterator[str | None]:
    """The address of an empty database; None: SQLite in the server's own directory."""
    if database == "sqlite":
        yield None
        return
    server = PostgreSQL(durable=True)
    try:
        yield address(server.new_database())
    finally:
        server.close()


def shown(figure: Figure) -> str:
    """One line of the table."""
    sign = ">=" if figure.more_is_better else "<="
    goal = (
        "" if figure.goal is None else f"  {sign} {figure.goal:g} {figure.unit}: {'met' if figure.met else 'NOT MET'}"
    )
    return f"{figure.database:11}{figure.name:60}{figure.number:>8,}{figure.value:>12,.2f} {figure.unit:4}{goal}"


if __name__ == "__main__":
    sys.exit(main())
