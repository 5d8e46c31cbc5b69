"""What the pages for users show is run as it stands, but for the address."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dask_sluice import Gateway

from ..live import PATIENCE_S, LiveServer

pytestmark = pytest.mark.real
ROOT = Path(__file__).resolve().parents[2]
SHOWN = "http://127.0.0.1:8000/?token=..."


@pytest.mark.parametrize("page", ["README.md", "docs/client.md"])
def test_the_examples_run(live_server: LiveServer, page: str, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    assert any(SHOWN in block for block in blocks)
    program = "\n".join(blocks).replace(SHOWN, live_server.url)
    token = tmp_path / "token"
    token.write_text("a token of the notebook's")
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    with Gateway(live_server.url) as gateway:  # one of them shows how a cluster goes on
        for cluster in gateway.list_clusters():
            gateway.stop_cluster(cluster.name)
