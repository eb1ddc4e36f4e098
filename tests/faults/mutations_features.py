"""Mutate a feature file or an encoder; it must be refused in one message, or give what it gave before.

The reader runs in a child: what kills it (a fault in HDF5's own library) or never ends is found, too.
"""

import json
import os
import random
import shutil
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from helpers.feature_files import DIM, IDENTITY, INPUTS, PLAN, assert_whole, rows, values_of, write

from mmer_pipeline.demo.encoders import tiny_speech_encoder, tiny_text_encoder
from mmer_pipeline.encoders.encoder_files import EncoderFiles, resolve_encoder
from mmer_pipeline.encoders.speech import load_speech_encoder, speech_outline
from mmer_pipeline.encoders.text import TextEncoder, TextTokenizer
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.feature_file import FeatureFile, open_features
from mmer_pipeline.features.feature_writer import FeatureWriter
from mmer_pipeline.features.hdf5_parts import FAULTS
from mmer_pipeline.features.verification import refuse_damaged

CASES = ("features", "text encoder", "speech encoder")
SECONDS = 300  # of one trial; usually it takes a few milliseconds, on a machine that is not busy
MESSAGE = 1000  # characters of a message
REFUSED, SAME = "refused", "same"
WORDS = ["That is good.", "", "oh no"]

ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"), "", "x", "\0", "é" * 300,
    "../../x", [], [[]], [1, [2]], ["x"] * 9, {}, {"x": {"y": 1}}, "relu", "float16", "bert", "wav2vec2", 3.5,
]  # fmt: skip


def run(seed: int, directory: Path) -> str:
    """Make one mutated input from the seed, read it, and return "refused" or "same".

    `directory` keeps the inputs that are mutated, between calls.

    Raises:
        AssertionError: a wrong result, a traceback, a message that is too long, a crash, or no end.
    """
    _original(directory, "features"), _original(directory, "text encoder"), _original(directory, "speech encoder")
    reader = _reader()
    try:
        said = reader.submit(_trial, seed, directory).result(SECONDS)
    except (BrokenProcessPool, TimeoutError) as error:
        for child in reader._processes.values():
            child.kill()
        _reader.cache_clear()
        raise AssertionError(f"seed {seed}: the reader was killed, or did not end ({error!r})") from None
    assert said in (REFUSED, SAME), f"seed {seed}: {said}"
    return said


@lru_cache
def _reader() -> ProcessPoolExecutor:
    """A child in which trials run one after another."""
    return ProcessPoolExecutor(1, get_context("fork"), _quiet)


def _quiet() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the panics of tokenizers
    warnings.simplefilter("ignore")


def _trial(seed: int, directory: Path) -> str:
    generator = random.Random(seed)
    case = generator.choices(CASES, (8, 1, 1))[0]
    place = Path(tempfile.mkdtemp(dir=directory))
    try:
        mutate = _features if case == "features" else _encoder
        return mutate(generator, place, _original(directory, case))
    except Exception:
        return traceback.format_exc()[-3000:]
    finally:
        shutil.rmtree(place)


@lru_cache
def _original(directory: Path, case: str) -> Path:
    """The input that a case mutates."""
    path = directory / "original" / {"features": "text.h5"}.get(case, case.replace(" ", "-"))
    if not path.exists():
        if case == "features":
            write(path)
        elif case == "text encoder":
            tiny_text_encoder(path, WORDS)
        else:
            tiny_speech_encoder(path)
    return path


def _checked(error: UserError, place: Path) -> str:
    message = str(error)
    assert len(message) < MESSAGE, f"a message of {len(message)} characters: {message}"
    assert str(place) in message, message
    return REFUSED


# --- feature files ---------------------------------------------------------------------------------------------------


