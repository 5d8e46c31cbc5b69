"""A network that enforces network policies, for as long as a test lasts: kube-router beside the kit's Kubernetes, whose
own network enforces none.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..kubernetes.kube import KIT_DIRECTORY, ROOT, Kube, NotThere, until

MODULE = "github.com/cloudnativelabs/kube-router/v2"
VERSION = "v2.1.0"
SERVICES = "198.18.128.0/18"
"""Of the kit. Like those of its pods they are of the range for benchmarks, which no policy counts as private."""
BUILD_S = 1200


@contextmanager
def enforcing(kube: Kube, router: Path) -> Iterator[None]:
    """`router`: the program, see `kube_router`."""
    said = KIT_DIRECTORY / "log" / "kube-router.log"
    options = ["--run-firewall", "--run-router=false", "--run-service-proxy=false", "--run-loadbalancer=false"]
    options += ["--hostname-override=node", f"--service-cluster-ip-range={SERVICES}", "--health-port=0"]
    command = [str(router), f"--kubeconfig={kube.kubeconfig}", *options]
    with said.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            until(lambda: hooks("FORWARD") or process.poll() is not None, "kube-router has its chains")
            assert process.poll() is None, said.read_text()[-2000:]
            yield
            assert process.poll() is None, said.read_text()[-2000:]
        finally:
            process.terminate()
            process.wait()
            for chain in ("INPUT", "FORWARD", "OUTPUT"):
                for rule in hooks(chain):
                    subprocess.run(["iptables", "-D", *rule], check=True)


def hooks(chain: str) -> list[list[str]]:
    """Rules by which packets come to kube-router's chains, without the `-A`. Its own clean-up (2.1.0) panics."""
    listed = subprocess.run(["iptables", "-S", chain], capture_output=True, text=True, check=True).stdout
    rules = [shlex.split(line) for line in listed.splitlines() if "KUBE-ROUTER-" in line]
    return [rule[1:] for rule in rules if rule[0] == "-A"]


def kube_router(kube: Kube) -> Path:
    """The program, built once: two minutes on two cores.

    raises  NotThere
    """
    if kube.directory is None:
        raise NotThere("a switch for the enforcement of network policies in the cluster of KUBECONFIG")
    program = ROOT / ".cache" / f"kube-router-{VERSION}" / "kube-router"
    if program.exists():
        return program
    if shutil.which("go") is None:
        raise NotThere("kube-router, by which network policies are enforced: it takes Go to build it")
    program.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "GOBIN": str(program.parent), "CGO_ENABLED": "0"}
    with kube.outside():
        done = subprocess.run(
            ["go", "install", f"{MODULE}/cmd/kube-router@{VERSION}"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=BUILD_S,
        )
    if done.returncode != 0:
        raise NotThere(f"kube-router cannot be built:\n{done.stderr[-2000:]}")
    return program
