"""The feature store: what is written is what is read, whatever happens in between."""

import mmap
import multiprocessing
import os
import pickle
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

from mmer_pipeline import files
from mmer_pipeline.digests import digest_of, digest_of_recording
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.feature_file import SCHEMA_VERSION, FeatureFile, FeatureIdentity, Row, open_features
from mmer_pipeline.features.feature_writer import FeatureWriter, update_stamps

DIM = 3
LENGTHS = (4, 1, 7, 2, 5)
PLAN = [
    Row(f"utterance {number} ü", digest_of(bytes([number])), length, digest_of(b"stamp", bytes([number])))
    for number, length in enumerate(LENGTHS)
]
INPUTS = {row.utterance_id: row.input_digest for row in PLAN}
IDENTITY = FeatureIdentity("text", "some/encoder", "abc", "0123456789abcdef", "last_hidden_state", "strip", "float16")
EXTRACT = "mmer-pipe extract --some-option"


def values_of(number: int, dtype: str = "float16") -> np.ndarray:
    generator = np.random.default_rng(number)
    return generator.normal(size=(PLAN[number].length, DIM)).astype(np.float32).astype(dtype)


def rows(*numbers: int, dtype: str = "float16") -> list[tuple[int, np.ndarray]]:
    return [(number, values_of(number, dtype)) for number in numbers]


def write(path: Path, identity: FeatureIdentity = IDENTITY) -> None:
    with FeatureWriter(path, identity, DIM, PLAN) as writer:
        writer.write(rows(*writer.missing, dtype=identity.dtype))
        writer.finish()


def missing(path: Path, plan: list[Row] = PLAN, identity: FeatureIdentity = IDENTITY) -> list[int]:
    """What a writer that starts now would have to compute."""
    with FeatureWriter(path, identity, DIM, plan) as writer:
        return writer.missing


def assert_whole(path: Path, dtype: str = "float16") -> None:
    file = FeatureFile(path)
    assert file.complete
    for number, row in enumerate(PLAN):
        np.testing.assert_array_equal(file.rows(row.utterance_id), values_of(number, dtype))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "features" / "text.h5"


def partial_of(path: Path) -> Path:
    return path.with_suffix(".partial.h5")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_is_read_is_what_was_written(path: Path, dtype: str) -> None:
    write(path, replace(IDENTITY, dtype=dtype))
    assert_whole(path, dtype)
    file = FeatureFile(path)
    assert file.rows(PLAN[0].utterance_id).dtype == dtype
    assert (file.shape, file.dim) == ((sum(LENGTHS), DIM), DIM)
    assert [file.length(row) for row in range(len(PLAN))] == list(LENGTHS)
    assert file.utterance_ids == [row.utterance_id for row in PLAN]
    assert file.input_digests == [row.input_digest for row in PLAN]
    assert file.stamps == [row.stamp for row in PLAN]
    assert all(file.is_intact(row) for row in range(len(PLAN)))
    assert file.identity == replace(IDENTITY, dtype=dtype)
    assert {"torch", "transformers", "h5py"} <= set(file.versions)


def test_the_file_is_what_the_design_says_to_any_hdf5_reader(path: Path) -> None:
    write(path)
    with h5py.File(path) as file:
        assert file.attrs["schema_version"] == SCHEMA_VERSION
        assert file["values"].chunks is None
        assert (file["values"].dtype, file["offsets"].dtype) == (np.float16, np.int64)
        np.testing.assert_array_equal(file["offsets"][:], np.cumsum([0, *LENGTHS]))
        np.testing.assert_array_equal(file["values"][:], np.concatenate([values_of(n) for n in range(len(PLAN))]))


def test_rows_are_mapped_and_not_read(path: Path) -> None:
    write(path)
    file = FeatureFile(path)
    mapped = file.at(2)
    owner = mapped
    while isinstance(owner, np.ndarray):
        owner = owner.base
    assert isinstance(owner, mmap.mmap)
    assert not mapped.flags.writeable
    assert np.shares_memory(mapped, file.rows(PLAN[2].utterance_id))


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


def sum_of(file: FeatureFile, number: int) -> float:
    return float(file.at(number).sum(dtype=np.float64))


def test_a_reader_goes_to_another_process(path: Path) -> None:
    write(path)
    file = FeatureFile(path)
    expected = [sum_of(file, number) for number in range(len(PLAN))]
    assert b"memmap" not in pickle.dumps(file)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.starmap(sum_of, [(file, number) for number in range(len(PLAN))]) == expected


def test_a_reader_never_mixes_its_offsets_with_the_values_of_a_newer_file(path: Path) -> None:
    write(path)
    mapped, unmapped = FeatureFile(path), FeatureFile(path)
    mapped.at(0)
    with FeatureWriter(path, IDENTITY, DIM, PLAN[::-1]) as writer:
        writer.finish()
    np.testing.assert_array_equal(mapped.at(4), values_of(4))
    with pytest.raises(UserError, match="was replaced"):
        unmapped.at(4)


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
        from test_feature_files import DIM, IDENTITY, PLAN, FeatureWriter, rows
        writer = FeatureWriter(Path({str(path)!r}), IDENTITY, DIM, PLAN)
        writer.write(rows(0, 4))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert python(script).returncode == -9
    assert missing(path) == [1, 2, 3]


def python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
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


