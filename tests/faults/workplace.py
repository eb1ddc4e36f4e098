"""A tiny corpus, the commands that work on it, and the states that they start from and end in."""

import csv
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conftest import write_tiny_corpus

from faults.children import Child, Ended, command
from faults.shim import Control, Plan

# Locks, and notes about which file was verified: they name inodes.
NO_RESULTS = (".lock", ".verified", ".cluster-id")
START = "corpus"  # the state with nothing but recordings and their table
TABLE = "corpus/annotations.csv"
TIMES = {"seconds", "training_seconds", "utterances_per_second", "peak_memory_gib", "git_commit"}  # in JSON
TIMES |= {"metrics.jsonl", "digest"}  # digests of what has times
# The same in the report's table of training times: h:mm:ss and utterances per second.
TIMES_IN_TEXT = re.compile(rb"\d+:\d\d:\d\d( \| |</td><td class=\"n\">)[\d.]+")


class FoundError(Exception):
    """The package did not keep a promise."""


class NoMoreError(Exception):
    """All trials of a case have been made."""


@dataclass(frozen=True)
class Stage:
    """A command, and the state that it starts from."""

    before: str  # the stage whose end it starts from
    arguments: str  # TEXT and SPEECH are the tiny encoders
    ends_as: str = ""  # the stage that ends in the same state, if not this one


_TRAIN = (
    "train --text-encoder TEXT --speech-encoder SPEECH --epochs 2 --batch-size 4 --learning-rate 1e-3 --alpha 0.01 "
    "--validation speaker --save-minutes 0 --device cpu"
)
_EXTRACT = "extract --text-encoder TEXT --speech-encoder SPEECH --device cpu"
_PREDICT = "predict corpus/session1 --model packed --transcripts none --cut never --device cpu"
STAGES = {
    "prepare": Stage(START, f"prepare csv --root {TABLE}"),
    "extract": Stage("prepare", _EXTRACT),
    "extract in processes": Stage("prepare", f"{_EXTRACT} --scheduler processes", "extract"),
    "train": Stage("extract", f"{_TRAIN} --fold 1"),
    "evaluate": Stage("train", "evaluate --fold 1 --device cpu"),
    "report": Stage("evaluate", "report --run mmer"),
    "pack": Stage("report", "pack mmer --fold 1 --output packed"),
    "predict": Stage("pack", f"{_PREDICT} --output out.csv --explain explained"),
    "cv": Stage("prepare", _TRAIN.replace("train", "cv --systems roberta,mmer").replace("--epochs 2", "--epochs 1")),
}
# As "cv", with more folds than workers: only for clusters.
FOLDS_OF_SPEAKERS = "cv of speakers"
ALL_STAGES = STAGES | {
    FOLDS_OF_SPEAKERS: Stage("prepare", f"{STAGES['cv'].arguments} --folds speaker".replace("--epochs 1", "--epochs 2"))
}


