"""Systems and features from other packages (entry points) and from Python files (FILE.py:NAME)."""

import importlib.util
import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from mmer_pipeline.digests import digest_of_texts
from mmer_pipeline.errors import UserError, shortened
from mmer_pipeline.paths import expanded, is_file

_IN_A_FILE = re.compile(r"(?P<file>[^:]+\.py):(?P<name>[^:]+)")


def split_file(name: str) -> tuple[Path, str] | None:
    """The absolute path of the file and the name in it, of FILE.py:NAME; None if the name is not of this form."""
    found = _IN_A_FILE.fullmatch(name)
    return (expanded(found["file"]).absolute(), found["name"]) if found else None


def split_words(entry: str) -> list[str]:
    """Split a text at its colons, except those within FILE.py:NAME."""
    return re.split(r"(?<!\.py):", entry)


def from_file(path: Path, dictionary: str, name: str) -> Any:
    """The entry of a dictionary in a Python file.

    Raises:
        UserError: there is no such file, dictionary or entry, or the file cannot be loaded.
    """
    if not is_file(path):
        raise UserError(
            f"There is no file {shortened(path, 300)}. Expected a Python file with a dictionary {dictionary}."
        )
    entries = getattr(_module(path), dictionary, None)
    if not isinstance(entries, Mapping):
        raise UserError(f"{path} has no dictionary {dictionary}. Expected one that maps names to entries.")
    if name not in entries:
        raise UserError(
            f"{path} has no entry {name!r} in its dictionary {dictionary}. Add the entry, or correct the name."
        )
    return entries[name]


def from_package(group: str, name: str) -> Any:
    """The entry point of another package with this name; None if there is none.

    Raises:
        UserError: it cannot be imported.
    """
    found = entry_points(group=group, name=name)
    return _loaded(next(iter(found))) if found else None


def package_names(group: str) -> list[str]:
    """The names that other packages register, sorted."""
    return sorted(entry.name for entry in entry_points(group=group))


def _loaded(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except Exception as error:  # another package can raise anything
        raise UserError(
            f"{entry.name!r} cannot be loaded from {entry.value}: {type(error).__name__}: {error}. "
            "Correct or install the package that registers it."
        ) from error


@cache
def _module(path: Path) -> Any:
    name = f"mmer_system_file_{digest_of_texts([str(path)])}"  # no library's, whatever the file is called
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look up their module there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's code can raise anything
        del sys.modules[name]
        raise UserError(f"{path} cannot be loaded: {type(error).__name__}: {error}. Correct the file.") from error
    return module
