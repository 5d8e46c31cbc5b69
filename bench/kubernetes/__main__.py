"""How fast clusters of pods start on a real Kubernetes, and what of that time is ours.

    python -m bench.kubernetes                       everything, some five minutes
    python -m bench.kubernetes starts --number 40    one scene, so many times

On the Kubernetes of KUBECONFIG, else on the kit's, which is started where it is not up.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from bench.kubernetes import scenes
from bench.scale.__main__ import shown
from bench.scale.scenes import Figure
from tests.kubernetes.kube import Kube, kubernetes_cluster

LATEST = Path(__file__).parents[1] / "kubernetes.json"
SCENES: dict[str, tuple[Callable[[Kube, int], list[Figure]], int]] = {
    "starts": (scenes.starts, scenes.STARTS),
    "warm": (scenes.warm_starts, scenes.STARTS),
    "workers": (scenes.workers, scenes.WORKERS),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="SCENE", help=f"which: {', '.join(SCENES)} (default: all)")
    parser.add_argument("--number", type=int, help="how many, instead of those of each scene")
    parser.add_argument("--write", type=Path, default=LATEST, help="where the figures go")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in SCENES]:
        parser.error(f"there is no scene {unknown[0]!r}; there are: {', '.join(SCENES)}")
    figures: list[Figure] = []
    with kubernetes_cluster() as kube:
        for name in arguments.names or SCENES:
            scene, number = SCENES[name]
            print(f"{name} ...", file=sys.stderr, flush=True)
            figures += scene(kube, arguments.number or number)
            _write(arguments.write, figures)  # at once: the next scene may find that the node is too small for it
    print("\n".join(map(shown, figures)))
    return 0


def _write(path: Path, figures: list[Figure]) -> None:
    path.write_text(json.dumps([asdict(figure) | {"met": figure.met} for figure in figures], indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
