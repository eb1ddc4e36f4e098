"""The metadata of a setting, for the command line and the documentation."""

from dataclasses import dataclass, field
from typing import Any

DATA, MODEL, OPTIMISATION = "Data", "Model", "Optimisation"  # groups of options


@dataclass(frozen=True)
class Option:
    """A setting's metadata besides its name, type and default, for the command line and the documentation."""

    help: str
    group: str
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None  # smallest allowed value
    above: float | None = None  # exclusive lower limit
    below: float | None = None  # exclusive upper limit
    none: str | None = None  # the word for None on the command line
    for_features: bool = False  # determines which features are read
    is_identity: bool = True  # can change the result of a run
    is_new: bool = False  # added after version 0.1.0: in a run's identity only if it differs from its default
    is_optional: bool = False  # supported only by systems whose registry entry lists it


def setting(default: Any, help: str, group: str, **facts: Any) -> Any:
    """A field of `Settings` with this default and this metadata."""
    return field(default=default, metadata={"option": Option(help, group, **facts)})
