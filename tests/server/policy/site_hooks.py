"""Hooks as a site might write them, good and bad; named by import path in the tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

from dask_sluice.server.model import Caller

IDS = {"ada": 1001, "grace": 1002}
held = threading.Event()
calls: list[str] = []


def by_options(options: dict[str, Any]) -> Mapping[str, Any]:
    return {"variables": {"CORES": options["worker_cores"], "JSON": '{"a": 1}'}}


async def ldap(options: dict[str, Any], user: Caller) -> Mapping[str, Any]:
    """The user's number, as Purdue's sites look it up."""
    await asyncio.sleep(0)
    if user.name not in IDS:
        raise ValueError(f"{user.name} has no account on the cluster: ask for one at accounts@example.org")
    return {"backend": {"worker": {"securityContext": {"runAsUser": IDS[user.name]}}}}


def changes_what_it_is_told(options: dict[str, Any], user: Caller) -> None:
    options["env"]["EVIL"] = "1"
    options.clear()


def misspells(options: dict[str, Any]) -> Mapping[str, Any]:
    return {"scheduler": {"core": 2}}


def answers_nonsense(options: dict[str, Any]) -> int:
    return 7


def too_small(options: dict[str, Any]) -> Mapping[str, Any]:
    return {"worker": {"cores": 0}}


def sets_our_own(options: dict[str, Any]) -> Mapping[str, Any]:
    return {"variables": {"SLUICE_LAUNCH": "x"}}


def breaks(options: dict[str, Any]) -> None:
    raise KeyError("uid")


def never_returns(options: dict[str, Any]) -> None:
    held.wait()


def says_thread(options: dict[str, Any]) -> Mapping[str, Any]:
    return {"variables": {"THREAD": threading.current_thread().name}}


def environments(user: Caller) -> Mapping[str, Any]:
    """The user's own environments, as Nebari asks another service for them."""
    calls.append(user.name)
    if user.name == "nobody" or len(calls) > 1:
        raise ConnectionError("the environment service does not answer")
    return {"conda_environment": {"choices": [f"{each}/base" for each in (user.name, *user.groups)]}}


def unknown_option(user: Caller) -> Mapping[str, Any]:
    return {"worker_core": {"maximum": 2}}


def wrong_key(user: Caller) -> Mapping[str, Any]:
    return {"worker_cores": {"max": 2}}
