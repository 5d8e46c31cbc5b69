"""The local backend: schedulers and workers as processes of this machine, forked from a warm parent.

backend.py        the five calls
nurseries.py      one warm parent per environment (and Unix account): started, found again, ended
connection.py     one connection to a nursery
environments.py   which interpreter an environment means, and whether it can run a cluster
accounts.py       as whom a cluster's processes run
directories.py    the files of a cluster
processes.py      ending a session of processes, and nobody else's
endings.py        how a process ended, in words
"""

from .backend import LocalBackend
from .settings import LocalSettings

__all__ = ["LocalBackend", "LocalSettings"]
