"""A server over the everlasting backend, as a process of its own, and what the kernel says that it takes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE_S = 120.0
ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "bench"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """One data directory, and the server that works on it now."""

    directory: Path
    agents: bool = True
    database: str | None = None
    settings: dict[str, object] = field(default_factory=dict)
    port: int = 0

    def start(self) -> float:
        """Seconds until it answers."""
        config = self.directory / "config.json"  # JSON is YAML
        document = {
            "listen": {"port": self.port, "max_connections_per_address": 100_000},
            "authenticator": {"kind": "basic", "basic": {"password": PASSWORD}},
            "backend": {"kind": "bench.scale.backend:Everlasting", "settings": {"agents": self.agents}},
            "data_dir": str(self.directory / "data"),
            "on_stop": "keep_clusters",
            "leases": {"idle": {"default": 0}},
            "log": {"level": "warning"},
            **self.settings,
        }
        if self.database:
            document["database"] = {"url": self.database}
        config.write_text(json.dumps(document))
        command = [sys.executable, "-m", "dask_sluice", "serve", "--config", str(config)]
        self.log = (self.directory / "server.log").open("a")
        began = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("ready: "):
                self.url = line.removeprefix("ready: ").strip()
                self.port = int(self.url.rsplit(":", 1)[1])
                return time.perf_counter() - began
        raise RuntimeError((self.directory / "server.log").read_text()[-3000:])

    def kill(self) -> None:
        """As a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self._wait()

    def stop(self) -> None:
        self.process.terminate()
        self._wait()
        for pid in self.proxies():
            os.kill(pid, signal.SIGTERM)

    def _wait(self) -> None:
        self.process.wait(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()

    def proxies(self) -> list[int]:
        """Processes of the proxy that live."""
        known = json.loads((self.directory / "data" / "proxy.json").read_text())["proxies"]
        return [each["pid"] for each in known if Path(f"/proc/{each['pid']}").exists()]

    def cpu_s(self, *, with_proxy: bool = True) -> float:
        """Processor seconds that it has used."""
        return sum(_cpu_s(pid) for pid in [self.process.pid, *(self.proxies() if with_proxy else [])])

    def memory_bytes(self, *, with_proxy: bool = True) -> int:
        """Memory that is its own."""
        return sum(_pss(pid) for pid in [self.process.pid, *(self.proxies() if with_proxy else [])])


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the kernel tells no PSS of process {pid}")
