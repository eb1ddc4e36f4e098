"""Commands of README.md and docs/: run with a tiny corpus and tiny encoders, or at least their options exist.

An `sh` block is run, page by page, in a directory with `corpus/` (tones), its manifest both as a table of one's own and
prepared, and an `mmer.toml` with tiny encoders. What has a title (`title="labels.toml"`) is written there first; a
settings file is checked instead. A comment above a block says that it is not run: `<!-- needs data -->`, `<!-- needs a
GPU -->`, `<!-- takes minutes -->`, `<!-- run by FILE -->`. Then its options are only checked.
"""

import contextlib
import csv
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import RATE, write_tiny_corpus
from helpers.command_line import invoke

from mmer_pipeline.corpora.labels import load_label_map
from stages.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?"
    r"^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?[^\n]*\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
MARK = re.compile(r"needs [\w ]+|takes minutes|run by (?P<file>\S+)")
COMMANDS = ("sh", "console")
PROGRAMS = ("source", "python3", "python", "pip", "dask", "pytest", "ruff", "mypy", "openssl", "sbatch", "hf", "export")
SETTINGS_FILE = "mmer.toml"
SECONDS = 30  # of the recordings that a page's table names


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    mark: str | None  # why it is not run; None: it is
    language: str
    title: str | None  # a file's name
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """Its commands, each as words; each side of && is one."""
        if self.language not in COMMANDS:
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console":  # other lines are what the commands print
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        commands = (part for line in lines for part in line.split(" && "))
        return [words for command in commands if (words := shlex.split(command, comments=True))]


def blocks_of(page: Path) -> list[Block]:
    found = FENCE.finditer(page.read_text("utf-8"))
    return [Block(page.name, match["mark"], match["language"], match["title"], match["text"]) for match in found]


BLOCKS = {page.relative_to(ROOT).as_posix(): blocks_of(page) for page in PAGES}
RUN = [name for name, blocks in BLOCKS.items() if any(b.language in COMMANDS and not b.mark for b in blocks)]
MARKED = [block for blocks in BLOCKS.values() for block in blocks if block.language in COMMANDS and block.mark]


def test_there_are_pages_with_commands():
    assert len(RUN) >= 5
    assert len(MARKED) >= 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_fence_is_understood(page):
    fences = re.findall(r"^```", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) == 2 * len(BLOCKS[page.relative_to(ROOT).as_posix()])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_fence_has_a_language(page):
    assert not [block.text for block in BLOCKS[page.relative_to(ROOT).as_posix()] if not block.language]


@pytest.mark.parametrize("block", MARKED, ids=lambda block: f"{block.page}: {block.commands[0][-1]}")
def test_marked_commands_have_the_options_that_they_name(block):
    match = MARK.fullmatch(block.mark)
    assert match, f"{block.mark!r} is no reason that this test knows"
    assert match["file"] is None or (ROOT / match["file"]).is_file()
    for words in block.commands:
        check(words)


@pytest.fixture(scope="module")
def workplace(tiny_text, tiny_speech, tmp_path_factory):
    """A corpus of tones, prepared, evaluated in a run `roberta`, and a settings file with tiny encoders."""
    directory = tmp_path_factory.mktemp("workplace")
    manifest = write_tiny_corpus(directory)
    shutil.copy(manifest.path, directory / "corpus" / "manifest.csv")
    encoders = f"text-encoder = '{tiny_text}'\nspeech-encoder = '{tiny_speech}'\n"
    settings = f"[train]\n{encoders}epochs = 1\nlearning-rate = 1e-3\n"
    (directory / SETTINGS_FILE).write_text(settings, encoding="utf-8")
    with contextlib.chdir(directory):
        run(["mmer-pipe", "extract", "train", "--system", "roberta", "evaluate"])
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_commands_run(page, workplace, tmp_path):
    shutil.copytree(workplace, tmp_path, dirs_exist_ok=True)
    if any("prepare" in words for block in BLOCKS[page] if not block.mark for words in block.commands):
        shutil.rmtree("cache")  # its commands make a corpus of their own
        shutil.rmtree("runs")
    for block in BLOCKS[page]:
        if block.title and block.title != SETTINGS_FILE and block.language in ("csv", "toml", "python"):
            write(tmp_path / block.title, block.text)
        if block.language in COMMANDS and not block.mark:
            for words in block.commands:
                run(words)


