"""The code that determines a run's result, as a part of the run's identity.

A run must be trained again if its model or its training was edited, and must not be if they were only reworded, moved
to another directory, or released again. Three rules follow:

- A module counts by its syntax tree without docstrings, so comments, docstrings and formatting change nothing.
- `code_identity.json` has the digest of every module as released. A module that has this digest adds nothing to a run's
  identity; an edited one adds its own digest, so that folds trained by other code are refused, or trained again with
  `--restart`. Runs of versions that recorded no code were trained by unedited modules.
- A change that is kept is entered in that file (`python -m mmer_pipeline.training.code_identity`): with --same-results,
  runs that were trained before still count (`tests/training/test_same_results.py` compares losses); with --new-results,
  the module's digest names its new results in every identity from then on. So runs that were trained while a change was
  being made still count once it has been entered, and later releases with the same results keep them.

Counted are a system's modules, the encoders' and those of training, folds and CTC targets. Features and transcripts
count as data, with digests of their own. Of libraries, only the major versions of torch and transformers count: another
minor version changes last digits, which the report mentions if a run mixes such versions (`report/run_results.py`).
"""

import argparse
import ast
import importlib.util
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mmer_pipeline import files
from mmer_pipeline.digests import digest_of_result, digest_of_texts
from mmer_pipeline.runs import CODE, SYSTEM_FILE
from mmer_pipeline.systems.catalogue import SYSTEMS
from mmer_pipeline.systems.registry import file_of_system, find_system

PACKAGE = "mmer_pipeline"
MAJOR_VERSIONS = {"torch": "2", "transformers": "5"}  # with which version 0.1.0 trained: not in the identity
RELEASED = Path(__file__).with_suffix(".json")

# Of training: what a step, its examples and their order are made of, and what a saved model predicts.
_TRAINING = (
    "corpora.folds",
    "corpora.random_folds",
    "corpora.transcripts",
    *(
        f"training.{name}"
        for name in ("averaging", "batches", "build_model", "examples", "fold", "fold_inputs", "fold_parts",
                     "inference", "job", "loop", "lora", "mixed_precision", "moving_average", "parameter_groups",
                     "schedules", "step")
    ),
)  # fmt: skip
# Packages whose modules count if a system imports them, except those that only find things.
_IMPORTED = ("systems", "encoders")
_NOT_COUNTED = {
    *(f"systems.{name}" for name in ("registry", "titles", "entry", "catalogue", "published.entries")),
    *(f"encoders.{name}" for name in ("encoder_files", "embedded", "asr")),
}


@dataclass(frozen=True)
class ReleasedModule:
    """The entry of a module in `code_identity.json`."""

    code: str  # digest of the module
    results: str | None  # digest of the first code with these results; None: the results of version 0.1.0


@dataclass(frozen=True)
class Code:
    """The code of a system and of its training."""

    digests: Mapping[str, str]  # by module: "systems.mmer", or in full if it is not of this package
    file: str | None  # digest of the system's own file; None: it is registered

    def inputs(self) -> dict[str, str]:
        """The part of a run's inputs: nothing for modules as released with their first results."""
        released = released_modules()
        found = {}
        for name, digest in self.digests.items():
            entry = released.get(name)
            results = entry.results if entry and entry.code == digest else digest
            if results is not None:
                found[f"{CODE}{name}"] = results
        if self.file is not None:
            found[SYSTEM_FILE] = self.file
        return found | {
            f"{name} version": major
            for name, expected in MAJOR_VERSIONS.items()
            if (major := version(name).partition(".")[0]) != expected
        }


def code_of(system: str) -> Code:
    """Digest the modules that determine the results of a system.

    Raises:
        UserError: there is no such system.
    """
    model = find_system(system).model
    name = model.partition(":")[0] if isinstance(model, str) else model.__module__
    package = name.partition(".")[0]
    modules, digest = [name], None
    if file := file_of_system(system):
        source = file.read_bytes()
        of_file = Module.parse(source, "")
        modules = [other for other in (*of_file.imports, name) if _counts(other, package)]
        digest = of_file.digest
        modules = [other for other in modules if _source(other) != source]  # not this file, which has been imported
    found = _closure([*modules, *(f"{PACKAGE}.{short}" for short in _TRAINING)], package)
    return Code(dict(sorted(found.items())), digest)


