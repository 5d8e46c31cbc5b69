"""What the documents say is what the code does, as far as a program can tell."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from dask_sluice.cli import exits
from dask_sluice.cli.main import main as command_line
from scripts import reasons_page, troubleshooting_page
from scripts.diagrams import with_diagrams

ROOT = Path(__file__).resolve().parents[1]
LIFE = ROOT / "docs" / "life-of-a-cluster.md"


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.check_output(["git", "ls-files", "-z", *patterns], cwd=ROOT, text=True)
    return [ROOT / name for name in listed.split("\0") if name]


if not (ROOT / ".git").exists():
    pytest.skip("not a clone: there is no list of files", allow_module_level=True)

PAGES = tracked("*.md")


def test_the_diagrams_of_states_are_those_of_the_code() -> None:
    assert with_diagrams(LIFE.read_text()) == LIFE.read_text(), "python scripts/diagrams.py --write"


def test_the_page_of_reasons_is_the_catalogue() -> None:
    assert reasons_page.PAGE.read_text() == reasons_page.page(), "python scripts/reasons_page.py --write"


def test_the_page_of_misconfigurations_is_the_catalogue() -> None:
    lagging = "python scripts/troubleshooting_page.py --write"
    assert troubleshooting_page.PAGE.read_text() == troubleshooting_page.page(), lagging


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


def test_code_names_decision_records_that_are_there() -> None:
    records = {path.name[:4] for path in (ROOT / "docs" / "decisions").glob("0*.md")}
    assert len(records) == len(list((ROOT / "docs" / "decisions").glob("0*.md"))), "a number is used twice"
    named = {number for path in tracked("*.py") for number in re.findall(r"docs/decisions/(\d{4})", path.read_text())}
    assert named <= records
    files = {
        name for path in tracked("*.py") for name in re.findall(r"docs/decisions/(\d{4}-[\w-]+\.md)", path.read_text())
    }
    assert [name for name in files if not (ROOT / "docs" / "decisions" / name).exists()] == []


def test_every_command_and_exit_code_is_documented() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert [name for name in command_line.commands if f"`{name}" not in page] == []
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert codes <= {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}


def test_the_readme_is_short_and_begins_with_what_it_is() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) < 150
    first_screen = "\n".join(lines[:40])
    assert "make demo" in first_screen
    assert "from dask_sluice import Gateway" in first_screen


def test_news_fragments_have_a_kind() -> None:
    kinds = ("added", "changed", "fixed", "removed")
    names = [path.name for path in tracked("news/*.md") if path.name != "README.md"]
    assert names
    assert [name for name in names if not re.fullmatch(rf"\d+-[a-z-]+\.({'|'.join(kinds)})\.md", name)] == []


def test_nothing_here_knows_the_machine_that_it_was_written_on() -> None:
    secrets = re.compile(r"/(?:work|root)/[a-z.]|(?:pypi|pythonhosted|anaconda|conda-forge)\.org")
    here = Path(__file__)
    found = [
        path for path in tracked("*.py", "*.md", "*.toml", "*.lock", "*.yaml", "Makefile", ".ci/run") if path != here
    ]
    assert [str(path.relative_to(ROOT)) for path in found if path.exists() and secrets.search(path.read_text())] == []
