"""Writing a feature file: rows taken over, interruptions, a second writer, a full disk."""

import errno
import multiprocessing
import os
import resource
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.feature_files import (
    DIM,
    IDENTITY,
    LENGTHS,
    PLAN,
    assert_whole,
    missing,
    partial_of,
    rows,
    values_of,
    write,
)

from mmer_pipeline import files
from mmer_pipeline.digests import digest_of
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.feature_file import FeatureFile, Row
from mmer_pipeline.features.feature_writer import FeatureWriter, update_stamps


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "features" / "text.h5"


def test_rows_may_come_in_any_order_and_in_parts(path: Path) -> None:
    with FeatureWriter(path, IDENTITY, DIM, PLAN) as writer:
        writer.write(rows(3, 0))
        writer.write(rows(4))
        writer.write(rows(2, 1))
        writer.finish()
    assert_whole(path)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_values_that_are_not_contiguous_are_written_as_they_are(path: Path) -> None:
    plan = [Row("a", digest_of(b"a"), 4)]
    values = np.asfortranarray(values_of(0).astype(np.float64))
    with FeatureWriter(path, IDENTITY, DIM, plan) as writer:
        writer.write([(0, values)])
        writer.finish()
    file = FeatureFile(path)
    assert file.is_intact(0)
    np.testing.assert_array_equal(file.at(0), values)


def test_a_stopped_writer_s_rows_are_not_computed_again(path: Path) -> None:
    with FeatureWriter(path, IDENTITY, DIM, PLAN) as writer:
        assert writer.missing == [0, 1, 2, 3, 4]
        writer.write(rows(1, 3))
    assert not path.exists()
    with FeatureWriter(path, IDENTITY, DIM, PLAN) as writer:
        assert writer.missing == [0, 2, 4]
        writer.write(rows(*writer.missing))
        writer.finish()
    assert_whole(path)


