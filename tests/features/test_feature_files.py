"""Reading a feature file: the values that were written, and the files that are refused."""

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.feature_files import (
    DIM,
    IDENTITY,
    INPUTS,
    LENGTHS,
    PLAN,
    assert_whole,
    missing,
    partial_of,
    rows,
    values_of,
    write,
)

from mmer_pipeline.digests import digest_of, digest_of_recording
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.feature_file import SCHEMA_VERSION, FeatureFile, FeatureIdentity, Row, open_features
from mmer_pipeline.features.feature_writer import FeatureWriter, update_stamps

EXTRACT = "mmer-pipe extract --some-option"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "features" / "text.h5"


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


def test_a_file_cut_short_while_it_is_read_is_one_message(path: Path) -> None:
    write(path)
    file = FeatureFile(path, EXTRACT)
    np.testing.assert_array_equal(file.at(0), values_of(0))
    os.truncate(path, path.stat().st_size - 1)  # mapped values would end the process with SIGBUS
    np.testing.assert_array_equal(file.at(3), values_of(3))
    with pytest.raises(UserError, match=f"was cut short while it was being read.*{EXTRACT}"):
        file.at(4)


def test_values_changed_while_they_are_read_are_refused_and_new_stamps_are_not(path: Path) -> None:
    write(path)
    file = FeatureFile(path, EXTRACT)
    file.at(0)
    update_stamps(path, {PLAN[1].utterance_id: digest_of(b"touched")})
    np.testing.assert_array_equal(file.at(1), values_of(1))
    with h5py.File(path, "r+") as changed:
        changed["values"][-1, -1] += 1
    np.testing.assert_array_equal(file.at(3), values_of(3))
    with pytest.raises(UserError, match=f"{PLAN[4].utterance_id} were changed while.*{EXTRACT}"):
        file.at(4)


def sum_of(file: FeatureFile, number: int) -> float:
    return float(file.at(number).sum(dtype=np.float64))


def test_a_reader_goes_to_another_process(path: Path) -> None:
    write(path)
    file = FeatureFile(path)
    expected = [sum_of(file, number) for number in range(len(PLAN))]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.starmap(sum_of, [(file, number) for number in range(len(PLAN))]) == expected


def test_a_reader_never_mixes_its_offsets_with_the_values_of_a_newer_file(path: Path) -> None:
    write(path)
    opened, unopened = FeatureFile(path), FeatureFile(path)
    opened.at(0)
    with FeatureWriter(path, IDENTITY, DIM, PLAN[::-1]) as writer:
        writer.finish()
    np.testing.assert_array_equal(opened.at(4), values_of(4))
    with pytest.raises(UserError, match="was replaced"):
        unopened.at(4)


def test_where_the_encoder_lies_does_not_matter(path: Path) -> None:
    write(path)
    elsewhere = replace(IDENTITY, encoder="/a/copy", revision="")
    assert missing(path, identity=elsewhere) == []
    assert open_features(path, elsewhere, INPUTS, EXTRACT).complete


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


def test_a_long_identity_is_cut_in_the_message(path: Path) -> None:
    write(path, replace(IDENTITY, layer="x" * 10_000))
    with pytest.raises(UserError, match=r"layer is 'x{99}, expected 'last_hidden_state'") as caught:
        open_features(path, IDENTITY, INPUTS, EXTRACT)
    assert len(str(caught.value)) < 600


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


@pytest.mark.parametrize("content", [b"", b"a recording", bytes(range(256)) * 5000])
def test_a_file_s_digest_is_that_of_its_bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assert digest_of_recording(path) == digest_of(content)
