"""The statements of a recording's container about itself: truncated, damaged and contradictory WAV, FLAC and Ogg files.

libsndfile reads such files without an error.
"""

import hashlib
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from mmer_pipeline.errors import UserError

OGG_PAGE_BYTES = 65_307  # the longest possible page (RFC 3533, section 6)
MOST_CHUNKS = 1_000  # before the samples of a WAV; real files have a few
# Format tags of WAV whose samples have a fixed size, and those of a byte: A-law and µ-law.
_PCM, _FLOAT, _EXTENSIBLE, _BYTES = 0x0001, 0x0003, 0xFFFE, (0x0006, 0x0007)
_FLAC_RATES = dict(  # the codes of RFC 9639, section 9.1.2
    enumerate((88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000), start=1)
)
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

Fault = Literal["missing", "unreadable", "empty", "outside", "elsewhere"]


class AudioError(UserError):
    """A recording that cannot be used: `fault` is the reason as one word, `reason` as a clause without the path."""

    def __init__(self, path: Path, fault: Fault, reason: str) -> None:
        self.fault = fault
        self.reason = reason
        super().__init__(f"{path}: {reason}.")


def truncated(path: Path, detail: str) -> AudioError:
    """The error of a file that ends too early."""
    return AudioError(path, "unreadable", f"the file is truncated ({detail}); copy it again")