def _features(generator: random.Random, place: Path, original: Path) -> str:
    path = Path(shutil.copy(original, place))
    shutil.copy(original, place / "other.h5")  # for links to it; HDF5 may write to it
    for _ in range(generator.choice([1, 1, 1, 2, 3])):
        if generator.random() < 0.5:
            path.write_bytes(mutated_bytes(generator, path.read_bytes()))
        else:
            try:
                with h5py.File(path, "r+") as file:
                    generator.choice(HDF5_MUTATIONS)(generator, file)
            except (*FAULTS, AttributeError):
                continue  # it was broken before
    try:
        file = refuse_damaged(open_features(path, IDENTITY, INPUTS, "mmer-pipe extract"), lambda: DIM)
        for number, row in enumerate(PLAN):
            np.testing.assert_array_equal(file.rows(row.utterance_id), values_of(number))
        assert file.digest(INPUTS) == FeatureFile(original).digest(INPUTS)
        return SAME
    except UserError as error:
        said = _checked(error, place)
    with FeatureWriter(path, IDENTITY, DIM, PLAN) as writer:  # the command in the message mends it
        writer.write(rows(*writer.missing))
        writer.finish()
    assert_whole(path)
    return said


def mutated_bytes(generator: random.Random, content: bytes) -> bytes:
    """Change, remove, repeat or insert some bytes."""
    data = bytearray(content)
    first = generator.randrange(len(data) + 1)
    last = min(len(data), first + generator.choice([1, 2, 4, 8, 64, 512]))
    kind = generator.randrange(7)
    if kind <= 2:
        for _ in range(generator.choice([1, 1, 2, 8])):
            if data:
                data[generator.randrange(len(data))] = generator.choice([0, 1, 255, generator.randrange(256)])
    elif kind == 3:
        del data[first:]
    elif kind == 4:
        del data[first:last]
    elif kind == 5:
        data[first:first] = data[generator.randrange(len(data) + 1) :][: last - first]
    else:
        data[first:last] = bytes(last - first) if generator.random() < 0.5 else generator.randbytes(last - first)
    return bytes(data)


def _odd_attribute(generator: random.Random, file: h5py.File) -> None:
    name = generator.choice(list(file.attrs))
    del file.attrs[name]
    value = generator.choice([*ODD, np.zeros((3, 2)), h5py.Empty("f8"), b"\xff\xfe", "[" * 5000])
    if value is not None and generator.random() < 0.9:
        file.attrs[name] = value


def _odd_values(generator: random.Random, file: h5py.File) -> None:
    """Change some values in place: one becomes odd, two change places, all are reversed or mixed."""
    data = file[generator.choice(list(file))]
    values = data[()].copy()
    numbers = np.random.default_rng(generator.randrange(2**32))
    kind = generator.randrange(4)
    if kind == 0:
        at = tuple(generator.randrange(size) for size in values.shape)
        odd = [-1, 0, 1, 2**62, np.nan, np.inf] if values.dtype.kind in "fi" else [b"", b"\xff", b"x" * 99, b"0" * 32]
        values[at] = np.array(generator.choice(odd)).astype(values.dtype)
    elif kind == 1:
        one, other = (generator.randrange(len(values)) for _ in range(2))
        values[[one, other]] = values[[other, one]]
    else:
        values = values[::-1] if kind == 2 else numbers.permutation(values)
    data[...] = values


def _odd_dataset(generator: random.Random, file: h5py.File) -> None:
    """Replace a dataset by one of another type, shape or layout."""
    name = generator.choice(list(file))
    values = file[name][()]
    del file[name]
    changes: Sequence[Callable[[], Any]] = [
        lambda: values.reshape(-1, *values.shape[1:])[: generator.randrange(len(values) + 1)],
        lambda: values.ravel(),
        lambda: values[..., None],
        lambda: values.astype(generator.choice(["f8", ">f2", "f4", "i4", ">i8", "S3", "u1", "c8"])),
        lambda: np.concatenate([values, values[: generator.randrange(len(values))]]),
        lambda: np.repeat(values, 2, axis=-1),
        lambda: h5py.Empty(values.dtype),
        lambda: values[0],
    ]
    options = generator.choice([{}, {}, {"chunks": True}, {"compression": "gzip"}, {"maxshape": None}])
    file.create_dataset(name, data=generator.choice(changes)(), **options)


