"""Values and bytes that no writer of a corpus would write."""

import os
import shutil
import socket
from pathlib import Path
from random import Random
from typing import Any

SECRET = "outside.wav"  # a recording outside every corpus, that links lead to
TEXTS = (
    *("", " ", "x", "a\0b", "ends\0", "\0", "\x1b[2J", "two\nlines", "a\r\nb", "\r", "\u2028", "\x85", "\ufeffx"),
    *("e\u0301", "\u00e9", "\u202eabc", "أهلا", "नमस्ते", "日本", "\U0001f600", "\ud800", "x\udcff", "ﬁ", "İ"),
    *("../c1.wav", "../../etc/passwd", "/etc/passwd", "/dev/zero", "C:\\c1.wav", "\\\\host\\c1.wav", "..\\c1.wav", "."),
    *("c1", "C1.WAV", "./c1.wav", "c?.wav", "*", "//c1.wav", "pipe.wav", "folder.wav", "linked.wav", "loop.wav"),
    *("nan", "inf", "-inf", "-1", "-0.0", "1e308", "1e999", "1e-400", "9" * 5000, "1_0", "٣", "0x10", "1,5", "0:1.5"),
    *("99999999999:0:0", "0:0:99", "1e5", "0.30000000000000004", "True", "null", "=1+1", "@x", "+1", "{}", "[]"),
    *("| touch CANARY", "touch CANARY |", "$(touch CANARY)", "`touch CANARY`", "!!python/object/apply:os.system [ls]"),
    *(",", '"', '""', "'", ";", "\t", "a,b", 'a"b', "<script>alert(1)</script>", "\\input{x}", "%s", "{0}"),
    *("A" * 300, "é" * 300, "x" * 200_000, "a/" * 200 + "x.wav", "y " * 70_000, "u2", "U1", "ann", "bob"),
)
NUMBERS = (0, -1, 1, 2.5, 1e308, -1e308, 10**30, 10**400, float("nan"), float("inf"), True, False, 2**63, 1e-320)


def any_value(random: Random, depth: int = 3) -> Any:
    """A value of JSON, YAML or TOML, of any type."""
    kind = random.randrange(5 if depth else 3)
    if kind == 0:
        return random.choice((*NUMBERS, None))
    if kind < 3:
        return random.choice(TEXTS)
    if kind == 3:
        return [any_value(random, depth - 1) for _ in range(random.randrange(4))]
    keys = ("id", "type", "source", "labels", "columns", "scheme_id", "bytes", "path", *TEXTS)
    return {random.choice(keys): any_value(random, depth - 1) for _ in range(random.randrange(4))}


def replace_somewhere(value: Any, random: Random) -> Any:
    """A copy of a value of lists and dictionaries in which one part is another value, missing, or new."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        if random.random() < 0.12:
            return {other: entry for other, entry in value.items() if other != key}
        if random.random() < 0.1:
            return {**value, random.choice(TEXTS): any_value(random)}
        return {**value, key: replace_somewhere(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.85:
        place = random.randrange(len(value))
        return [*value[:place], replace_somewhere(value[place], random), *value[place + 1 :]]
    return any_value(random)


def mutated_bytes(content: bytes, random: Random) -> bytes:
    """The content with bits flipped, a part cut out, repeated, moved, or other bytes put in."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 8))):
        place = random.randrange(len(changed) + 1)
        length = random.choice((1, 1, 2, 4, 16, 200))
        part = bytes(changed[place : place + length])
        action = random.randrange(7)
        if action == 0 and place < len(changed):
            changed[place] ^= 1 << random.randrange(8)
        elif action == 1 and place < len(changed):
            changed[place : place + length] = random.randbytes(len(part))
        elif action == 2:
            del changed[place : place + length]
        elif action == 3:
            changed[place:place] = part * random.choice((1, 2, 50))
        elif action == 4:
            changed[place:place] = random.choice((b"\0", b"\n", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"[" * 3000, b"\r"))
        elif action == 5:
            changed[place : place + 4] = random.choice((b"\xff" * 4, b"\0" * 4, b"\x80\0\0\0", b"\0\0\0\x80"))
        else:
            del changed[place:]
    return bytes(changed)


def mutated_line(line: bytes, random: Random) -> bytes:
    """A line with other letters in it, but no line end and no quotation mark."""
    signs = b" ,;\t.:/\\-|{}[]0123456789abzuAZ*?\xc3\xa9\x01\x7f"
    changed = bytearray(line)
    for _ in range(random.choice((1, 1, 2, 5))):
        place = random.randrange(len(changed) + 1)
        if random.random() < 0.4 and place < len(changed):
            del changed[place]
        elif random.random() < 0.5 and place < len(changed):
            changed[place] = random.choice(signs)
        else:
            changed.insert(place, random.choice(signs))
    return bytes(changed)


def replace_file(path: Path, outside: Path, random: Random) -> str:
    """Put something else in the place of a file, and say what."""
    kind = random.choice(("nothing", "empty", "folder", "pipe", "socket", "device", "loop", "dangling", "link"))
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        here = os.open(path.parent, os.O_RDONLY)  # the path of a socket may have 107 bytes
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)
    elif kind == "device":
        path.symlink_to(random.choice(("/dev/zero", "/dev/null", "/dev/tty")))
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "dangling":
        path.symlink_to("not-there")
    elif kind == "link":
        path.symlink_to(outside)
    return kind
