"""Values that are not those that were computed: training refuses them, and extraction computes exactly them again."""

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.feature_files import DIM, IDENTITY, INPUTS, PLAN, missing, partial_of, write
from helpers.pipeline import Silent, extract_for, metrics, quick_settings, train

from mmer_pipeline import paths
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.extraction import Execution, extract
from mmer_pipeline.features.feature_file import FeatureFile, open_features, value_digest
from mmer_pipeline.features.feature_writer import update_stamps
from mmer_pipeline.features.required_features import requests_of
from mmer_pipeline.features.verification import damaged_rows, note_intact, refuse_damaged
from mmer_pipeline.settings import Settings
from mmer_pipeline.training.evaluation import evaluate_fold

EXTRACT = "mmer-pipe extract --some-option"
IDS = [row.utterance_id for row in PLAN]
settings = pytest.fixture(quick_settings)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "features" / "text.h5"
    write(path)
    return path


def damaged(path: Path, dim: int | None = DIM) -> list[str]:
    return damaged_rows(open_features(path, IDENTITY, INPUTS, EXTRACT), lambda: dim)


def reverse(file: h5py.File) -> None:
    file["values"][:] = file["values"][()][::-1]


def exchange(file: h5py.File) -> None:
    file["values"][[4, 5]] = file["values"][()][[5, 4]]  # the row of utterance 1, and the first one of utterance 2


def shift(file: h5py.File) -> None:
    file["offsets"][2] += 1


def not_a_number(file: h5py.File) -> None:
    """NaN whose digest is right."""
    file["values"][4, 0] = np.nan
    file["value_digest"][1] = value_digest(file["values"][4:5]).encode()


def infinite(file: h5py.File) -> None:
    file["values"][4, 0] = -np.inf
    file["value_digest"][1] = value_digest(file["values"][4:5]).encode()


def another_digest(file: h5py.File) -> None:
    file["value_digest"][3] = b"0" * 32


@pytest.mark.parametrize(
    ("mutate", "rows"),
    [
        (reverse, [0, 1, 2, 3, 4]),
        (exchange, [1, 2]),
        (shift, [1, 2]),
        (not_a_number, [1]),
        (infinite, [1]),
        (another_digest, [3]),
    ],
)
def test_values_that_were_not_computed_are_refused_and_they_alone_are_computed_again(
    mutate: Callable[[h5py.File], None], rows: list[int], path: Path
) -> None:
    assert damaged(path) == []
    with h5py.File(path, "r+") as file:
        mutate(file)
    assert damaged(path) == [IDS[row] for row in rows]
    with pytest.raises(UserError) as caught:
        refuse_damaged(FeatureFile(path, EXTRACT), lambda: DIM)
    for words in (str(path), f"{len(rows)} of 5 utterances", IDS[rows[0]], EXTRACT):
        assert words in str(caught.value)
    assert missing(path) == rows


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_only_what_is_finite_is_intact(path: Path, dtype: str, value: float) -> None:
    from mmer_pipeline.features.feature_file import _finite

    largest = np.finfo(dtype).max
    values = np.array([[0.0, largest, -largest]], dtype=dtype)
    assert _finite(values)
    assert _finite(values[:0])
    values[0, 1] = value
    assert not _finite(values)


def test_rows_of_another_length_than_the_encoder_s_are_all_refused(path: Path) -> None:
    assert damaged(path, dim=DIM + 1) == IDS
    assert damaged(path) == []


def test_a_file_is_read_once_and_again_after_each_change(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    intact = FeatureFile.is_intact
    monkeypatch.setattr(FeatureFile, "is_intact", lambda file, row: read.append(row) or intact(file, row))
    for _ in range(3):
        assert damaged(path) == []
    assert sorted(read) == [0, 1, 2, 3, 4]
    times = path.stat()
    with h5py.File(path, "r+") as file:
        file["values"][-1, -1] += 1
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as if it had not been changed
    assert damaged(path) == damaged(path) == [IDS[4]]
    assert len(read) == 15
    write(path)
    update_stamps(path, {IDS[0]: PLAN[1].stamp})
    note_intact(path)
    assert damaged(path) == []
    assert len(read) == 20  # by the writer


def test_a_file_whose_encoder_is_not_known_is_not_noted_as_intact(path: Path) -> None:
    assert damaged(path, dim=None) == []
    assert damaged(path, dim=DIM + 1) == IDS


def test_a_note_that_cannot_be_written_or_read_costs_only_time(path: Path) -> None:
    paths.verified_features(path).mkdir()
    assert damaged(path) == []
    paths.verified_features(path).rmdir()
    paths.verified_features(path).write_bytes(b"\xff")
    assert damaged(path) == []


def test_a_partial_file_is_no_finished_one(path: Path) -> None:
    path.rename(partial_of(path))
    assert missing(path) == []


@pytest.mark.parametrize("kind", ["text", "speech"])
def test_training_and_evaluation_refuse_what_extraction_then_mends(
    kind: str, manifest: Manifest, settings: Settings
) -> None:
    extract_for(settings, manifest)
    train(settings, manifest)
    expected = metrics()
    request = next(request for request in requests_of(settings) if request.kind == kind)
    path = request.path(Path("cache"), manifest.path)
    whole = path.read_bytes()
    with h5py.File(path, "r+") as file:
        file["values"][:] = file["values"][()][::-1]
        file["values"][0] = np.nan
    refused = r"values of 16 of 16 utterances .*\. Run `mmer-pipe extract"
    with pytest.raises(UserError, match=refused):
        evaluate_fold(Path("runs/mmer"), 1, cache=Path("cache"), device="cpu")
    with pytest.raises(UserError, match=refused):
        train(settings, manifest, restart=True)
    assert metrics() == expected  # nothing was lost
    quiet = Execution("cpu", "threads", lambda *_: None)
    assert extract(request, manifest, Path("cache"), quiet).computed == 16
    assert path.read_bytes() == whole
    assert extract(request, manifest, Path("cache"), quiet).computed == 0
    evaluate_fold(Path("runs/mmer"), 1, cache=Path("cache"), device="cpu")
    train(settings, manifest, restart=True)
    assert metrics() == expected


def test_features_cut_short_while_a_run_trains_end_it_with_a_message_and_it_goes_on_once_they_are_mended(
    manifest: Manifest, settings: Settings
) -> None:
    extract_for(settings, manifest)
    train(settings, manifest, run=Path("runs/undisturbed"))
    path = requests_of(settings)[-1].path(Path("cache"), manifest.path)

    class Cutter(Silent):
        def epoch(self, record: object, epochs: int) -> None:  # noqa: ARG002
            os.truncate(path, path.stat().st_size // 3)

    with pytest.raises(UserError, match=r"was cut short while it was being read. Run `mmer-pipe extract"):
        train(settings, manifest, observer=Cutter(), save_seconds=0.0)
    extract_for(settings, manifest)
    assert train(settings, manifest)
    assert metrics() == metrics("runs/undisturbed")


def test_rows_of_another_length_are_computed_again(manifest: Manifest, settings: Settings) -> None:
    extract_for(settings, manifest)
    request = requests_of(settings)[0]
    path = request.path(Path("cache"), manifest.path)
    whole = path.read_bytes()
    with h5py.File(path, "r+") as file:
        values, offsets = file["values"][()], file["offsets"][()]
        del file["values"], file["offsets"]
        file["values"], file["offsets"] = values.reshape(-1, values.shape[1] // 2), 2 * offsets
    with pytest.raises(UserError, match="values of 16 of 16 utterances"):
        train(settings, manifest)
    extract_for(settings, manifest)
    assert path.read_bytes() == whole