def changed_code(system: str, inputs: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """Name the modules, or the system's file, that have changed since a run with these inputs and facts was trained."""
    now = as_recorded_before(code_of(system).inputs(), system, facts)
    names = dict.fromkeys(name for name in (*inputs, *now) if name.startswith(CODE) or name == SYSTEM_FILE)
    return [name for name in names if inputs.get(name) != now.get(name)]


def as_recorded_before(inputs: Mapping[str, Any], system: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """These inputs as the version that wrote a run's facts recorded them.

    Without an entry `code` among its facts, it counted a system's file by its bytes, and no module.
    """
    if "code" in facts:
        return dict(inputs)
    released = released_modules()
    kept = {
        name: value
        for name, value in inputs.items()
        if not name.startswith(CODE) or name.removeprefix(CODE) in released
    }
    if file := file_of_system(system):
        kept[SYSTEM_FILE] = digest_of_result(file)
    return kept


def advice(changes: Iterable[str]) -> str:
    """A line about edited code to follow a message that says what has changed; "" if no module has."""
    if not any(change.startswith(CODE) for change in changes):
        return ""
    return (
        "\nIf an edit of the code cannot change a result, say so once: "
        f"python -m {PACKAGE}.training.code_identity --same-results"
    )


@cache
def released_modules() -> dict[str, ReleasedModule]:
    """The entries of `code_identity.json`, by module."""
    return {name: ReleasedModule(**entry) for name, entry in json.loads(RELEASED.read_text("utf-8")).items()}


@dataclass(frozen=True)
class Module:
    """The code of a module."""

    digest: str  # of the code without its comments, docstrings and formatting
    imports: tuple[str, ...]  # modules that it may import

    @staticmethod
    def parse(source: bytes, name: str) -> "Module":
        """Parse the source of a module; `name` is that of the package that its relative imports start from."""
        tree = ast.parse(source)
        return Module(digest_of_texts(["\0".join(_words(tree))]), tuple(dict.fromkeys(_imports(tree, name))))


def _words(node: ast.AST) -> Iterator[str]:
    """Describe a syntax tree in the same words in every version of Python: without empty fields and positions."""
    waiting: list[Any] = [node]
    while waiting:
        entry = waiting.pop()
        if not isinstance(entry, ast.AST):
            yield repr(entry)
            continue
        yield type(entry).__name__
        for name in reversed(entry._fields):
            value = getattr(entry, name, None)
            if value is None or value == [] or name in ("ctx", "kind", "type_comment"):
                continue
            if not isinstance(value, list):
                waiting += [value, f"{name}="]
                continue
            if name == "body" and isinstance(entry, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                value = value[1:] if ast.get_docstring(entry, clean=False) is not None else value
            if name == "values" and isinstance(entry, ast.JoinedStr):
                value = [part for part in value if not (isinstance(part, ast.Constant) and part.value == "")]
            waiting += [f"{name}]", *reversed(value), f"{name}["]


def _closure(modules: Iterable[str], package: str) -> dict[str, str]:
    """Digest modules and, unless they are of training, those that they import and that count."""
    waiting, found = list(modules), {}
    while waiting:
        name = waiting.pop()
        short = name.removeprefix(f"{PACKAGE}.")
        module = None if short in found else _module(name)
        if module is not None:
            found[short] = module.digest
            waiting += [other for other in module.imports if short not in _TRAINING and _counts(other, package)]
    return found


def _counts(module: str, package: str) -> bool:
    head, _, rest = module.partition(".")
    if head == PACKAGE:
        return rest.partition(".")[0] in _IMPORTED and "." in rest and rest not in _NOT_COUNTED
    return head == package


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    """The modules that a module of a package may import; of `from a import b`, a and a.b, which may be no module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (entry.name for entry in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                above = parts[: len(parts) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield base
            yield from (f"{base}.{entry.name}" for entry in node.names)


def _source(module: str) -> bytes | None:
    """The source of a module; None: there is no such module, or it is not written in Python."""
    path = _path(module)
    return path.read_bytes() if path else None


def _path(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    path = Path(spec.origin) if spec and spec.origin else None
    return path if path and path.suffix == ".py" else None


@cache
def _module(name: str) -> Module | None:
    """Parse a module as it is when it is first asked for, which is the code that this process runs."""
    path = _path(name)
    package = name if path and path.name == "__init__.py" else name.rpartition(".")[0]
    return Module.parse(path.read_bytes(), package) if path else None


def current_modules() -> dict[str, str]:
    """The digests of all modules that count for the systems of this package."""
    return {name: digest for system in SYSTEMS for name, digest in code_of(system).digests.items()}


def record_changes(*, same_results: bool) -> list[str]:
    """Enter the present code in `code_identity.json`; returns the modules that have changed."""
    released, current = released_modules(), current_modules()
    entries, changed = {}, []
    for name, digest in sorted(current.items()):
        before = released.get(name)
        if before is None or before.code != digest:
            changed.append(name)
            results = (before.results if before else None) if same_results else digest
            before = ReleasedModule(digest, results)
        entries[name] = asdict(before)
    files.write_json(RELEASED, entries)
    return changed


def main(arguments: list[str] | None = None) -> None:
    """Run the command `python -m mmer_pipeline.training.code_identity`."""
    parser = argparse.ArgumentParser(description="Enter edited modules among the released ones.")
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--same-results", action="store_true", help="The edits change no result: earlier runs count.")
    choice.add_argument("--new-results", action="store_true", help="The edits change results: earlier runs do not.")
    changed = record_changes(same_results=parser.parse_args(arguments).same_results)
    sys.stdout.write("".join(f"{name}\n" for name in changed) or "No module has changed.\n")


if __name__ == "__main__":
    main()
