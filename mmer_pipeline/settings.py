"""The settings of a run, what of them makes its identity, and the record of what was really used."""

import hashlib
import json
import platform
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mmer_pipeline import files
from mmer_pipeline.errors import UserError
from mmer_pipeline.systems.registry import SYSTEMS, applied

PRECISIONS = ("auto", "fp32", "tf32", "bf16")
SCHEDULES = ("constant", "linear")
CTC_ALPHABETS = ("wav2vec2", "corpus")
# What decides which features are read.
FEATURE_SETTINGS = (
    *("text_encoder", "text_revision", "speech_encoder", "speech_revision"),
    *("annotations", "dtype", "speech_features"),
)
# Where an encoder lies does not matter: its digest is among the inputs. How a step is cut changes its dropout draws
# and not its gradient; memory that runs out must not make another run of it.
_NOT_IDENTITY = ("text_encoder", "text_revision", "speech_encoder", "speech_revision", "max_batch_seconds")
_LIBRARIES = ("mmer-pipeline", "torch", "transformers", "accelerate", "numpy", "scikit-learn", "h5py")


@dataclass(frozen=True)
class Settings:
    """All settings of training one fold; the defaults are the paper's (section 4.3) where it gives them."""

    fold: int  # counted from 1
    folds: str = "session"  # the column whose k-th value fold k holds out
    text_disjoint: bool = False  # leave out training utterances whose words stand in the held-out part
    validation: str = "none"  # none, session, speaker, or a fraction of the training utterances
    system: str = "mmer"  # a name in `systems.SYSTEMS`
    text_encoder: str = "roberta-base"
    text_revision: str | None = None  # hub commit, tag or branch
    speech_encoder: str = "facebook/wav2vec2-base"
    speech_revision: str | None = None
    annotations: str = "strip"  # what becomes of [LAUGHTER] and {LG} in the encoder's text
    dtype: str = "float16"  # of the stored features
    speech_features: bool = True  # read the front end's frames from the store, or compute them each time
    ctc_alphabet: str = "wav2vec2"  # its 32 symbols, or the corpus's own letters
    alpha: float = 0.1  # weight of the CTC loss; 0: no CTC head
    gate: bool = True  # MMER: the acoustic gate, eq. 2
    r_branch: bool = True  # MMER: speech-aware words (section 3.3.1)
    q_branch: bool = True  # MMER: word-aware speech (section 3.3.2)
    pooled: str = "both"  # MMER: what its emotion head reads; both, speech (mean A), fused (mean M), text (mean T)
    finetune_text: bool = False  # RoBERTa: train the text encoder too, from the transcripts
    epochs: int = 100
    learning_rate: float = 1e-5  # the highest of the schedule
    schedule: str = "constant"  # constant (the paper's), or linear: up over the first tenth of the steps, then down
    weight_decay: float = 0.01  # AdamW's default; the paper gives none
    clip_norm: float = 1.0  # the gradient's norm is cut to this; 0 leaves it
    dropout: float = 0.1  # of the MMI and before the emotion head
    batch_size: int = 8  # utterances an optimiser step (the paper: 2, accumulated 4 times)
    bucket_batches: int = 16  # batches that are sorted by length together; 1: none
    max_batch_seconds: float | None = None  # audio of one micro-batch, padding included; None: what fits
    precision: str = "fp32"  # fp32, tf32 or bf16, as resolved
    compile: bool = False  # torch.compile the transformer layers
    seed: int = 1

    @staticmethod
    def of(system: str, **options: Any) -> "Settings":
        """The settings of a system, where options that it lacks keep their default (α: 0).

        Raises:
            UserError: such an option was given.
        """
        defaults = {field.name: field.default for field in fields(Settings)}
        return Settings(system=system, **applied(system, options, defaults))

    @property
    def reads_text_features(self) -> bool:
        """Whether the system reads text features from the store."""
        return "text" in SYSTEMS[self.system].reads and not self.finetune_text

    @property
    def reads_speech_features(self) -> bool:
        """Whether the system reads front-end frames from the store."""
        return "speech" in SYSTEMS[self.system].reads and self.speech_features

    def flags(self, names: Iterable[str]) -> str:
        """Those of these settings that are not the default, as they are typed on the command line."""
        default = Settings(fold=self.fold)
        words: list[str] = []
        for name in names:
            value, flag = getattr(self, name), name.replace("_", "-")
            if value == getattr(default, name):
                continue
            words += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
        return shlex.join(words)

    def extract_command(self) -> str:
        """The command that makes the features of these settings."""
        return f"mmer-pipe extract {self.flags(FEATURE_SETTINGS)}".rstrip()

    def train_command(self, run: str, fold: int) -> str:
        """The command that trains a fold with these settings."""
        not_said = {"fold", "precision", *({"alpha"} - set(SYSTEMS[self.system].options))}
        names = (field.name for field in fields(self) if field.name not in not_said)
        return f"mmer-pipe train --run {shlex.quote(run)} --fold {fold} {self.flags(names)}".rstrip()

    def identity(self, inputs: Mapping[str, Any]) -> str:
        """16 hex digits of everything that can change the result: these settings and the inputs' digests."""
        kept = {name: value for name, value in asdict(self).items() if name not in _NOT_IDENTITY}
        text = json.dumps({"settings": kept, "inputs": dict(inputs)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class RunRecord:
    """`settings.json` of a fold."""

    settings: Settings
    inputs: dict[str, Any]  # digests of manifest and features, labels, alphabet: with the settings the identity
    facts: dict[str, Any]  # where it ran and with what; not part of the identity

    @property
    def identity(self) -> str:
        """As `Settings.identity`."""
        return self.settings.identity(self.inputs)

    def write(self, path: Path) -> None:
        """Write `settings.json`."""
        value = {
            "identity": self.identity,
            "settings": asdict(self.settings),
            "inputs": self.inputs,
            "facts": self.facts,
        }
        files.write_json(path, value)

    @staticmethod
    def read(path: Path, made_by: str) -> "RunRecord":
        """Read `settings.json`.

        Raises:
            UserError: it is missing, broken, or another version's.
        """
        value = files.read_json(path, made_by)
        known = {field.name for field in fields(Settings)}
        try:
            unknown = sorted(set(value["settings"]) - known)
            if not unknown:
                return RunRecord(Settings(**value["settings"]), value["inputs"], value["facts"])
        except (KeyError, TypeError) as error:
            raise UserError(f"{path} is not a run's settings ({error}). Train again with --restart.") from None
        raise UserError(f"{path} has settings that this version does not know: {', '.join(unknown)}.")

    def differences(self, other: "RunRecord") -> list[str]:
        """What differs between two records' identities, "name: this → that" each."""
        mine, theirs = ({**asdict(record.settings), **record.inputs} for record in (self, other))
        return [
            f"{name}: {mine.get(name)!r} → {theirs.get(name)!r}"
            for name in mine
            if name not in _NOT_IDENTITY and mine.get(name) != theirs.get(name)
        ]


def environment(device: str) -> dict[str, Any]:
    """The facts of where a run takes place."""
    return {
        "device": device,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version(name) for name in _LIBRARIES},
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    """The commit of the source tree that runs, with `-dirty` where files differ; None for an installed wheel."""
    here = Path(__file__)
    commands = (
        ["git", "ls-files", "--error-unmatch", here.name],  # a wheel in somebody's repository is none of its files
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
    )
    said = ""
    for command in commands:
        try:
            answer = subprocess.run(command, cwd=here.parent, capture_output=True, text=True, check=True, timeout=10)
        except (OSError, subprocess.SubprocessError):
            return None
        said = answer.stdout.strip()
    return said or None