@dataclass
class Workplace:
    """A slot of a harness process: `place` is always the same directory, so that stamps and paths are the same."""

    slot: Path
    control: Control = field(init=False)
    _children: int = 0

    def __post_init__(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        self.control = Control(self.slot / "control", self.place)

    @property
    def place(self) -> Path:
        """The directory that commands work in."""
        return self.slot / "place"

    def state(self, name: str) -> Path:
        """The snapshot of the state after a stage that nothing disturbed."""
        return self.slot / "states" / name

    def prepare_states(self, *names: str) -> None:
        """Make the snapshots of these stages, and of those before them."""
        if not self.state(START).is_dir():
            self._write_corpus()
        for name in names:
            stage = ALL_STAGES[name]
            if self.state(name).is_dir():
                continue
            if stage.before != START:
                self.prepare_states(stage.before)
            if stage.ends_as:
                self.prepare_states(stage.ends_as)
                shutil.copytree(self.state(stage.ends_as), self.state(name))
                continue
            self.restore(stage.before)
            ended = self.run(name)
            if ended.code != 0:
                raise RuntimeError(f"{name} failed without a fault: {ended.output}")
            self.snapshot(name)

    def _write_corpus(self) -> None:
        def work() -> int:
            from conftest import EMOTIONS

            from mmer_pipeline.demo.encoders import tiny_speech_encoder, tiny_text_encoder

            tiny_text_encoder(self.slot / "tiny-text", [text for _, text in EMOTIONS.values()] * 2)
            tiny_speech_encoder(self.slot / "tiny-speech")
            manifest = write_tiny_corpus(self.place)
            with (self.place / TABLE).open("w", newline="") as stream:
                writer = csv.writer(stream)
                writer.writerow(["file", "speaker", "session", "dialogue", "emotion", "transcript"])
                for u in manifest.utterances:
                    writer.writerow([u.audio, u.speaker, u.session, u.dialogue, u.emotion, u.transcript])
            shutil.rmtree(self.place / "cache")
            return 0

        ended = self.child(work).wait()
        if ended.code != 0:
            raise RuntimeError(ended.output)
        self.snapshot(START)

    def snapshot(self, name: str) -> None:
        """Keep the present state under a name."""
        self.state(name).parent.mkdir(exist_ok=True)
        shutil.rmtree(self.state(name), ignore_errors=True)
        shutil.copytree(self.place, self.state(name))

    def restore(self, name: str) -> None:
        """Begin with this state."""
        self.control.arm(Plan())
        for path in self.place.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self.state(name), self.place, dirs_exist_ok=True)

    def arguments(self, stage: str) -> list[str]:
        """The words of a stage's command."""
        places = {"TEXT": str(self.slot / "tiny-text"), "SPEECH": str(self.slot / "tiny-speech")}
        return [places.get(word, word) for word in ALL_STAGES[stage].arguments.split()]

    def child(self, work: Callable[[], int]) -> Child:
        """Start a function in a child."""
        self._children += 1
        return Child(work, self.control, self.place, self.slot / f"output-{self._children % 8}")

    def start(self, stage: str) -> Child:
        """Start a stage's command in a child."""
        return self.child(command(self.arguments(stage)))

    def run(self, stage: str, plan: Plan | None = None) -> Ended:
        """Run a stage's command in a child to its end."""
        self.control.arm(plan or Plan())
        child = self.start(stage)
        ended = child.wait()
        child.end_group()
        return ended

    def run_well(self, stage: str) -> Ended:
        """Run a stage's command, which must end well.

        Raises:
            FoundError: it fails.
        """
        ended = self.run(stage)
        if ended.code != 0:
            raise FoundError(f"the same command failed again (exit {ended.code}): {ended.output[-2000:]}")
        return ended

    def compare(self, stage: str) -> None:
        """Compare the present state with the undisturbed one.

        Raises:
            FoundError: something else than times differs.
        """
        differences = different(tree(self.state(stage)), tree(self.place))
        if differences:
            raise FoundError(f"the end differs from the undisturbed one: {'; '.join(differences[:8])}")


def tree(directory: Path) -> dict[str, bytes | None]:
    """The files and folders below a directory, without `NO_RESULTS`: path → content without times; folder → None."""
    found: dict[str, bytes | None] = {}
    for base, folders, names in os.walk(directory):
        for name in folders:
            found[str((Path(base) / name).relative_to(directory)) + "/"] = None
        for name in names:
            path = Path(base) / name
            if not name.endswith(NO_RESULTS):
                found[str(path.relative_to(directory))] = without_times(path)
    return found


def without_times(path: Path) -> bytes:
    """The content of a file without `TIMES` and `TIMES_IN_TEXT`."""
    content = path.read_bytes()
    if path.suffix in (".md", ".html"):
        return TIMES_IN_TEXT.sub(b"", content)
    if path.suffix not in (".json", ".jsonl"):
        return content
    try:
        values = [json.loads(line) for line in content.splitlines()] if path.suffix == ".jsonl" else json.loads(content)
    except ValueError:
        return content
    return json.dumps(_timeless(values)).encode()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(entry) for name, entry in value.items() if name not in TIMES}
    return [_timeless(entry) for entry in value] if isinstance(value, list) else value


def different(expected: Mapping[str, bytes | None], found: Mapping[str, bytes | None]) -> list[str]:
    """What differs between two trees, a line each."""
    lines = [f"{name} is missing" for name in expected if name not in found]
    lines += [f"{name} should not be there" for name in found if name not in expected]
    for name, content in expected.items():
        other = found.get(name, content)
        if other != content:
            lines.append(f"{name} differs{_where(content or b'', other or b'')}")
    return lines


def _where(expected: bytes, found: bytes) -> str:
    first = next((i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), len(expected))
    around = slice(max(0, first - 40), first + 40)
    return f" at byte {first}: {expected[around]!r}, {found[around]!r}"
