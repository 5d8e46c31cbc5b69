"""As which Unix account a cluster's processes run.

A server that runs as root gives each owner their own account, where the machine knows one by that name.
Otherwise there is nothing to choose: everything runs as the server does.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from ..protocol import Refused

_LOWEST_PERSON = 500 if sys.platform == "darwin" else 1000
"""Accounts below this number belong to the system: a user named `daemon` or `postgres` must not become one."""


@dataclass(frozen=True)
class Account:
    """A Unix account. `change` says whether a process must change to it, or runs as it anyway."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str
    change: bool

    @property
    def variables(self) -> dict[str, str]:
        """What a login as this account would set."""
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "SHELL": self.shell}


def may_change_accounts() -> bool:
    """Whether this server can run processes as somebody else."""
    return os.geteuid() == 0


def own_account() -> Account:
    """The account that the server runs as; a container may run one that has no name."""
    uid = os.geteuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        home = os.environ.get("HOME", "/")
        return Account(str(uid), uid, os.getegid(), home, "/bin/sh", change=False)
    return Account(entry.pw_name, uid, os.getegid(), entry.pw_dir, entry.pw_shell, change=False)


def account_of(owner: str, shared_account: str) -> Account:
    """The account for clusters of this owner.

    raises  Refused for a name that belongs to the system, and where the shared account does not exist
    """
    own = own_account()
    if not may_change_accounts() or owner == own.name:
        return own
    entry = _entry(owner)
    if entry is not None:
        if entry.pw_uid < _LOWEST_PERSON:
            raise Refused(
                f"{owner!r} is an account of this machine's system (number {entry.pw_uid}): clusters do not run as it"
            )
        return _as_account(entry)
    if not shared_account:
        return own
    entry = _entry(shared_account)
    if entry is None:
        raise Refused(f"the account {shared_account!r}, set as shared_account, does not exist on this machine")
    return _as_account(entry)


def closed_to_others(path: Path) -> Path | None:
    """The first directory on the way to `path`, or `path` itself, that other accounts cannot pass; None if they can."""
    real = path.resolve()
    return next((part for part in (*reversed(real.parents), real) if not part.stat().st_mode & stat.S_IXOTH), None)


def _entry(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except (KeyError, ValueError):  # ValueError: a name with a zero byte in it
        return None


def _as_account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell or "/bin/sh", change=True)