def test_a_writer_killed_without_warning_leaves_what_it_had_written(path: Path) -> None:
    script = f"""
        import os, signal
        from pathlib import Path
        from helpers.feature_files import DIM, IDENTITY, PLAN, FeatureWriter, rows
        writer = FeatureWriter(Path({str(path)!r}), IDENTITY, DIM, PLAN)
        writer.write(rows(0, 4))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert python(script).returncode == -9
    assert missing(path) == [1, 2, 3]


def python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_rows_that_were_corrupted_in_a_partial_file_are_computed_again(path: Path) -> None:
    with FeatureWriter(path, IDENTITY, DIM, PLAN) as writer:
        writer.write(rows(0, 1, 2))
    with h5py.File(partial_of(path), "r+") as file:
        file["values"][LENGTHS[0], 0] += 1  # of utterance 1
    assert missing(path) == [1, 3, 4]


def test_rows_that_were_corrupted_in_the_finished_file_are_computed_again(path: Path) -> None:
    write(path)
    with h5py.File(path, "r+") as file:
        file["values"][-1, -1] += 1
    assert not FeatureFile(path).is_intact(4)
    assert missing(path) == [4]


def test_a_partial_file_that_is_cut_is_started_anew(path: Path) -> None:
    with FeatureWriter(path, IDENTITY, DIM, PLAN) as writer:
        writer.write(rows(0, 1, 2))
    partial = partial_of(path)
    partial.write_bytes(partial.read_bytes()[: partial.stat().st_size // 2])
    assert missing(path) == [0, 1, 2, 3, 4]


def test_one_changed_input_is_one_row_to_compute(path: Path) -> None:
    write(path)
    plan = [*PLAN[:2], replace(PLAN[2], input_digest=digest_of(b"changed")), *PLAN[3:]]
    assert missing(path, plan) == [2]


def test_a_new_length_is_a_row_to_compute(path: Path) -> None:
    write(path)
    assert missing(path, [replace(PLAN[0], length=9), *PLAN[1:]]) == [0]


def test_rows_are_taken_over_by_id_wherever_they_stand(path: Path) -> None:
    write(path)
    new = Row("new", digest_of(b"new"), 2)
    with FeatureWriter(path, IDENTITY, DIM, [PLAN[4], new, PLAN[0]]) as writer:
        assert writer.missing == [1]
        writer.write([(1, np.ones((2, DIM)))])
        writer.finish()
    file = FeatureFile(path)
    assert file.utterance_ids == [PLAN[4].utterance_id, "new", PLAN[0].utterance_id]
    np.testing.assert_array_equal(file.rows(PLAN[4].utterance_id), values_of(4))
    np.testing.assert_array_equal(file.rows(PLAN[0].utterance_id), values_of(0))


def test_rows_of_another_identity_are_never_taken_over(path: Path) -> None:
    write(path)
    for field in ("encoder_digest", "layer", "policy"):
        assert missing(path, identity=replace(IDENTITY, **{field: "another"})) == [0, 1, 2, 3, 4]


def test_a_row_of_another_length_than_planned_is_refused(path: Path) -> None:
    with FeatureWriter(path, IDENTITY, DIM, PLAN) as writer, pytest.raises(UserError, match="utterance 1") as caught:
        writer.write([(1, np.zeros((2, DIM)))])
    assert "expected 1 rows, computed 2" in str(caught.value)


def test_the_finished_file_stays_until_the_new_one_is_whole(path: Path) -> None:
    write(path)
    plan = [replace(PLAN[0], input_digest=digest_of(b"changed")), *PLAN[1:]]
    with FeatureWriter(path, IDENTITY, DIM, plan) as writer:
        assert writer.missing == [0]
        assert_whole(path)
        writer.write([(0, np.zeros((LENGTHS[0], DIM)))])
        assert_whole(path)
        writer.finish()
    assert not FeatureFile(path).at(0).any()


def test_values_reach_the_disk_before_the_name_does(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(files, "sync", lambda place: synced.append((place, path.exists())))
    write(path)
    assert synced[-2:] == [(partial_of(path), False), (path.parent, True)]


def test_rows_that_cannot_be_read_are_computed_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path)
    preadv = os.preadv

    def fail(descriptor: int, buffers: list[memoryview], position: int) -> int:
        if buffers[0].nbytes == LENGTHS[2] * DIM * 2:
            raise OSError(errno.EIO, "Input/output error")
        return preadv(descriptor, buffers, position)

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(UserError, match=r"cannot be read \(Input/output error\)"):
        FeatureFile(path).at(2)
    assert missing(path) == [2]


def test_stamps_can_be_renewed_without_touching_the_rest(path: Path) -> None:
    write(path)
    stamp = digest_of(b"touched")
    update_stamps(path, {PLAN[1].utterance_id: stamp})
    assert FeatureFile(path).stamps == [PLAN[0].stamp, stamp, *(row.stamp for row in PLAN[2:])]
    assert_whole(path)


def start_second_writer(path: Path) -> str:
    try:
        FeatureWriter(path, IDENTITY, DIM, PLAN).close()
    except UserError as error:
        return str(error)
    return "no refusal"


def test_a_second_writer_is_refused_while_one_is_at_work(path: Path) -> None:
    with FeatureWriter(path, IDENTITY, DIM, PLAN) as writer:
        writer.write(rows(0, 1))
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            message = pool.apply(start_second_writer, (path,))
        assert "being written by another process" in message
        assert str(partial_of(path)) in message
        writer.write(rows(2, 3, 4))
        writer.finish()
    assert_whole(path)


def test_a_second_writer_is_refused_while_the_first_lays_out_its_file(path: Path) -> None:
    path.parent.mkdir()
    fresh = partial_of(path).with_suffix(".new")
    with h5py.File(fresh, "w"), multiprocessing.get_context("spawn").Pool(1) as pool:
        assert "being written by another process" in pool.apply(start_second_writer, (path,))
        assert fresh.exists()


def start_with_little_room(path: Path, limit: int, start: int) -> str:
    """The message of a writer whose files may not exceed `limit` bytes; rows from `start` on have changed."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    plan = [replace(row, input_digest=digest_of(b"changed")) if n >= start else row for n, row in enumerate(PLAN)]
    plan.append(Row("long", digest_of(b"long"), 100_000))
    try:
        FeatureWriter(path, IDENTITY, DIM, plan).close()
    except UserError as error:
        return str(error)
    return "no refusal"


