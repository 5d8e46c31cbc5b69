"""A user in JupyterLab: fewer cores, more memory, in the form; then a cluster that has them."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.async_api import Page, expect

from dask_sluice import Gateway

from ..live import LiveServer

pytestmark = pytest.mark.real
PATIENCE_MS = 60_000
CELLS = (
    "from dask_sluice import Gateway\ngateway = Gateway()\noptions = gateway.cluster_options()\noptions",
    "cluster = gateway.new_cluster(options)\ncluster.scale(1)\ncluster",
)


@pytest.fixture
async def lab(live_server: LiveServer, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a notebook in JupyterLab."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in CELLS], metadata=kernel)
    nbformat.write(notebook, tmp_path / "clusters.ipynb")
    own = {f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    command = ["-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0", "--LabApp.news_url="]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.workspaces_dir=workspaces"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=tmp_path,
        env=os.environ | own | {"DASK_SLUICE__ADDRESS": live_server.url},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    said = ""
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while not (address := re.search(r"(http://127\.0\.0\.1:\d+)/lab\?token=(\w+)", said)):
            line = await process.stderr.readline()
            assert line, said
            said += line.decode()
    reading = asyncio.ensure_future(process.stderr.read())
    yield f"{address[1]}/lab/tree/clusters.ipynb?token={address[2]}"
    process.terminate()
    await process.wait()
    await reading


async def test_less_of_this_and_more_of_that_is_two_fields_of_a_form(
    live_server: LiveServer, lab: str, browser_page: Page, tmp_path: Path
) -> None:
    page = browser_page
    await page.goto(lab)
    await page.locator(".jp-CodeCell .cm-content").first.click(timeout=PATIENCE_MS)
    await expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")).to_be_attached(timeout=PATIENCE_MS)
    await page.keyboard.press("Shift+Enter")

    form = page.locator(".jp-OutputArea-output").first
    await expect(form.get_by_text("Cluster options")).to_be_visible(timeout=PATIENCE_MS)
    for label in ("Cores per worker", "Memory per worker (GiB)", "Threads per worker", "Python environment"):
        await expect(form.get_by_text(label)).to_be_visible()
    cores, memory, *_ = [form.locator("input").nth(number) for number in range(4)]
    await memory.fill("-3")
    await memory.press("Tab")
    await expect(form.get_by_text("worker_memory must be")).to_be_visible()
    await page.screenshot(path=tmp_path / "form.png")
    await cores.fill("0.5")
    await cores.press("Tab")
    await memory.fill("1.5")
    await memory.press("Tab")
    await expect(form.get_by_text("worker_memory must be")).to_be_hidden()

    await page.locator(".jp-CodeCell .cm-content").nth(1).click()
    await page.keyboard.press("Shift+Enter")
    await expect(page.get_by_text("GatewayCluster").last).to_be_visible(timeout=PATIENCE_MS)
    await expect(page.locator(".jp-OutputArea-output").last).to_contain_text("Workers: 1", timeout=PATIENCE_MS)
    await page.screenshot(path=tmp_path / "cluster.png")
    with Gateway(live_server.url) as gateway:
        made = [report for report in gateway.list_clusters() if report.options["worker_memory"] == 1.5]
        assert [report.options["worker_cores"] for report in made] == [0.5]
        gateway.stop_cluster(made[0].name)
