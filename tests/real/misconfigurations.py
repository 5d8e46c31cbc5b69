"""The catalogue of misconfigurations: what is wrong, which step of `dask-sluice doctor` names it, what is said and what
to do. `docs/troubleshooting.md` is printed from it; `test_misconfigurations.py` makes each of them and looks.
"""

from .misconfigured import clusters, serving, way

CATALOGUE = [*way.ENTRIES, *clusters.ENTRIES, *serving.ENTRIES]
