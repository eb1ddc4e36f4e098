"""Where everything lies that growth is measured on; it imports nothing, so that a stage's memory is its own."""

from dataclasses import dataclass
from pathlib import Path

DIM = 8  # of a row of features


@dataclass(frozen=True)
class Place:
    """Where everything lies of one number of utterances."""

    directory: Path

    @property
    def corpus(self) -> Path:
        """The recordings, and their manifest for `prepare csv`."""
        return self.directory / "corpus"

    @property
    def manifest(self) -> Path:
        """What `prepare` writes."""
        return self.directory / "cache" / "manifest.csv"

    @property
    def features(self) -> dict[str, Path]:
        """What `extract` writes."""
        return {kind: self.directory / "cache" / f"{kind}.h5" for kind in ("text", "speech")}

    @property
    def encoders(self) -> dict[str, Path]:
        """The encoders' directories."""
        return {kind: self.directory / f"{kind}-encoder" for kind in ("text", "speech")}

    @property
    def runs(self) -> Path:
        """Where the evaluated runs are."""
        return self.directory / "runs"
