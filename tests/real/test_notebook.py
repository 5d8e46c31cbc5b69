"""The seed notebook, and everything that a notebook shows, in a real kernel against a real server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from dask_sluice import Gateway

from ..live import LiveServer, until

pytestmark = pytest.mark.real
SEED = Path(__file__).parents[2] / "demo" / "seed.ipynb"
PATIENCE_S = 60


class Kernel:
    """A kernel and its user, who types and looks."""

    def __init__(self, manager: AsyncKernelManager, client: AsyncKernelClient) -> None:
        self.manager = manager
        self._client = client

    async def run(self, code: str) -> list[dict[str, Any]]:
        """What the cell shows, as the kernel's messages; an error is one of them."""
        shown: list[dict[str, Any]] = []
        await self._client.execute_interactive(code, output_hook=shown.append, timeout=PATIENCE_S, allow_stdin=False)
        return [message for message in shown if message["msg_type"] not in ("status", "execute_input")]

    async def text(self, code: str) -> str:
        """The text of everything that the cell shows."""
        return "\n".join(_text(message) for message in await self.run(code))

    async def complete(self, code: str) -> list[str]:
        reply = await self._client.complete(code, reply=True, timeout=PATIENCE_S)
        matches: list[str] = reply["content"]["matches"]
        return matches


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    if message["msg_type"] == "error":
        return f"{content['ename']}: {content['evalue']}"
    return str(content.get("text") or content.get("data", {}).get("text/plain", ""))


@pytest.fixture
async def kernel(live_server: LiveServer) -> AsyncIterator[Kernel]:
    manager = AsyncKernelManager(kernel_name="python3")
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    await client.wait_for_ready(timeout=PATIENCE_S)
    kernel = Kernel(manager, client)
    await kernel.run(f"from dask_sluice import Gateway\ngateway = Gateway({live_server.url!r})")
    yield kernel
    client.stop_channels()
    await manager.shutdown_kernel()


async def test_the_seed_notebook_runs_as_it_is(
    live_server: LiveServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DASK_SLUICE__ADDRESS", live_server.url)
    notebook = nbformat.read(SEED, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are not to be stored"
    runner = NotebookClient(
        notebook, timeout=PATIENCE_S, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    await runner.async_execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert "/status" in str(outputs)
    assert re.search(r"0\.(49|50)", str(outputs)), "the mean of numbers between 0 and 1"
    assert "Traceback" not in "".join(output["text"] for output in outputs if output.get("name") == "stderr")


async def test_options_complete_and_are_a_form(kernel: Kernel) -> None:
    await kernel.run("options = gateway.cluster_options()")
    assert {"options.worker_cores", "options.worker_memory", "options.worker_threads"} <= {
        match if match.startswith("options") else f"options.{match}" for match in await kernel.complete("options.wor")
    }
    shown = await kernel.run("options")
    (result,) = [message for message in shown if message["msg_type"] == "execute_result"]
    assert "application/vnd.jupyter.widget-view+json" in result["content"]["data"]
    said = await kernel.text(
        "fields = {label.value: field for label, field in "
        "zip(options.form().children[1].children[::3], options.form().children[1].children[1::3])}\n"
        "fields['Memory per worker (GiB)'].value = 3\n"
        "options.worker_cores = 0.5\n"
        "print(options.worker_memory, fields['Cores per worker'].value, sorted(fields))"
    )
    assert "3.0 0.5 [" in said


async def test_a_wrong_value_is_refused_by_name_and_in_one_sentence(kernel: Kernel) -> None:
    said = await kernel.text("gateway.cluster_options().worker_memory = -1")
    assert said.startswith("OptionInvalid: worker_memory"), said


async def test_a_slow_start_shows_its_phases(kernel: Kernel, tmp_path: Path) -> None:
    with LiveServer(tmp_path, "--config", _config(tmp_path, "slow_to_start")) as slow:
        shown = await kernel.run(
            f"slow = Gateway({slow.url!r})\n"
            "try:\n    slow.new_cluster(timeout=3)\nexcept Exception as error:\n    print(type(error).__name__, error)"
        )
    phases = [_text(message) for message in shown if message["msg_type"] in ("display_data", "update_display_data")]
    assert any("scheduler starting" in phase for phase in phases), shown
    assert phases[-1] == "", "the line goes when the wait is over"
    assert any("StartTimedOut" in _text(message) for message in shown), shown


def _config(directory: Path, preset: str) -> str:
    file = directory / "fake.yaml"
    file.write_text(f"backend:\n  kind: fake\n  fake:\n    preset: {preset}\n")
    return str(file)


async def test_a_cluster_shows_its_workers_and_its_dashboard(kernel: Kernel) -> None:
    await kernel.run("cluster = gateway.new_cluster()\ncluster.scale(1)\nclient = cluster.get_client()")
    await kernel.run("client.wait_for_workers(1)")
    said = await kernel.text("print(cluster._repr_html_())\nprint(repr(cluster))\ndisplay(cluster)")
    assert "Workers" in said
    assert "/clusters/" in said
    shown = await kernel.run("cluster")
    assert any("application/vnd.jupyter.widget-view+json" in message["content"].get("data", {}) for message in shown), (
        shown
    )
    await kernel.run("client.close()\ncluster.close()")


async def test_an_interrupted_cell_leaves_no_cluster(kernel: Kernel, live_server: LiveServer) -> None:
    with Gateway(live_server.url) as gateway:
        before = {report.name for report in gateway.list_clusters()}
        running = asyncio.ensure_future(kernel.run("while True:\n    gateway.new_cluster(quiet=True).close()"))
        await asyncio.to_thread(
            until, lambda: {report.name for report in gateway.list_clusters()} - before, "a cluster is starting"
        )
        await kernel.manager.interrupt_kernel()
        assert "KeyboardInterrupt" in "".join(_text(message) for message in await running)
        await asyncio.to_thread(
            until, lambda: {report.name for report in gateway.list_clusters()} <= before, "nothing new is left"
        )
