"""A process waits as nobody's, becomes the scheduler that it is told to be by whoever has its token, and does so once.

Real processes, and the server's own way of telling them.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dask_sluice.server.backends.kubernetes.warm import channel
from dask_sluice.server.backends.kubernetes.warm.channel import NotGiven, Proofs
from dask_sluice.wire.launch import Claim

from .harness import PATIENCE_S, Agents

PROOFS = Proofs.of(b"k" * 32, "uid-1")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def waiting(cluster: Agents, **changes: Any) -> int:
    """The port at which a process waits."""
    port = free_port()
    launch = {**channel.waiting_launch(PROOFS), "host": "127.0.0.1", "port": port, **changes}
    cluster.start("scheduler", launch)  # type: ignore[arg-type]
    async with asyncio.timeout(PATIENCE_S):
        while "waiting for somebody" not in cluster.log("scheduler"):  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0.02)
    return port


def claim(cluster: Agents, **variables: str) -> Claim:
    return Claim(token=PROOFS.token, launch=cluster.scheduler_launch(), variables=variables)


def environ(cluster: Agents) -> dict[str, str]:
    """Variables with which the interpreter was started."""
    said = Path(f"/proc/{cluster.processes['scheduler'].pid}/environ").read_bytes()
    return dict(each.split("=", 1) for each in said.decode().split("\0") if "=" in each)


async def test_whoever_has_the_token_makes_it_their_scheduler_which_works(cluster: Agents) -> None:
    port = await waiting(cluster)
    await channel.give("127.0.0.1", PROOFS, claim(cluster), port)
    hello = await cluster.server.hear("hello")
    assert hello["pid"] == cluster.processes["scheduler"].pid
    cluster.address = f"tls://127.0.0.1:{hello['scheduler_port']}"
    await cluster.start_workers("worker-1")
    async with cluster.client() as user:
        assert await user.do("compute", 100) == 5050


async def test_it_can_be_told_once_only_even_by_two_at_the_same_moment(cluster: Agents) -> None:
    port = await waiting(cluster)
    claims = [{**claim(cluster), "launch": cluster.scheduler_launch(link_token=f"token-{each}")} for each in range(5)]
    await asyncio.gather(*(channel.give("127.0.0.1", PROOFS, each, port) for each in claims), return_exceptions=True)
    await cluster.server.hear("hello")
    with pytest.raises(NotGiven):
        await channel.give("127.0.0.1", PROOFS, claim(cluster), port)
    assert len(cluster.server.authorizations) == 1
    assert cluster.log("scheduler").count("becoming the scheduler") == 1


async def test_a_wrong_token_changes_nothing(cluster: Agents) -> None:
    port = await waiting(cluster)
    wrong = {**claim(cluster), "token": Proofs.of(b"k" * 32, "uid-2").token}
    with pytest.raises(NotGiven, match="the token is wrong"):
        await channel.give("127.0.0.1", PROOFS, wrong, port)
    for nonsense in ({}, {"token": 5}, {"token": PROOFS.token, "launch": {"role": "worker"}, "variables": {}}):
        with pytest.raises(NotGiven):
            await channel.give("127.0.0.1", PROOFS, nonsense, port)
    await channel.give("127.0.0.1", PROOFS, claim(cluster), port)
    await cluster.server.hear("hello")


async def test_nothing_is_said_to_somebody_with_another_key(cluster: Agents) -> None:
    port = await waiting(cluster)
    expected = replace(PROOFS, key=Proofs.of(b"k" * 32, "uid-2").key)
    with pytest.raises(NotGiven, match="somebody else answers"):
        await channel.give("127.0.0.1", expected, claim(cluster), port)
    await channel.give("127.0.0.1", PROOFS, claim(cluster), port)  # it was not used up: nothing had been said
    await cluster.server.hear("hello")


async def test_those_who_dial_and_say_nothing_do_not_matter(cluster: Agents) -> None:
    port = await waiting(cluster)
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    silent[0].close()  # as the kubelet's probe does
    await channel.give("127.0.0.1", PROOFS, claim(cluster), port)
    await cluster.server.hear("hello")
    for each in silent:
        each.close()


async def test_variables_that_python_reads_at_its_start_count_too(cluster: Agents) -> None:
    port = await waiting(cluster)
    assert "PYTHONHASHSEED" not in environ(cluster)
    await channel.give("127.0.0.1", PROOFS, claim(cluster, PYTHONHASHSEED="7", SECRET="hunter2"), port)
    await cluster.server.hear("hello")
    assert environ(cluster)["PYTHONHASHSEED"] == "7"
    assert environ(cluster)["SECRET"] == "hunter2"


async def test_it_ends_by_itself_when_nobody_comes_and_by_a_signal(cluster: Agents) -> None:
    await waiting(cluster, wait_s=0.5)
    assert await cluster.end_of("scheduler") == 0
    await waiting(cluster)
    cluster.processes["scheduler"].send_signal(signal.SIGTERM)
    assert await cluster.end_of("scheduler") == -signal.SIGTERM
