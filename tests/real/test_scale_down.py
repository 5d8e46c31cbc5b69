"""Twenty workers become five, and every result is still there: over and over, also while workers are killed.

A file beside the server has a line for each time that a task ran: a result that got lost is computed anew by
Dask, and nobody would notice. `SLUICE_ROUNDS` says how often (100 in `make chaos`).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import distributed
import pytest

from dask_sluice import Gateway, GatewayCluster

from ..live import PATIENCE_S, LiveServer, until

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore:Sending large graph")]

ROUNDS = int(os.environ.get("SLUICE_ROUNDS", "3"))
MANY, FEW = 20, 5
RESULTS = 200


def making(ran: Path) -> Callable[[int], bytes]:
    """What makes a result: 100 kB, different for each number; it leaves a line in `ran` each time."""
    path = str(ran)

    def make(number: int) -> bytes:  # in here, since no cluster can import this module
        with open(path, "ab", buffering=0) as file:
            file.write(b"%d\n" % number)
        return number.to_bytes(4, "big") * 25_000

    return make


class Work:
    """Results that live on workers, each of them on one."""

    def __init__(self, client: distributed.Client, ran: Path) -> None:
        self._ran = ran
        self._client = client
        ran.write_bytes(b"")
        self.results = client.map(making(ran), range(RESULTS), pure=False)
        distributed.wait(self.results, timeout=PATIENCE_S)
        self.given = client.scatter([number.to_bytes(4, "big") * 1000 for number in range(MANY)], hash=False)

    def check(self) -> None:
        """Each of them can be had, and is what it was."""
        for number, got in enumerate(self._client.gather(self.results)):
            assert got == number.to_bytes(4, "big") * 25_000

    def check_what_was_given(self) -> None:
        """What only the workers have: nobody could compute it anew."""
        assert self._client.gather(self.given) == [number.to_bytes(4, "big") * 1000 for number in range(MANY)]

    @property
    def ran_again(self) -> set[int]:
        """Those that were computed more than once."""
        return {number for number, times in Counter(map(int, self._ran.read_text().split())).items() if times > 1}

    def holders(self) -> dict[str, set[int]]:
        """The numbers of the results that each worker has, by its name."""
        names = {
            address: info["name"] for address, info in self._client.scheduler_info(n_workers=-1)["workers"].items()
        }
        number_of = {future.key: number for number, future in enumerate(self.results)}
        where = self._client.who_has(self.results)
        holders: dict[str, set[int]] = {name: set() for name in names.values()}
        for key, addresses in where.items():
            for address in addresses:
                holders[names[address]].add(number_of[key])
        return holders


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    """One that has room for many workers, however small the machine."""
    config = tmp_path / "config.yaml"
    config.write_text(f"limits: {{cluster: {{workers: {2 * MANY}}}}}\n")
    with LiveServer(tmp_path, "--config", str(config)) as server:
        yield server


@pytest.fixture
def cluster(server: LiveServer) -> Iterator[GatewayCluster]:
    with Gateway(server.url) as gateway, gateway.new_cluster(worker_cores=1, worker_memory=0.25) as cluster:
        yield cluster


def alive(cluster: GatewayCluster) -> set[str]:
    """Names of the workers that have not ended."""
    return {worker.name for worker in cluster.worker_reports() if worker.state not in ("stopped", "failed")}


def until_only(cluster: GatewayCluster, client: distributed.Client, count: int) -> None:
    """No more than so many workers are left: not on the books, and not at the scheduler."""
    until(lambda: len(alive(cluster)) == count, f"{count} workers are left")
    until(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == count, f"the scheduler knows {count}")


def test_scaling_down_loses_no_result_and_computes_none_again(cluster: GatewayCluster, tmp_path: Path) -> None:
    with cluster.get_client() as client:
        for _ in range(ROUNDS):
            cluster.scale(MANY)
            client.wait_for_workers(MANY, timeout=PATIENCE_S)
            work = Work(client, tmp_path / "ran")
            assert sum(map(bool, work.holders().values())) > FEW
            cluster.scale(FEW)
            until_only(cluster, client, FEW)
            work.check()
            work.check_what_was_given()
            assert work.ran_again == set()


@pytest.mark.parametrize("whose", ["retiring", "running"])
def test_a_worker_killed_meanwhile_costs_its_own_results_only(
    server: LiveServer, cluster: GatewayCluster, tmp_path: Path, whose: str
) -> None:
    chance = random.Random(whose)
    with cluster.get_client() as client:
        for _ in range((ROUNDS + 2) // 3):
            cluster.scale(MANY)
            client.wait_for_workers(MANY, timeout=PATIENCE_S)
            work = Work(client, tmp_path / "ran")
            before = work.holders()
            cluster.scale(FEW)
            states = {worker.name: worker.state for worker in cluster.worker_reports() if worker.name in before}
            staying = {name for name, state in states.items() if state == "running"}
            victim = chance.choice([name for name, state in states.items() if state == whose] or [*states])
            kill_worker(server, cluster, victim)
            until_only(cluster, client, FEW)
            work.check()
            untouched = set().union(*(before[name] for name in staying - {victim}))
            assert not work.ran_again & untouched
            # What had been moved to one that was to stay is lost with it as well.
            assert victim in staying or work.ran_again <= before[victim]


def kill_worker(server: LiveServer, cluster: GatewayCluster, name: str) -> None:
    """All processes of it at once, as when its machine is lost; whatever is gone already is no matter."""
    mark = server.data_dir / "clusters" / cluster.name / f"{cluster.name}-{name}.pid"
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.killpg(int(mark.read_text().split()[0]), signal.SIGKILL)


def test_adaptive_scaling_down_loses_no_result(cluster: GatewayCluster, tmp_path: Path) -> None:
    with cluster.get_client() as client:
        for _ in range((ROUNDS + 2) // 3):
            cluster.scale(MANY)
            client.wait_for_workers(MANY, timeout=PATIENCE_S)
            work = Work(client, tmp_path / "ran")
            cluster.adapt(minimum=FEW, maximum=MANY)
            until_only(cluster, client, FEW)
            work.check()
            work.check_what_was_given()
            assert work.ran_again == set()


def test_a_worker_killed_while_adaptive_scaling_gives_up_others_costs_no_error(
    server: LiveServer, cluster: GatewayCluster, tmp_path: Path
) -> None:
    chance = random.Random(5)
    with cluster.get_client() as client:
        for _ in range((ROUNDS + 2) // 3):
            cluster.scale(MANY)
            client.wait_for_workers(MANY, timeout=PATIENCE_S)
            work = Work(client, tmp_path / "ran")
            before = work.holders()
            cluster.adapt(minimum=FEW, maximum=MANY)
            until(lambda: retiring(cluster), "some are retired")
            victim = chance.choice(retiring(cluster) or [*before])
            kill_worker(server, cluster, victim)
            until_only(cluster, client, FEW)
            work.check()
            assert work.ran_again <= before[victim]


def retiring(cluster: GatewayCluster) -> list[str]:
    return sorted(worker.name for worker in cluster.worker_reports() if worker.state not in ("running", "starting"))