def check_container(path: Path, stream: BinaryIO) -> None:
    """Check that a file is not empty; that a WAV is complete and agrees with itself; that an Ogg stream is closed.

    Raises:
        AudioError: it is not; `path` is named in its message.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if not size:
        raise AudioError(path, "empty", "the file is empty (0 bytes)")
    head = stream.read(12)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:] == b"WAVE":
        _check_wav(path, stream, size, ">" if head[:4] == b"RIFX" else "<")
    elif head[:4] == b"OggS":
        _check_ogg_end(path, stream, size)
    elif head[:4] == b"fLaC":
        _check_flac_rate(path, stream)


class FlacDigest:
    """The MD5 of a FLAC's samples, which its header states; an encoder that could not go back left zeros there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as stream:
            head = stream.read(42)
        facts = int.from_bytes(head[18:26], "big") if head[:4] == b"fLaC" else 0  # rate, channels, bits, samples
        self.bits = (facts >> 36 & 0x1F) + 1
        self.stated = head[26:]
        self.found = hashlib.md5(usedforsecurity=False)

    def update(self, block: npt.NDArray[np.float32]) -> None:
        """Add samples `[frames, channels]`."""
        if self.bits in (16, 24):
            integers = np.rint(block.astype(np.float64) * 2.0 ** (self.bits - 1)).astype("<i4")
            self.found.update(integers.view(np.uint8).reshape(-1, 4)[:, : self.bits // 8].tobytes())

    def check(self) -> None:
        """Compare the digests.

        Raises:
            AudioError: they differ.
        """
        if self.bits in (16, 24) and any(self.stated) and self.found.digest() != self.stated:
            raise AudioError(
                self.path, "unreadable", "its samples are not those of which its header has the digest; copy it again"
            )


def check_ogg_pages(path: Path) -> None:
    """Check the checksum and the number of every page of an Ogg file: a decoder leaves out what does not fit.

    Raises:
        AudioError: a page is damaged or missing.
    """
    numbers: dict[bytes, int] = {}  # stream → number of its last page
    with path.open("rb") as stream:
        for page in _ogg_pages(path, stream):
            serial, number, checksum = page[14:18], *struct.unpack("<II", page[18:26])
            if _ogg_checksum(page[:22] + bytes(4) + page[26:]) != checksum:
                raise AudioError(path, "unreadable", f"its page {number} is damaged; copy it again")
            if number != numbers.get(serial, number - 1) + 1:
                raise AudioError(path, "unreadable", f"a page before its page {number} is missing; copy it again")
            numbers[serial] = number


def _ogg_pages(path: Path, stream: BinaryIO) -> Iterator[bytes]:
    while head := stream.read(27):
        if len(head) < 27 or head[:4] != b"OggS":
            raise AudioError(path, "unreadable", "it has bytes that are no part of an Ogg stream; copy it again")
        sizes = stream.read(head[26])
        yield head + sizes + stream.read(sum(sizes))


def _ogg_checksum(page: bytes) -> int:
    """The CRC of RFC 3533: that of zlib with the bits of each byte reversed, from 0 and not inverted."""
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(_REVERSED), "big")


def _check_wav(path: Path, stream: BinaryIO, size: int, order: str) -> None:
    """Walk the chunks after the first 12 bytes up to `data`, which must fit into the file.

    The total size in the RIFF header is ignored: it includes what follows the samples, and many writers get it wrong
    by a padding byte.
    """
    unknown = 0xFFFF_FFFF  # in a streamed file: up to the end; in RF64: the size is in the chunk ds64
    long_size = None
    for _ in range(MOST_CHUNKS):
        header = stream.read(8)
        if len(header) < 8:
            break
        name, length = struct.unpack(f"{order}4sI", header)
        begin = stream.tell()
        if name == b"ds64" and len(sizes := stream.read(16)) == 16:
            long_size = struct.unpack(f"{order}QQ", sizes)[1]
        elif name == b"fmt " and length >= 16 and len(form := stream.read(16)) == 16:
            _check_wav_format(path, *struct.unpack(f"{order}HHIIHH", form))
        elif name == b"data":
            if length == unknown:
                length = size - begin if long_size is None else long_size
            if begin + length > size:
                raise truncated(path, f"its header states {length} bytes of samples, found {size - begin}")
            return
        stream.seek(begin + length + length % 2)  # chunks begin at even offsets
    raise truncated(path, "it ends before its samples begin")


def _check_wav_format(path: Path, tag: int, channels: int, rate: int, byte_rate: int, block: int, bits: int) -> None:
    """Check that the numbers of the chunk `fmt ` fit each other; some writers leave the bytes per second at 0."""
    expected = channels * (1 if tag in _BYTES else (bits + 7) // 8)
    if tag in (_PCM, _FLOAT, _EXTENSIBLE, *_BYTES) and (block != expected or byte_rate not in (0, rate * block)):
        raise AudioError(
            path,
            "unreadable",
            f"its header contradicts itself ({channels} channels of {bits} bits at {rate} Hz, but {block} bytes a "
            f"sample and {byte_rate} bytes a second); convert it again from its source",
        )


def _check_flac_rate(path: Path, stream: BinaryIO) -> None:
    """Check that the header and the first frame state the same rate, where the frame states it by a code."""
    stream.seek(4)
    rate = None
    while len(head := stream.read(4)) == 4:
        length = int.from_bytes(head[1:], "big")
        body = stream.read(length)
        if not head[0] & 0x7F and len(body) >= 34:
            rate = int.from_bytes(body[10:13], "big") >> 4
        if head[0] & 0x80:  # the last before the frames
            break
    frame = stream.read(3)
    stated = _FLAC_RATES.get(frame[2] & 0x0F) if frame[:1] == b"\xff" and len(frame) == 3 else None
    if None not in (rate, stated) and rate != stated:
        raise AudioError(
            path, "unreadable", f"its header contradicts itself ({rate} Hz, but its frames {stated}); copy it again"
        )


def _check_ogg_end(path: Path, stream: BinaryIO, size: int) -> None:
    """Check that the last page is complete and marked as the end of its stream (RFC 3533, section 6)."""
    stream.seek(max(0, size - 2 * OGG_PAGE_BYTES))
    tail = stream.read()
    page = tail[tail.rfind(b"OggS") :]
    segments = page[27 : 27 + page[26]] if len(page) > 26 else b""
    if not segments or len(segments) < page[26] or len(page) < 27 + page[26] + sum(segments) or not page[5] & 4:
        raise truncated(path, "the stream has no closing page")
