"""Four utterances in a spreadsheet, for the tests of tables."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from helpers.command_line import succeed

RATE = 16_000
HEADER = ["audio", "start_seconds", "end_seconds", "speaker", "emotion", "transcript"]
ROWS = [
    ["anna/c1.wav", "0", "0.5", "Anna", "fröhlich", "Schöne Grüße"],
    ["anna/c2.wav", "0.25", "1.0", "Anna", "wütend", "Nein, danke"],
    ["bert/c3.wav", "", "", "Bert", "fröhlich", "Ja"],
    ["bert/c4.wav", "0.5", "", "Bert", "wütend", "Für Tränen zu spät"],
]
THEIRS = ["Datei", "von", "bis", "Sprecher", "Gefühl", "Wortlaut"]


def write_text(
    path: Path, rows: list[list[str]] | None = None, header: list[str] | None = None, *, delimiter: str = ",",
    encoding: str = "utf-8",
) -> Path:  # fmt: skip
    """Write a table; by default `HEADER` and `ROWS`."""
    with path.open("w", encoding=encoding, newline="") as stream:
        csv.writer(stream, delimiter=delimiter).writerows([header or HEADER, *(ROWS if rows is None else rows)])
    return path


def write_recordings(root: Path) -> Path:
    """Write the recordings of `ROWS`, of one second each."""
    for number, row in enumerate(ROWS):
        path = root / row[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.random.default_rng(number).normal(0, 0.1, RATE).astype(np.float32), RATE)
    return root


def prepared(*arguments: object) -> bytes:
    """The manifest that `prepare` makes."""
    succeed("prepare", *arguments, "--manifest", "out.csv", "--keep-untranscribed")
    return Path("out.csv").read_bytes()


def changed(change: Callable[[list[str]], list[str]]) -> list[list[str]]:
    """`ROWS` with a change in each."""
    return [change(row) for row in ROWS]


def decimal_commas(row: list[str]) -> list[str]:
    """A row whose times have decimal commas."""
    return [cell.replace(".", ",") if n in (1, 2) else cell for n, cell in enumerate(row)]


def notes(*arguments: object) -> str:
    """Return the standard error of `prepare csv --root …`."""
    return succeed("prepare", "csv", "--root", *arguments, "--keep-untranscribed").stderr