def _link(generator: random.Random, file: h5py.File) -> None:
    """Replace a dataset by a link, or by one whose values are in another file, or nowhere."""
    name, other = generator.choice(list(file)), generator.choice(list(file))
    shape, dtype = file[name].shape, file[name].dtype
    other_file = Path(file.filename).with_name("other.h5")
    del file[name]
    kind = generator.randrange(6)
    if kind == 0:
        file[name] = h5py.SoftLink(f"/{other}")
    elif kind == 1:
        file[name] = h5py.ExternalLink("other.h5", f"/{other}")
    elif kind == 2:
        layout = h5py.VirtualLayout(shape, dtype)
        layout[...] = h5py.VirtualSource("other.h5", name, shape)
        file.create_virtual_dataset(name, layout)
    elif kind == 3:
        file.create_dataset(name, shape, dtype, external=[(str(other_file), 0, h5py.h5f.UNLIMITED)])
    elif kind == 4:
        file.create_group(name)
    else:
        file.create_dataset(name, (2 ** generator.randrange(62), *shape[1:]), dtype)


def _exchange(generator: random.Random, file: h5py.File) -> None:
    """Give two datasets each other's names."""
    one, other = generator.sample(list(file), 2)
    file.move(one, "between")
    file.move(other, one)
    file.move("between", other)


HDF5_MUTATIONS = (_odd_attribute, _odd_values, _odd_values, _odd_dataset, _link, _exchange)


# --- encoders --------------------------------------------------------------------------------------------------------


def _encoder(generator: random.Random, place: Path, original: Path) -> str:
    directory = Path(shutil.copytree(original, place / "encoder"))
    for _ in range(generator.choice([1, 1, 2])):
        path = generator.choice(sorted(path for path in directory.iterdir() if path.name != "README.md"))
        content = path.read_bytes()
        if generator.random() < 0.25:
            path.write_bytes(mutated_bytes(generator, content))
        elif path.suffix == ".json":
            path.write_bytes(mutated_json(generator, content))
        else:
            size = int.from_bytes(content[:8], "little")
            header = mutated_json(generator, content[8 : 8 + size])
            length = len(header) if generator.random() < 0.9 else generator.choice([0, 1, size, 2**40, 2**63])
            path.write_bytes(length.to_bytes(8, "little") + header + content[8 + size :])
    use = _use_text if original.name == "text-encoder" else _use_speech
    try:
        files = resolve_encoder(str(directory))
        values, before = use(files), resolve_encoder(str(original))
        if files.digest() != before.digest():
            return REFUSED  # stored features and runs: they have the digest of the other encoder
        for mine, theirs in zip(values, use(before), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        return SAME
    except UserError as error:
        return _checked(error, place)


def _use_text(files: EncoderFiles) -> list[np.ndarray]:
    return TextEncoder(files, torch.device("cpu")).encode(TextTokenizer(files)(WORDS))


def _use_speech(files: EncoderFiles) -> list[np.ndarray]:
    outline = speech_outline(files)
    model = load_speech_encoder(files).eval()
    samples = max(4000, min(outline.receptive_field_samples, 100_000))
    if outline.frame_count(samples) < 1:
        return []
    frames = model.row_arrays(np.linspace(-1, 1, samples, dtype=np.float32)[None])
    with torch.inference_mode():
        context = model.context(torch.from_numpy(frames), torch.ones(frames.shape[:2], dtype=torch.bool))
    return [frames, context.numpy()]


def mutated_json(generator: random.Random, content: bytes) -> bytes:
    """Replace, remove, repeat or wrap one value of a JSON text; what is not JSON gets other bytes."""
    try:
        root = {"": json.loads(content)}
    except ValueError:
        return mutated_bytes(generator, content)
    node, key = root, ""
    while isinstance(child := node[key], dict | list) and child and (node is root or generator.random() < 0.8):
        node, key = child, generator.choice(list(child) if isinstance(child, dict) else range(len(child)))
    kind = generator.randrange(6)
    if kind == 0 and node is not root:
        del node[key]
    elif kind == 1:
        node[key] = [node[key]]
    elif kind == 2 and isinstance(node[key], int | float) and not isinstance(node[key], bool):
        node[key] = generator.choice([node[key] + 1, -node[key], node[key] * 1000, str(node[key])])
    elif kind == 3 and isinstance(node, dict) and node is not root:
        node[f"{key}x"] = node.pop(key)
    else:
        node[key] = generator.choice(ODD)
    return json.dumps(root.get("")).encode()
