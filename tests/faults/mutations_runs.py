"""Mutations of the files of a run, of a saved state and of a packed model, and what their readers make of them.

A mutated file must be refused with one message, or give what the unmutated one gave.
"""

import dataclasses
import functools
import json
import shutil
import signal
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from helpers.run_example import EPOCHS, TRUTH, write_fold, write_import, write_run

from faults.mutated_files import changed, mutate, mutate_bytes
from mmer_pipeline import paths
from mmer_pipeline.digests import digest_of_result
from mmer_pipeline.errors import UserError
from mmer_pipeline.prediction.packing import pack
from mmer_pipeline.prediction.trained_model import Member, TrainedModel, read_packed_model
from mmer_pipeline.report.imported_results import Import, read_imports
from mmer_pipeline.report.run_results import read_systems
from mmer_pipeline.sealed_json import SEAL
from mmer_pipeline.settings import Settings
from mmer_pipeline.training import checkpoint

SECONDS = 20  # a reader that takes longer hangs
REFUSED, SAME = "refused", "same"
FOLD_FILES = (
    "settings.json", "metrics.jsonl", "evaluation.json", "predictions.csv", "model/config.json",
    "model/model.safetensors", "model-validated/config.json", "model-validated/model.safetensors",
    "predictions-validated.csv",
)  # fmt: skip


def run(seed: int, directory: Path) -> str:
    """Make one mutated input from the seed in `directory` and read it; returns "refused" or "same".

    Raises:
        AssertionError: the reader gave another result than of the unmutated input, failed otherwise than by a message,
            or took too long.
    """
    random = Random(seed)
    case = random.choices((_fold, _state, _packed), (6, 2, 2))[0]
    with _limited(f"seed {seed}, {case.__name__}"):
        return case(random, directory / "mutated")


def run_unproven(seed: int, directory: Path) -> str:
    """Do the same with files that have no digest: those of earlier versions, and imported predictions.

    That such a file says something else than it was written with cannot always be noticed: this is "read".
    """
    random = Random(seed)
    case = random.choice((_old_fold, _old_packed, _import))
    with _limited(f"seed {seed}, {case.__name__}"):
        return case(random, directory / "mutated")


@contextmanager
def _limited(name: str) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{name}: {error}") from error
    except Exception as error:
        raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _check_message(text: str) -> None:
    assert text.strip(), "a message without words"
    assert len(text) < 20_000, f"a message of {len(text)} characters: {text[:200]}"


def _read(reader: Callable[[], Any], expected: Any) -> str:
    try:
        found = reader()
    except UserError as error:
        _check_message(str(error))
        return REFUSED
    assert found == expected, f"another result: {str(found)[:500]}, expected {str(expected)[:500]}"
    return SAME


# --- runs -------------------------------------------------------------------------------------------------


@functools.cache
def _runs() -> Path:
    """Two runs of three folds, one of them with validated models."""
    directory = Path(tempfile.mkdtemp(prefix="mmer-mutations-"))
    write_run(directory / "plain", epochs=3)
    write_run(directory / "other", epochs=3, alpha=0.5, flipped=1)
    for number in TRUTH:
        chosen_on = [([0, 1], [0, epoch % 2]) for epoch in range(3)]
        write_fold(directory / "validated", number, TRUTH[number], EPOCHS[number], chosen_on, epochs=3,
                   validation="speaker", validated=EPOCHS[number][1])  # fmt: skip
    return directory


def _results(run: Path) -> tuple[list[Any], dict[int | None, str]]:
    """All that the report reads of a run, by fold, and the folds that are missing."""
    systems, holes = read_systems([run])
    (results,) = systems[0].runs
    return [_plain(fold) for fold in results.folds], {hole.fold: hole.why for hole in holes}


@functools.cache
def _unmutated(name: str) -> tuple[Any, ...]:
    folds, holes = _results(_runs() / name)
    assert not holes
    return tuple(folds)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [_plain(entry) for entry in value] if isinstance(value, tuple) else value