def test_where_the_encoder_lies_does_not_matter(path: Path) -> None:
    write(path)
    elsewhere = replace(IDENTITY, encoder="/a/copy", revision="")
    assert missing(path, identity=elsewhere) == []
    assert open_features(path, elsewhere, INPUTS, EXTRACT).complete


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


def test_a_missing_file_is_said_with_the_command_that_makes_it(path: Path) -> None:
    with pytest.raises(UserError) as caught:
        open_features(path, IDENTITY, INPUTS, EXTRACT)
    assert str(path) in str(caught.value)
    assert EXTRACT in str(caught.value)


def test_a_file_cut_anywhere_is_refused_by_name(path: Path) -> None:
    write(path, replace(IDENTITY, dtype="float32"))
    whole = path.read_bytes()
    for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError) as caught:
            FeatureFile(path, EXTRACT)
        assert str(path) in str(caught.value)
        assert EXTRACT in str(caught.value)


def test_another_file_is_refused_by_name(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("not HDF5")
    with pytest.raises(UserError, match="not a complete feature file"):
        FeatureFile(path)
    with h5py.File(path, "w") as file:
        file["something"] = 1
    with pytest.raises(UserError, match="schema None, expected 1"):
        FeatureFile(path)


@pytest.mark.parametrize("name", ["values", "offsets", "utterance_id", "value_digest", "input_stamp"])
def test_a_file_without_one_of_its_parts_is_refused(path: Path, name: str) -> None:
    write(path)
    with h5py.File(path, "r+") as file:
        del file[name]
    with pytest.raises(UserError, match="not a complete feature file"):
        FeatureFile(path)


def test_another_schema_is_refused_with_both_numbers(path: Path) -> None:
    write(path)
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = SCHEMA_VERSION + 1
    with pytest.raises(UserError, match=f"schema {SCHEMA_VERSION + 1}, expected {SCHEMA_VERSION}"):
        FeatureFile(path)


def test_another_identity_is_refused_with_both_sides(path: Path) -> None:
    write(path)
    with pytest.raises(UserError) as caught:
        open_features(path, replace(IDENTITY, encoder_digest="fedcba", policy="keep"), INPUTS, EXTRACT)
    for words in (
        "encoder digest is '0123456789abcdef', expected 'fedcba'",
        "policy is 'strip', expected 'keep'",
        str(path),
        EXTRACT,
    ):
        assert words in str(caught.value)


def test_features_of_a_changed_corpus_are_refused_with_the_utterances(path: Path) -> None:
    write(path)
    changed = {**INPUTS, PLAN[3].utterance_id: digest_of(b"changed"), "new": digest_of(b"new")}
    with pytest.raises(UserError) as caught:
        open_features(path, IDENTITY, changed, EXTRACT)
    for words in ("out of date", "2 of 6", PLAN[3].utterance_id, "new", EXTRACT):
        assert words in str(caught.value)


def test_features_of_a_larger_corpus_serve_a_part_of_it(path: Path) -> None:
    write(path)
    part = {PLAN[1].utterance_id: PLAN[1].input_digest}
    np.testing.assert_array_equal(open_features(path, IDENTITY, part, EXTRACT).rows(PLAN[1].utterance_id), values_of(1))


def test_a_file_in_which_rows_are_missing_is_refused(path: Path) -> None:
    with FeatureWriter(path, IDENTITY, DIM, PLAN) as writer:
        writer.write(rows(0))
    partial_of(path).rename(path)
    with pytest.raises(UserError, match=r"incomplete: 4 of 5 utterances .*" + EXTRACT):
        open_features(path, IDENTITY, INPUTS, EXTRACT)


def test_the_digest_names_identity_and_inputs_and_not_the_order_or_place(path: Path, tmp_path: Path) -> None:
    def digest(name: str, plan: list[Row], identity: FeatureIdentity = IDENTITY) -> str:
        other = tmp_path / f"{name}.h5"
        with FeatureWriter(other, identity, DIM, plan) as writer:
            writer.write([(n, np.zeros((plan[n].length, DIM))) for n in writer.missing])
            writer.finish()
        file = FeatureFile(other)
        return file.digest(file.utterance_ids)

    write(path)
    whole = FeatureFile(path)
    expected = whole.digest(whole.utterance_ids)
    assert digest("reversed", PLAN[::-1]) == expected
    assert digest("moved", PLAN, replace(IDENTITY, encoder="/a/copy")) == expected
    assert digest("fewer", PLAN[1:]) != expected
    assert digest("fewer again", PLAN[1:]) == whole.digest(whole.utterance_ids[1:])
    assert digest("changed", [replace(PLAN[0], input_digest=digest_of(b"x")), *PLAN[1:]]) != expected
    assert digest("policy", PLAN, replace(IDENTITY, policy="keep")) != expected


def test_digests_depend_on_where_parts_begin() -> None:
    assert digest_of(b"ab", b"c") != digest_of(b"a", b"bc")


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
    """What a writer says where no file may grow beyond `limit` bytes; rows from `start` on have changed."""
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


def test_another_error_of_the_disk_keeps_its_traceback(path: Path) -> None:
    assert not files.is_disk_full(PermissionError(13, "Permission denied"))
    path.parent.write_text("a file where a folder should be")
    with pytest.raises(OSError):
        FeatureWriter(path, IDENTITY, DIM, PLAN)


@pytest.mark.parametrize("content", [b"", b"a recording", bytes(range(256)) * 5000])
def test_a_file_s_digest_is_that_of_its_bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assert digest_of_recording(path) == digest_of(content)


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
