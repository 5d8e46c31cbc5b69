"""A log that grows too long is cut to its newest part, and following it misses nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dask_sluice.agent.nursery_logs import trim
from dask_sluice.server.backends.local.directories import JobFiles
from dask_sluice.server.backends.local.job_logs import log_after, log_end

MOST = 1000


@pytest.fixture
def files(tmp_path: Path) -> JobFiles:
    return JobFiles(tmp_path, "one")


def write(files: JobFiles, text: str) -> None:
    with files.log.open("a") as log:
        log.write(text)


def test_a_process_that_only_prints_fills_no_disk(files: JobFiles) -> None:
    with files.log.open("a") as log:  # opened once, as a process has it
        for number in range(2000):
            print(f"line {number}", file=log, flush=True)
            trim(str(files.log), MOST)
            assert sum(each.stat().st_size for each in files.directory.iterdir()) <= 1.1 * MOST
    assert sorted(each.name for each in files.directory.iterdir()) == ["one.log", "one.log.1"]
    kept = log_end(files, 10 * MOST).splitlines()
    assert kept[-1] == "line 1999"
    assert len(kept) > 50
    assert kept[1:] == [f"line {number}" for number in range(2001 - len(kept), 2000)]


def test_of_a_burst_the_newest_is_kept(files: JobFiles) -> None:
    write(files, "x" * 5000 + "the end\n")
    assert trim(str(files.log), MOST)
    assert files.log.stat().st_size == 0
    assert log_end(files, 10 * MOST).endswith("xthe end\n")
    assert files.earlier_log.stat().st_size == MOST


def test_a_short_log_is_left_alone_and_so_is_one_that_is_not_there(files: JobFiles) -> None:
    assert not trim(str(files.log), MOST)
    assert not trim(str(files.directory / "gone" / "one.log"), MOST)
    write(files, "short\n")
    assert not trim(str(files.log), MOST)
    assert log_end(files, 100) == "short\n"


def test_links_are_not_followed(files: JobFiles, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious" * 1000)
    files.log.symlink_to(victim)
    trim(str(files.log), 10)
    assert victim.read_text() == "precious" * 1000
    files.log.unlink()
    write(files, "x" * 2000)
    files.earlier_log.symlink_to(victim)
    assert trim(str(files.log), MOST)
    assert victim.read_text() == "precious" * 1000
    assert not files.earlier_log.is_symlink()


def test_where_nothing_can_be_kept_the_log_is_emptied_all_the_same(
    files: JobFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    write(files, "x" * 2000)
    monkeypatch.setattr(os, "write", full)
    trim(str(files.log), MOST)
    assert files.log.stat().st_size == 0
    assert [each.name for each in files.directory.iterdir()] == ["one.log"]


def follow(files: JobFiles, position: str, most: int = 10 * MOST) -> tuple[str, str]:
    text = ""
    while True:
        part = log_after(files, position, most)
        if part.position == position:
            return text, position
        text, position = text + part.text, part.position


def test_what_is_written_while_the_end_is_read_comes_once(files: JobFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    write(files, "first\n")
    read = os.pread

    def read_late(*arguments: int) -> bytes:
        monkeypatch.undo()
        write(files, "second\n")
        return read(*arguments)

    monkeypatch.setattr(os, "pread", read_late)
    text, position = follow(files, "")
    assert text == "first\nsecond\n"
    assert follow(files, position) == ("", position)


@pytest.mark.parametrize("most", [7, 64, 10 * MOST])
def test_following_over_cuts_gives_every_line_once(files: JobFiles, most: int) -> None:
    written, read, position = "", "", ""
    for number in range(400):
        line = f"zeile {number} äöü€😀\n"
        write(files, line)
        written += line
        if number % 3 == 0:
            text, position = follow(files, position, most)
            read += text
        if number % 5 == 0:
            trim(str(files.log), MOST)
    text, position = follow(files, position, most)
    read += text
    assert read == written if most > 100 else written.endswith(read)
    assert len(read) > 0.9 * len(written)


def test_a_character_of_which_half_is_written_waits_for_its_other_half(files: JobFiles) -> None:
    with files.log.open("ab") as log:
        log.write("a€".encode()[:-1])
    first, position = follow(files, "")
    assert first == "a"
    with files.log.open("ab") as log:
        log.write("€".encode()[-1:])
    assert follow(files, position)[0] == "€"


@pytest.mark.parametrize("position", ["nonsense", "-", "9" * 40 + "-0", "5", "²-0"])
def test_a_position_that_nobody_gave_does_no_harm(files: JobFiles, position: str) -> None:
    write(files, "text\n")
    assert "text\n".endswith(log_after(files, position, 100).text)


def test_reading_between_copy_and_cut_gives_nothing_twice(files: JobFiles) -> None:
    write(files, "x" * 600)
    _, position = follow(files, "")
    write(files, "y\n")
    files.earlier_log.write_bytes(files.log.read_bytes())  # copied; not emptied yet
    waiting = log_after(files, position, MOST)
    assert waiting.text == ""
    os.truncate(files.log, 0)
    assert follow(files, waiting.position)[0] == "y\n"
    assert log_end(files, MOST).count("y") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root trims logs of other accounts")
def test_as_root_what_is_kept_belongs_to_the_account_and_only_its_files_are_cut(files: JobFiles) -> None:
    write(files, "x" * 2000)
    os.chown(files.directory, 54321, 54321)
    assert not trim(str(files.log), MOST)
    assert files.log.stat().st_size == 2000
    assert not files.earlier_log.exists()
    os.chown(files.log, 54321, 54321)
    trim(str(files.log), MOST)
    assert files.log.stat().st_size == 0
    assert files.earlier_log.stat().st_uid == 54321
    assert log_end(files, 10).endswith("x")
