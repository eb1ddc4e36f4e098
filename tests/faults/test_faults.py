"""A short part of the fault harness (`make faults` runs the whole), and the model of a disk that loses power."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from faults.power_loss import Change, Disk
from faults.results import Results
from faults.shim import CREATE, RENAME, SYNC, WRITE

TESTS = Path(__file__).resolve().parents[1]
KINDS = ("kills", "disk errors", "power loss", "two at once")
SAMPLE = ("--kinds", ",".join(KINDS), "--cases", "prepare,extract,train,train + train", "--trials", "10")


def run_faults(directory: Path, *options: str) -> list[dict[str, Any]]:
    """Run trials, none of which may find anything; returns their results."""
    results = directory / "results.jsonl"
    done = subprocess.run(
        [sys.executable, "-m", "faults", *options, "--results", results, "--slot", directory / "slot"],
        env={**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    entries = [json.loads(line) for line in results.read_text().splitlines()]
    assert {entry["result"] for entry in entries} == {"held"}
    return entries


@pytest.mark.slow
def test_a_sample_of_faults_leaves_every_command_with_its_undisturbed_result(tmp_path: Path) -> None:
    entries = run_faults(tmp_path, *SAMPLE)
    assert {entry["kind"] for entry in entries} == set(KINDS)
    assert sum(entry["faults"] for entry in entries) >= 7


def write_unsynchronised(disk: Disk, *synchronised: str) -> None:
    """Replace `a` by way of a temporary file, as `files.replacing` does, without some of its synchronising."""
    place = str(disk.directory)
    disk.apply(Change(CREATE, f"{place}/.a.tmp", "", 7, 0, b"", False))
    disk.apply(Change(WRITE, f"{place}/.a.tmp", "", 7, 0, b"new", False))
    if "content" in synchronised:
        disk.apply(Change(SYNC, f"{place}/.a.tmp", "", 7, 0, b"", True))
    disk.apply(Change(RENAME, f"{place}/.a.tmp", f"{place}/a", 0, 0, b"", False))
    if "name" in synchronised:
        disk.apply(Change(SYNC, place, "", 0, 0, b"", True))


@pytest.mark.parametrize(
    ("synchronised", "possible"),
    [((), {b"", b"\0\0\0", b"new", b"old"}), (("content",), {b"old", b"new"}), (("content", "name"), {b"new"})],
)
def test_the_modelled_disk_loses_what_was_not_synchronised(
    tmp_path: Path, synchronised: tuple[str, ...], possible: set[bytes]
) -> None:
    (tmp_path / "a").write_bytes(b"old")
    found = set()
    for seed in range(60):
        disk = Disk(tmp_path)
        write_unsynchronised(disk, *synchronised)
        found.add(disk.after_failure("both", random.Random(seed)).get(str(tmp_path / "a"), b"old"))
    assert found == possible


def test_results_are_read_again_and_a_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    results = Results(path)
    results.add({"kind": "kills", "case": "train", "seed": 3, "result": "found", "faults": 2})
    assert results.to_repeat() == [("kills", "train", 3)]
    results.add({"kind": "kills", "case": "train", "seed": 3, "result": "held", "faults": 2})
    with path.open("a") as stream:
        stream.write('{"kind": "kills", "ca')
    again = Results(path)
    assert again.to_repeat() == []
    assert "| kills | train | 1 | 2 | 1 | 1 | 1 |" in again.table()
