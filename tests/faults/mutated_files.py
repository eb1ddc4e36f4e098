"""Mutations of files that know their structure: bytes, JSON, JSON lines and CSV."""

import json
from pathlib import Path
from random import Random
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 10**30, -(10**30), 1e308, 0.5, "", "x", "é", "0", "-", "../x", "x" * 50_000, "\0",
    "\ud800", [], {}, [[]], {"a": 1}, [1, 2], ["happy"],
)  # fmt: skip


def mutate(random: Random, path: Path) -> None:
    by_suffix = {".json": _mutate_json, ".jsonl": _mutate_lines, ".csv": _mutate_csv}
    change = by_suffix.get(path.suffix, mutate_bytes)
    (change if path.stat().st_size and random.random() < 0.7 else mutate_bytes)(random, path)


def mutate_bytes(random: Random, path: Path) -> None:
    """Cut, flip, repeat, insert or overwrite bytes; or put a directory or nothing in the file's place."""
    data = bytearray(path.read_bytes())
    at = random.randrange(len(data)) if data else 0
    to = min(len(data), at + random.choice((1, 2, 10, 100, 4096)))
    kind = random.randrange(9)
    if kind == 0 and data:
        data[at] ^= 1 << random.randrange(8)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        del data[at:to]
    elif kind == 3:
        data[at:at] = data[at:to]
    elif kind == 4:
        data[at:at] = random.randbytes(random.choice((1, 3, 50)))
    elif kind == 5:
        data[at:to] = bytes(to - at)
    elif kind == 6:
        data[:0] = random.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\n"))
    path.unlink()
    if kind == 7:
        path.mkdir()
    elif kind == 8:
        pass
    else:
        path.write_bytes(data)


def _mutate_json(random: Random, path: Path) -> None:
    path.write_text(json.dumps(changed(random, json.loads(path.read_text()))))


def _mutate_lines(random: Random, path: Path) -> None:
    lines = path.read_text().splitlines()
    at = random.randrange(len(lines))
    kind = random.randrange(5)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(random.randrange(len(lines) + 1), lines[at])
    elif kind == 2:
        random.shuffle(lines)
    else:
        lines[at] = json.dumps(changed(random, json.loads(lines[at])))
    path.write_text("".join(f"{line}\n" for line in lines))


def _mutate_csv(random: Random, path: Path) -> None:
    rows = [line.split(",") for line in path.read_text().splitlines()]
    row, other = random.randrange(len(rows)), random.randrange(len(rows))
    column = random.randrange(len(rows[row]))
    kind = random.randrange(7)
    if kind == 0:
        del rows[row]
    elif kind == 1:
        rows.insert(other, rows[row])
    elif kind == 2:
        rows[row], rows[other] = rows[other], rows[row]
    elif kind == 3:
        del rows[row][column]
    elif kind == 4:
        random.shuffle(rows[0])
    elif kind == 5:
        rows[row][column] = rows[other][min(column, len(rows[other]) - 1)]
    else:
        rows[row][column] = random.choice(("", "nan", "inf", "-1", "1e999", '"', "x" * 200_000, "\0", "=1+1", "é"))
    path.write_text("".join(f"{','.join(cells)}\n" for cells in rows))


def changed(random: Random, value: Any) -> Any:
    """The JSON value with one change somewhere in it."""
    places: list[tuple[Any, Any]] = []

    def collect(inner: Any) -> None:
        for key in inner if isinstance(inner, dict) else range(len(inner)):
            places.append((inner, key))
            if isinstance(inner[key], dict | list):
                collect(inner[key])

    if isinstance(value, dict | list):
        collect(value)
    if not places or random.random() < 0.02:
        return random.choice(VALUES)
    holder, key = random.choice(places)
    inner = holder[key]
    kind = random.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(inner, list):
        inner.reverse()
    elif kind == 2 and isinstance(inner, int | float) and not isinstance(inner, bool):
        holder[key] = inner + random.choice((-1, 1, 0.5, 1e-9, inner))
    elif kind == 3:
        source, name = random.choice(places)
        holder[key] = json.loads(json.dumps(source[name])) if source[name] is not holder else None
    elif kind == 4 and isinstance(holder, dict):
        holder[random.choice(("x", "é", key + "2", ""))] = holder.pop(key)
    else:
        holder[key] = random.choice(VALUES)
    return value