SETTINGS = [block for blocks in BLOCKS.values() for block in blocks if block.title == SETTINGS_FILE]
LABEL_MAPS = [block for blocks in BLOCKS.values() for block in blocks if (block.title or "").endswith("labels.toml")]


@pytest.mark.parametrize("block", SETTINGS, ids=lambda block: block.page)
def test_settings_files_have_keys_that_exist(block, tmp_path):
    (tmp_path / SETTINGS_FILE).write_text(block.text, encoding="utf-8")
    result = invoke("report", "--help")
    assert result.exit_code == 0, result.output


def test_a_system_on_a_page_is_the_tested_example():
    """The page included it when the site was built; read as a file, it had no example."""
    blocks = {block.title: block.text for block in BLOCKS["docs/adding-a-system.md"] if block.language == "python"}
    assert blocks == {"last_frame.py": (ROOT / "examples" / "last_frame.py").read_text("utf-8")}


@pytest.mark.parametrize("block", LABEL_MAPS, ids=lambda block: block.page)
def test_label_maps_can_be_read(block, tmp_path):
    path = tmp_path / "labels.toml"
    path.write_text(block.text, encoding="utf-8")
    load_label_map(str(path))


def write(path: Path, text: str) -> None:
    """Write a page's file, and a tone for every recording that a table names and that is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if path.suffix != ".csv":
        return
    generator = np.random.default_rng(0)
    for cell in {cell for row in csv.reader(io.StringIO(text)) for cell in row if cell.endswith(".wav")}:
        if not (path.parent / cell).exists():
            noise = generator.normal(0, 0.1, SECONDS * RATE).astype(np.float32)
            soundfile.write(path.parent / cell, noise, RATE, subtype="PCM_16")


def run(words: list[str]) -> None:
    """Run one command; it must end well."""
    if words[0] == "mmer-pipe":
        result = invoke(*words[1:])
        assert result.exit_code == 0, f"{shlex.join(words)}\n{result.output}"
    elif words[0] == "python":
        subprocess.run([sys.executable, *words[1:]], check=True)
    else:
        pytest.fail(f"{shlex.join(words)}: mark the block, or teach this test to run it")


def check(words: list[str]) -> None:
    """Check that a command exists and has these options, without running it."""
    if "mmer-pipe" in [Path(word).name for word in words]:
        names = [Path(word).name for word in words]
        check_arguments(words[names.index("mmer-pipe") + 1 :])
    elif words[0] == "make":
        result = subprocess.run(
            ["make", "--dry-run", "--directory", ROOT, *words[1:]],
            capture_output=True, text=True, check=False, env={**os.environ, "MAKEFLAGS": ""},
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
    else:
        assert Path(words[0]).name in PROGRAMS


def check_arguments(arguments: list[str]) -> None:
    """Parse a chain as click does, without running it: options and values must be such as the commands take."""
    context = main.make_context("mmer-pipe", list(arguments), resilient_parsing=True)  # it would read --config
    for name, part in parts_of([*context._protected_args, *context.args]):
        main.commands[name].make_context(name, part, parent=context)


def parts_of(words: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each command of a chain with its own arguments."""
    starts = [number for number, word in enumerate(words) if word in main.commands]
    assert starts[:1] == [0], f"expected a command, found {words[:1]}"
    for start, end in zip(starts, [*starts[1:], len(words)], strict=True):
        yield words[start], words[start + 1 : end]
