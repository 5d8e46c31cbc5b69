"""Every configuration that a page shows is one: it loads as it stands, but for names of files and secrets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dask_sluice.server.identity.passwords import hash_password
from dask_sluice.server.settings_file import loads

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = [
    pytest.param(block, id=f"{page}-{number}")
    for page in ("operating", "usage", "limits", "policy", "configuration")
    for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", (DOCS / f"{page}.md").read_text(), re.M | re.S))
]
HASH = hash_password("lovelace")


@pytest.mark.parametrize("block", BLOCKS)
def test_what_a_page_shows_is_a_configuration(block: str, tmp_path: Path) -> None:
    for name in ("certificate.pem", "key.pem", "proxy-token"):
        (tmp_path / name).write_text("of-sixteen-letters")
    text = block.replace("/etc/dask-sluice/", f"{tmp_path}/").replace("token: ...", "token: a-token-of-16-letters")
    loads(re.sub(r'"?scrypt\$[\w$]*\.\.\."?', HASH, text), tmp_path / "sluice.yaml")


def test_the_pages_have_examples() -> None:
    assert len(BLOCKS) > 8