def test_a_full_disk_is_said_and_leaves_the_old_file_as_it_was(path: Path) -> None:
    write(path)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        message = pool.apply(start_with_little_room, (path, 100_000, 2))
    assert "disk is full" in message
    assert str(path) in message
    assert_whole(path)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_disk_that_fills_while_rows_are_written_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FeatureWriter(path, IDENTITY, DIM, PLAN) as writer:
        writer.write(rows(0))

        def full(*_: object) -> None:
            raise OSError("Can't write data (file write failed: errno = 28, error message = 'No space left on device')")

        with monkeypatch.context() as patch:
            patch.setattr(writer, "_put", full)
            with pytest.raises(UserError, match="disk is full"):
                writer.write(rows(1))
    assert missing(path) == [1, 2, 3, 4]


def test_what_a_killed_process_left_of_the_layout_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    partial_of(path).with_suffix(".new").write_bytes(b"cut" * 10_000)
    write(path)
    assert_whole(path)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def lay_out_with_every_limit(path: Path) -> list[str]:
    """The messages of writers that may not write a file as large as theirs."""
    write(path)
    size = path.stat().st_size
    path.unlink()
    messages = []
    for limit in range(0, size, 60):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            FeatureWriter(path, IDENTITY, DIM, PLAN).close()
        except UserError as error:
            messages.append(str(error))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    write(path)
    return messages


def test_a_disk_that_fills_anywhere_in_the_layout_is_said_and_nothing_else_is(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """HDF5 printed lines for each of its objects that it could not write."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        messages = pool.apply(lay_out_with_every_limit, (path,))
    assert len(messages) > 100
    assert all("disk is full" in message and str(path) in message for message in messages)
    assert capfd.readouterr().err == ""
    assert_whole(path)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_disk_that_fails_while_a_file_is_closed_is_said(path: Path) -> None:
    class Failing:
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def close(self) -> None:
            self.stream.close()
            raise OSError(5, "Input/output error")

    writer = FeatureWriter(path, IDENTITY, DIM, PLAN)
    writer._stream = Failing(writer._stream)
    with pytest.raises(UserError, match="drive failed"), writer:
        raise OSError(5, "Input/output error")


def test_another_error_of_the_disk_keeps_its_traceback(path: Path) -> None:
    assert files.explanation_of(PermissionError(13, "Permission denied"), path) is None
    path.parent.write_text("a file where a folder should be")
    with pytest.raises(OSError):
        FeatureWriter(path, IDENTITY, DIM, PLAN)


def test_no_call_of_hdf5_is_made_for_each_row(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It takes a hundred times as long as the writing.
    with FeatureWriter(path, IDENTITY, DIM, PLAN) as writer, monkeypatch.context() as patch:
        for name in ("__setitem__", "write_direct"):
            patch.setattr(h5py.Dataset, name, None)
        writer.write(rows(3, 0, 1, 4, 2))
        writer.finish()
    assert_whole(path)


def test_rows_are_whole_where_the_system_takes_a_part_of_them_at_a_time(path: Path) -> None:
    class Slow:
        def __init__(self, stream: Any) -> None:
            self.seek, self.close, self.take = stream.seek, stream.close, stream.write

        def write(self, content: bytes) -> int:
            return int(self.take(content[:5]))

    with FeatureWriter(path, IDENTITY, DIM, PLAN) as writer:
        writer._stream = Slow(writer._stream)
        writer.write(rows(*writer.missing))
        writer.finish()
    assert_whole(path)
    assert all(FeatureFile(path).is_intact(row) for row in range(len(PLAN)))
