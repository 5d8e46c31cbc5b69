"""Who may do what, and what a user may ask for: every permission, size and limit is decided here.

    permissions.py   who may do what with a cluster
    options.py       what a user may choose
    layers.py        who says what a cluster gets, in order
    resolve.py       `Policy`: from what is asked for to the cluster's spec
    templates.py     `{user.name}` and sums in the administrator's texts
    checks.py        what can be found wrong with settings at start-up
    hooks.py         the administrator's own functions: the one part that is not pure

Times are decided in `reconcile`; both work the same way on every backend.
"""

from .options import Machine
from .permissions import Action, check, check_admin, cluster_name, may
from .resolve import AS_SET, Policy, Resolved

__all__ = ["AS_SET", "Action", "Machine", "Policy", "Resolved", "check", "check_admin", "cluster_name", "may"]
