"""Parts of an HDF5 file that anybody may have written.

Nothing outside the file is opened (links, virtual datasets, external storage), and nothing is read that would be larger
than the file. All faults of the file end in one of the exceptions in `FAULTS`.
"""

import math
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py

# h5py has no common base for the errors of damaged files; the messages are the library's.
FAULTS = (OSError, LookupError, ValueError, TypeError, RuntimeError, MemoryError, OverflowError)

_TEXTS = b"GCOL\x01\0\0\0"  # the beginning of a collection of texts
_LAYOUTS = {h5py.h5d.CONTIGUOUS: "contiguous", h5py.h5d.CHUNKED: "chunked or compressed", h5py.h5d.COMPACT: "compact"}


def text_attributes(file: h5py.File, names: Iterable[str], size: int) -> dict[str, str]:
    """Read attributes that are one string each, from a file of `size` bytes that has the dataset `values`.

    Raises:
        ValueError: one is missing or has another type; others of `FAULTS` if the file is damaged.
    """
    values = dataset(file, "values", 2, size)
    first = values.id.get_offset()
    with Path(file.filename).open("rb") as stream:
        _check_texts(stream.read(first))
        stream.seek(first + values.nbytes)
        _check_texts(stream.read(size))
    return {name: _text_attribute(file, name) for name in names}


def _text_attribute(file: h5py.File, name: str) -> str:
    if name not in file.attrs:
        raise ValueError(f"attribute {name} is missing")
    found = file.attrs.get_id(name)
    # Not read before its type is known: damaged types crash the library.
    value = _attribute(file, name) if isinstance(found.get_type(), h5py.h5t.TypeStringID) else found.dtype
    if not isinstance(value, str):
        raise ValueError(f"attribute {name}: expected a string, found {value!r:.50}")
    return value


def _check_texts(content: bytes) -> None:
    """Check collections of texts of any length: HDF5's library does not end at an entry without a length.

    A collection is a header of 16 bytes and entries: index (2 bytes; 0: free space, length included), references (2),
    unused (4), length (8), and the text, filled up to 8 bytes.
    """
    start = content.find(_TEXTS)
    while start >= 0:
        position, end = start + 16, start + int.from_bytes(content[start + 8 : start + 16], "little")
        while position + 16 <= end:
            index, length = struct.unpack_from("<H6xQ", content[position : position + 16].ljust(16, b"\0"))
            step = 16 + length + -length % 8 if index else length
            if step < 16 or position + step > min(end, len(content)):
                raise ValueError("the texts of its attributes are damaged")
            position += step
        start = content.find(_TEXTS, start + 1)


def number_attribute(file: h5py.File, name: str) -> int | None:
    """Read an attribute that is one integer; None if it is missing or has another type.

    Raises:
        FAULTS: the file is damaged.
    """
    if name not in file.attrs or not isinstance(file.attrs.get_id(name).get_type(), h5py.h5t.TypeIntegerID):
        return None
    return int(_attribute(file, name))


def _attribute(file: h5py.File, name: str) -> Any:
    shape = file.attrs.get_id(name).shape
    if shape != ():
        raise ValueError(f"attribute {name}: expected one value, found shape {shape}")
    return file.attrs[name]


def dataset(file: h5py.File, name: str, rank: int, size: int) -> h5py.Dataset:
    """Open a dataset whose values are in one piece within a file of `size` bytes.

    Raises:
        ValueError: it is missing, a link, has another rank or layout, or exceeds the file; others of `FAULTS` if the
            file is damaged.
    """
    link = file.get(name, getlink=True)
    if link is None:
        raise ValueError(f"{name} is missing")
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name} is a link to another place, which is not followed")
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{name}: expected a dataset, found a {type(found).__name__.lower()}")
    if found.ndim != rank:
        raise ValueError(f"{name}: expected {rank} dimensions, found shape {found.shape}")
    plan = found.id.get_create_plist()
    layouts = {
        h5py.h5d.CONTIGUOUS: "contiguous",
        h5py.h5d.CHUNKED: "chunked or compressed",
        h5py.h5d.COMPACT: "compact",
    }
    layout = layouts.get(plan.get_layout(), "virtual, which leads to other files")
    if layout == "contiguous" and plan.get_external_count():
        layout = "in another file, which is not opened"
    if layout != "contiguous":
        raise ValueError(f"{name}: expected contiguous values in this file, found that they are {layout}")
    offset = found.id.get_offset()
    end = None if offset is None else offset + math.prod(found.shape) * found.dtype.itemsize
    if end is None or end > size:
        expected = f"the values of {name}" if end is None else f"{end} bytes"
        raise ValueError(f"truncated: expected {expected}, found a file of {size} bytes")
    return found


def texts(file: h5py.File, name: str, size: int) -> list[str]:
    """Read a list of strings, stored with a fixed length, from a file of `size` bytes.

    Raises:
        FAULTS: see `dataset`; the values are not strings, or not UTF-8.
    """
    found = dataset(file, name, 1, size)
    if found.dtype.kind != "S":
        raise ValueError(f"{name}: expected strings of one length, found {found.dtype}")
    return [value.decode() for value in found[:].tolist()]
