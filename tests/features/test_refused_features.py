"""Feature files that are damaged, or were made by somebody else: one message each, and extraction mends them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.feature_files import DIM, LENGTHS, PLAN, missing, write

from mmer_pipeline.errors import UserError
from mmer_pipeline.features.feature_file import FeatureFile

EXTRACT = "mmer-pipe extract --some-option"
Mutation = Callable[[h5py.File], Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "features" / "text.h5"
    write(path)
    return path


def attribute(name: str, value: Any) -> Mutation:
    """Replace an attribute; None: remove it."""

    def mutate(file: h5py.File) -> None:
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value

    return mutate


def replaced(name: str, make: Callable[[np.ndarray], Any], **options: Any) -> Mutation:
    """Replace a dataset by another, made from its values."""

    def mutate(file: h5py.File) -> None:
        before = file[name][()]
        del file[name]
        file.create_dataset(name, data=make(before), **options)

    return mutate


def exchanged(name: str, make: Callable[[h5py.File], Any]) -> Mutation:
    """Replace a dataset by something that is none."""

    def mutate(file: h5py.File) -> None:
        del file[name]
        file[name] = make(file)

    return mutate


def virtual(file: h5py.File) -> None:
    del file["values"]
    layout = h5py.VirtualLayout((sum(LENGTHS), DIM), "float16")
    layout[:] = h5py.VirtualSource("other.h5", "values", (sum(LENGTHS), DIM))
    file.create_virtual_dataset("values", layout)


def elsewhere(file: h5py.File) -> None:
    del file["values"]
    size = sum(LENGTHS) * DIM * 2
    file.create_dataset("values", (sum(LENGTHS), DIM), "float16", external=[("/etc/passwd", 0, size)])


def huge(name: str, shape: tuple[int, ...], dtype: str) -> Mutation:
    def mutate(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, shape, dtype)

    return mutate


def numbers_of_any_length(file: h5py.File) -> None:
    value = np.empty((), object)
    value[()] = np.array([1, 2])
    file.attrs.create("kind", value, (), h5py.vlen_dtype("i8"))


def named_type(file: h5py.File) -> np.dtype:
    return np.dtype("float16")


def first(value: Any) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[0] = value
        return values

    return change


OFFSETS = "offsets: expected 6 rising numbers from 0 to 19"
MUTATIONS = {
    "attribute missing": (attribute("policy", None), "attribute policy is missing"),
    "attribute of another type": (attribute("kind", 3), "attribute kind: expected a string"),
    "attribute of any length": (numbers_of_any_length, "attribute kind: expected a string"),
    "attribute of several values": (attribute("kind", ["text", "text"]), r"attribute kind: .* found shape \(2,\)"),
    "attribute without a value": (attribute("layer", h5py.Empty("f")), "attribute layer: expected a string"),
    "attribute not UTF-8": (attribute("encoder", np.bytes_(b"\xff\xfe")), "attribute encoder"),
    "versions not JSON": (attribute("library_versions", "{"), "not a complete feature file"),
    "versions no object": (attribute("library_versions", "[1]"), "expected a JSON object, found a list"),
    "versions nested": (attribute("library_versions", "[" * 50_000), "not a complete feature file"),
    "schema a text": (attribute("schema_version", "1"), "schema None, expected 1"),
    "schema several": (attribute("schema_version", [1, 1]), r"schema_version: .* found shape \(2,\)"),
    "dtype unknown": (attribute("dtype", "int8"), "expected float16 or float32, found 'int8'"),
    "dtype another": (attribute("dtype", "float32"), "values: expected float32, found float16"),
    "values of another type": (replaced("values", lambda v: v.astype("i2")), "values: expected float16, found int16"),
    "values big-endian": (replaced("values", lambda v: v.astype(">f2")), "values: expected float16, found >f2"),
    "values of rank 1": (replaced("values", np.ravel), r"expected 2 dimensions, found shape \(57,\)"),
    "values compressed": (replaced("values", np.asarray, compression="gzip"), "chunked or compressed"),
    "values chunked": (replaced("values", np.asarray, chunks=(2, 3)), "chunked or compressed"),
    "values cut": (replaced("values", lambda v: v[:-1]), "offsets: expected 6 rising numbers from 0 to 18"),
    "values without columns": (replaced("values", lambda v: v[:, :0]), "truncated: expected the values of values"),
    "values huge": (huge("values", (2**60, DIM), "float16"), "truncated: expected"),
    "values a group": (exchanged("values", lambda f: f.create_group("g")), "expected a dataset, found a group"),
    "values a type": (exchanged("values", named_type), "expected a dataset, found a datatype"),
    "values a soft link": (exchanged("values", lambda _: h5py.SoftLink("/offsets")), "values is a link"),
    "values in another file by a link": (
        exchanged("values", lambda _: h5py.ExternalLink("other.h5", "/values")), "values is a link",
    ),
    "offsets by a link": (exchanged("offsets", lambda _: h5py.ExternalLink("o.h5", "/offsets")), "offsets is a link"),
    "values virtual": (virtual, "virtual, which leads to other files"),
    "values in another file": (elsewhere, "in another file, which is not opened"),
    "offsets float": (replaced("offsets", lambda v: v.astype(float)), "offsets: expected int64, found float64"),
    "offsets short": (replaced("offsets", lambda v: v[:-1]), OFFSETS),
    "offsets a number": (replaced("offsets", lambda v: v[0]), r"offsets: expected 1 dimensions, found shape \(\)"),
    "offsets halved": (replaced("offsets", lambda v: v // 2), OFFSETS),
    "offsets negative": (replaced("offsets", first(-1)), OFFSETS),
    "offsets falling": (replaced("offsets", lambda v: v[[0, 2, 1, 3, 4, 5]]), OFFSETS),
    "offsets wrapping around": (replaced("offsets", lambda v: first(0)(np.full_like(v, -(2**63)))), OFFSETS),
    "offsets out of range": (replaced("offsets", lambda v: v * 2), OFFSETS),
    "offsets huge": (huge("offsets", (2**58,), "int64"), "truncated: expected"),
    "ids numbers": (replaced("utterance_id", lambda _: np.arange(5)), "expected strings of one length, found int64"),
    "ids of any length": (
        replaced("utterance_id", lambda _: [b"a", b"b", b"c", b"d", b"e"], dtype=h5py.string_dtype()),
        "expected strings of one length, found object",
    ),
    "ids not UTF-8": (replaced("utterance_id", first(b"\xff\xfe")), "codec can't decode"),
    "ids twice": (replaced("utterance_id", first(PLAN[1].utterance_id.encode())), "two utterances have the same id"),
    "ids fewer": (replaced("utterance_id", lambda v: v[:-1]), "offsets: expected 5 rising numbers"),
    "digest shortened": (replaced("value_digest", first(b"0123456789abcdef")), "value_digest: expected 5 digests"),
    "digest no hexadecimal": (replaced("input_digest", first(b"g" * 32)), "input_digest: expected 5 digests of 32"),
    "digests fewer": (replaced("input_digest", lambda v: v[1:]), "input_digest: expected 5 digests"),
    "stamps fewer": (replaced("input_stamp", lambda v: v[1:]), "input_stamp: expected 5 digests"),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_file_that_anybody_may_have_written_is_refused_in_one_message(name: str, path: Path) -> None:
    mutate, message = MUTATIONS[name]
    with h5py.File(path, "r+") as file:
        mutate(file)
    with pytest.raises(UserError, match=message) as caught:
        FeatureFile(path, EXTRACT)
    assert str(path) in str(caught.value)
    assert EXTRACT in str(caught.value)
    assert len(str(caught.value)) < 600
    assert missing(path) == [0, 1, 2, 3, 4]  # extraction writes it again


def test_texts_at_which_the_library_would_never_end_are_refused(path: Path) -> None:
    content = path.read_bytes()
    start = content.index(b"GCOL")
    end = start + int.from_bytes(content[start + 8 : start + 16], "little")
    position = start + 16
    while content[position] or content[position + 1]:  # entries; free space has the index 0
        length = int.from_bytes(content[position + 8 : position + 16], "little")
        position += 16 + length + -length % 8
    assert position < end
    path.write_bytes(content[: position + 8] + bytes(8) + content[position + 16 :])  # free space without a length
    with pytest.raises(UserError, match="the texts of its attributes are damaged"):
        FeatureFile(path, EXTRACT)
    assert missing(path) == [0, 1, 2, 3, 4]


def test_a_file_with_digests_of_more_rows_than_it_has_is_no_source_of_any(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        values = file["values"][()].reshape(-1, DIM * 19)
        del file["values"], file["offsets"]
        file["values"], file["offsets"] = values, np.array([0, 1, 1, 1, 1, 1])
    assert FeatureFile(path).dim == DIM * 19
    assert missing(path) == [0, 1, 2, 3, 4]  # the encoder's rows have three numbers
