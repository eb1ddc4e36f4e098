"""Paths of the growth benchmark. Imports nothing heavy, so that the memory of a stage is its own."""

from dataclasses import dataclass
from pathlib import Path

DIM = 8  # width of the features


@dataclass(frozen=True)
class Workspace:
    """The files for one number of utterances."""

    directory: Path

    @property
    def corpus(self) -> Path:
        """The recordings, and their manifest for `prepare csv`."""
        return self.directory / "corpus"

    @property
    def manifest(self) -> Path:
        """The manifest that `prepare` writes."""
        return self.directory / "cache" / "manifest.csv"

    @property
    def features(self) -> dict[str, Path]:
        """The feature files that `extract` writes."""
        return {kind: self.directory / "cache" / f"{kind}.h5" for kind in ("text", "speech")}

    @property
    def encoders(self) -> dict[str, Path]:
        """The encoders' directories."""
        return {kind: self.directory / f"{kind}-encoder" for kind in ("text", "speech")}

    @property
    def runs(self) -> Path:
        """The evaluated runs."""
        return self.directory / "runs"