def _fold(random: Random, directory: Path) -> str:
    name = random.choice(("plain", "validated"))
    run, number = _copy(_runs() / name, directory / name), random.choice(list(TRUTH))
    fold = paths.fold(run, number).directory
    files = [fold / file for file in FOLD_FILES if (fold / file).is_file()]
    if random.random() < 0.1:  # as a wrong `cp -r` does
        source = random.choice((run, _runs() / "other", _runs() / "plain", _runs() / "validated"))
        other = paths.fold(source, random.choice(list(TRUTH))).directory
        _swap(random, fold, other)
    else:
        mutate(random, random.choice(files))

    def reader() -> Any:
        folds, holes = _results(run)
        if name == "validated" and not paths.fold(run, number).validated_weights.is_file():
            # Without this model, its scores are those of metrics.jsonl.
            return list(_unmutated(name))
        expected = [fold for fold in _unmutated(name) if fold["number"] not in holes]
        assert folds == expected, f"another result: {str(folds)[:500]}"
        if holes:
            raise UserError(" ".join(holes.values()))
        return folds

    return _read(reader, list(_unmutated(name)))


def _swap(random: Random, fold: Path, other: Path) -> None:
    """Put a file of another fold, or all of them, in place of those of a fold."""
    names = [path.relative_to(other) for path in other.rglob("*") if path.is_file()]
    for name in random.choice((names, [random.choice(names)])):
        if (other / name) != (fold / name):
            (fold / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(other / name, fold / name)


def _old_fold(random: Random, directory: Path) -> str:
    run, number = _copy(_runs() / "plain", directory / "plain"), random.choice(list(TRUTH))
    fold = paths.fold(run, number)
    for path in (fold.settings, fold.evaluation):
        _write_json(path, {key: value for key, value in _json(path).items() if key not in (SEAL, "files")})
    mutate(random, random.choice((fold.settings, fold.settings, fold.evaluation, fold.metrics)))
    return _outcome(lambda: _results(run))


def _outcome(reader: Callable[[], Any]) -> str:
    try:
        reader()
    except UserError as error:
        _check_message(str(error))
        return REFUSED
    return "read"


# --- the saved state --------------------------------------------------------------------------------------


def _trained() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    return model, torch.optim.AdamW(model.parameters(), lr=0.1)


@functools.cache
def _state_bytes() -> bytes:
    model, optimiser = _trained()
    model(torch.ones(2, 3)).square().sum().backward()
    optimiser.step()
    progress = checkpoint.Progress("me", epoch=2, step=3, utterances=9, ce_sum=1.5, ctc_sum=0.25, records="digest")
    progress.gradients.add([2.5, 0.5, 2.0], limit=1.0)
    path = _runs() / "checkpoint.safetensors"
    checkpoint.save(path, model, optimiser, progress)
    return path.read_bytes()


def _loaded(path: Path) -> Any:
    model, optimiser = _trained()
    progress = checkpoint.load(path, model, optimiser, "me")
    values = [parameter.detach().numpy().tobytes() for parameter in model.parameters()]
    moments = [
        {key: value.numpy().tobytes() for key, value in optimiser.state[parameter].items()}
        for parameter in model.parameters()
    ]
    return progress, values, moments


@functools.cache
def _expected_state() -> Any:
    path = _runs() / "checkpoint.safetensors"
    _state_bytes()
    return _loaded(path)


@functools.cache
def _untrained() -> Any:
    return _loaded(_runs() / "no such state")


def _state(random: Random, directory: Path) -> str:
    path = directory / "checkpoint.safetensors"
    _new(directory)
    expected = _expected_state()
    path.write_bytes(_state_bytes())
    (_mutate_safetensors if random.random() < 0.7 else mutate_bytes)(random, path)
    if not path.exists():
        expected = _untrained()  # training begins again
    return _read(lambda: _loaded(path), expected)


def _mutate_safetensors(random: Random, path: Path) -> None:
    """Change the header: names, shapes, types, places and metadata of tensors."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    if random.random() < 0.3:
        facts = json.loads(header["__metadata__"]["progress"])
        header["__metadata__"]["progress"] = json.dumps(changed(random, facts))
    elif random.random() < 0.3:
        names = [name for name in header if name != "__metadata__"]
        one, two = random.sample(names, 2)
        header[one], header[two] = header[two], header[one]
    else:
        header = changed(random, header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


# --- packed models ----------------------------------------------------------------------------------------


@functools.cache
def _packed_model() -> Path:
    """An ensemble of two members whose weights are a few bytes: reading it checks digests only."""
    source, packed = _runs() / "members", _runs() / "packed"
    members = []
    for fold in (1, 2):
        place = source / str(fold)
        place.mkdir(parents=True)
        (place / paths.MODEL_CONFIG_NAME).write_text(json.dumps({"labels": ["happy", "sad"], "fold": fold}))
        (place / paths.WEIGHTS_NAME).write_bytes(bytes(range(fold, 100)))
        digests = [digest_of_result(place / name) for name in (paths.WEIGHTS_NAME, paths.MODEL_CONFIG_NAME)]
        members.append(Member(place, fold, str(fold), digests[0], 3, digests[1]))
    model = TrainedModel(
        "mmer", Settings(fold=1, system="wav2vec2"), ("happy", "sad"), tuple(members), None, "made up", 12,
        {"numpy": "2"}
    )  # fmt: skip
    pack(model, packed, cross_validation=None)
    return packed


def _packed(random: Random, directory: Path) -> str:
    expected = _described(_packed_model())
    packed = _copy(_packed_model(), directory / "packed")
    names = ("mmer_model.json", "mmer_model.json", *(f"fold-{n}/{name}" for n in (1, 2)
             for name in (paths.WEIGHTS_NAME, paths.MODEL_CONFIG_NAME)))  # fmt: skip
    mutate(random, packed / random.choice(names))
    return _read(lambda: _described(packed), expected)


def _described(packed: Path) -> Any:
    model = read_packed_model(packed)
    members = [dataclasses.replace(member, directory=member.directory.relative_to(packed)) for member in model.members]
    contents = [
        (packed / member.directory / name).read_bytes()
        for member in members
        for name in (paths.WEIGHTS_NAME, paths.MODEL_CONFIG_NAME)
    ]
    return dataclasses.replace(model, members=tuple(members), packed=None), contents


def _old_packed(random: Random, directory: Path) -> str:
    packed = _copy(_packed_model(), directory / "packed")
    path = packed / paths.MODEL_DESCRIPTION
    _write_json(path, {key: value for key, value in _json(path).items() if key != SEAL})
    mutate(random, path)
    return _outcome(lambda: read_packed_model(packed).digest)


def _import(random: Random, directory: Path) -> str:
    path = write_import(_new(directory) / "theirs.csv", flipped=1)
    if random.random() < 0.5:
        cells = [line.split(",") for line in path.read_text().splitlines()]
        rows = [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]
        path = path.with_suffix(".json")
        _write_json(path, random.choice((rows, {"predictions": rows}, {row["utterance_id"]: row for row in rows})))
    mutate(random, path)
    known = random.random() < 0.5
    systems = read_systems([_runs() / "plain"])[0] if known else []
    labels = ["happy", "sad"] if known else []
    return _outcome(lambda: read_imports([Import(path)], systems, labels, []))


# --- files ------------------------------------------------------------------------------------------------


def _new(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def _copy(source: Path, target: Path) -> Path:
    _new(target.parent)
    return Path(shutil.copytree(source, target))


def _json(path: Path) -> Any:
    return json.loads(path.read_text())


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))
