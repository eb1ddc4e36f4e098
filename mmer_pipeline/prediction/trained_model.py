"""A trained model and all that it needs for use, found in a run, in a packed directory, or on the hub.

It has one member, or several that vote: an ensemble whose probabilities are averaged, for example of the models of a
cross-validation's folds.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mmer_pipeline import paths, sealed_json
from mmer_pipeline.digests import digest_of_facts, digest_of_result
from mmer_pipeline.encoders.encoder_files import EncoderFiles, download, resolve_encoder
from mmer_pipeline.errors import UserError, shortened
from mmer_pipeline.evaluations import check_trained
from mmer_pipeline.json_shapes import mismatch
from mmer_pipeline.runs import FINAL, RunRecord, read_metrics, refuse_fusion, trained_folds, validated_epoch
from mmer_pipeline.settings import DEFAULTS, Settings
from mmer_pipeline.suggested_commands import train_command
from mmer_pipeline.systems.registry import all_inputs, encoders_read, file_of_system, modalities_read

SCHEMA = 1  # of mmer_model.json
_ENCODER = {"name": str, "revision": (str, None), "digest": str, "directory": (str, None)}
_DESCRIPTION = {
    "name": str,
    "settings": dict,
    "labels": [str],
    "members": [
        {"directory": str, "fold": int, "held_out": str, "digest": str, "config_digest?": (str, None),
         "epoch?": (int, None)}
    ],
    "text_encoder": (_ENCODER, None),
    "speech_encoder?": (_ENCODER, None),
    "corpus": str,
    "utterances": int,
    "versions": {str: str},
    "selection?": str,
}  # fmt: skip


@dataclass(frozen=True)
class Member:
    """One trained model of an ensemble, or the only one."""

    directory: Path  # contains config.json and model.safetensors
    fold: int  # counted from 1; 0: trained on everything
    held_out: str  # the session, speaker … that it never heard; "" for none
    digest: str  # of its weights
    epoch: int | None = None  # whose weights these are; None: of several, or packed before this was recorded
    config_digest: str | None = None  # of its configuration; None likewise


@dataclass(frozen=True)
class EncoderReference:
    """An encoder that is not part of a member's weights."""

    name: str  # hub id, name of an embedded model, or directory
    revision: str | None  # commit on the hub
    digest: str  # of configuration, tokenizer and weights

    def files(self) -> EncoderFiles:
        """Find the encoder.

        Raises:
            UserError: it is not available, or it is not the one that the model was trained with.
        """
        found = resolve_encoder(self.name, self.revision)
        if found.digest() != self.digest:
            raise UserError(
                f"The encoder {self.name} is not the one that the model was trained with: expected the digest "
                f"{self.digest}, found {found.digest()}. Restore its files, or train the model again with this one."
            )
        return found


@dataclass(frozen=True)
class TrainedModel:
    """A trained model for use."""

    name: str  # of the run or the directory
    settings: Settings  # of its first member
    labels: tuple[str, ...]
    members: tuple[Member, ...]
    text: EncoderReference | None  # None: the system reads no text
    corpus: str
    utterances: int  # of the corpus
    versions: Mapping[str, str]  # of the libraries that trained it
    selection: str = FINAL  # how the epochs of its members were chosen: one of `runs.SELECTIONS`
    packed: Path | None = None  # the directory of a packed model
    speech: EncoderReference | None = None  # a frozen one, which is not part of the weights; None: there is none

    @property
    def digest(self) -> str:
        """Digest of everything that a prediction depends on, apart from the ASR model: 16 hex digits."""
        text = self.text.digest if self.text else None
        members = [member.digest for member in self.members]
        speech = {"speech": self.speech.digest} if self.speech else {}
        return digest_of_facts({"settings": self.settings.identity(), "members": members, "text": text, **speech})

    @property
    def reads_text(self) -> bool:
        """Whether it needs a transcript."""
        return "text" in modalities_read(asdict(self.settings))

    @property
    def reads_speech(self) -> bool:
        """Whether it needs the recording."""
        return "speech" in modalities_read(asdict(self.settings))


def find_model(name: str, runs: Path, numbers: Sequence[int] = (), revision: str | None = None) -> TrainedModel:
    """Find a model by the path of a packed model or a run, by the name of a run in `runs`, or by its id on the hub.

    `numbers` are the folds of a run to use, 0 being the model that was trained on everything; see `model_of_run`.

    Raises:
        UserError: there is no such model, or it belongs to another version.
    """
    path, run = paths.expanded(name), _run_directory(name, runs)
    is_packed = paths.is_file(path / paths.MODEL_DESCRIPTION)
    is_id = name.count("/") == 1 and not (paths.is_directory(path) or name.startswith((".", "/", "~")))
    if run is None and not (is_packed or is_id):
        there = ", ".join(sorted(run.name for run in runs.glob("*") if any(run.glob("fold-*/model")))) or "none"
        raise UserError(
            f"There is no model {shortened(repr(name), 300)}. Expected a directory written by `mmer-pipe pack`, a run "
            f"in {runs}, or an id on the hub such as user/name. Trained runs: {there}."
        )
    if revision is not None and (is_packed or run is not None):
        raise UserError(f"{name} is a local directory: a revision applies only to models on the hub. Leave it out.")
    if run is not None and not is_packed:
        return model_of_run(run, numbers)
    if numbers:
        raise UserError(f"{name} is a packed model; --fold applies only to runs. Leave it out.")
    return read_packed_model(path if is_packed else download(name, revision, ["*"], "model"))


def _run_directory(name: str, runs: Path) -> Path | None:
    """The directory of a run that is given by its path, or by its name in `runs`."""
    path = paths.expanded(name)
    if paths.is_directory(path) and any(path.glob("fold-*/settings.json")):
        return path
    is_name = name == path.name and name not in ("", "..")
    return runs / name if is_name and paths.is_directory(runs / name) else None


def model_of_run(run: Path, numbers: Sequence[int] = (), selection: str = FINAL) -> TrainedModel:
    """The model of a run: that of the given folds, else the one trained on everything, else all folds as an ensemble.

    `selection` is one of `runs.SELECTIONS`.

    Raises:
        UserError: a fold is not trained or has no validated model, or the folds were trained with different settings.
    """
    refuse_fusion(run)
    if not numbers:
        whole = paths.fold(run, 0).weights.is_file()
        numbers = [0] if whole else trained_folds(run)
    folds = {number: _record(run, number) for number in numbers}  # a fold that is given twice counts once
    first = next(iter(folds.values()))
    for record in folds.values():
        other = [line for line in first.differences(record) if line.partition(":")[0] not in ("fold", "held_out")]
        if other:
            listed = "\n  ".join(other)
            raise UserError(
                f"The folds of {run} were trained with different settings or features:\n  {listed}\n"
                "Choose folds that go together with --fold, or train them again with the same settings."
            )
    members = tuple(_member(run, record, selection) for record in folds.values())
    return TrainedModel(
        name=run.resolve().name,
        settings=first.settings,
        labels=tuple(first.inputs["labels"]),
        members=members,
        text=_encoder(first, "text"),
        speech=_encoder(first, "speech"),
        corpus=first.facts.get("corpus", "unknown"),  # a run that another program wrote may lack these
        utterances=sum(first.facts.get("utterances", {}).values()),
        versions=first.facts.get("versions", {}),
        selection=selection,
    )


def _member(run: Path, record: RunRecord, selection: str) -> Member:
    """The model of a fold's last or validated epoch."""
    number, held_out = record.settings.fold, record.inputs.get("held_out") or ""
    fold = paths.fold(run, number)
    found = check_trained(fold, record, run.name)
    epochs = read_metrics(fold.metrics)
    if selection == FINAL:
        return Member(fold.model, number, held_out, *_facts(found, fold.weights, len(epochs) or None))
    epoch = validated_epoch(epochs)
    if epoch is None or not fold.validated_weights.is_file():
        settings, name, restart = record.settings, run.name, " --restart"
        if settings.validation == DEFAULTS["validation"]:
            settings = replace(settings, validation="session" if number else "0.1")
            name, restart = f"{run.name}-validated", ""
        raise UserError(
            f"Fold {paths.fold_name(number)} of {run} has no model of the validated epoch. To make one, run "
            f"`{train_command(settings, name, number)}{restart}`."
        )
    one = epoch if record.settings.average_best == 1 else None
    return Member(fold.validated_model, number, held_out, *_facts(found, fold.validated_weights, one))


def _facts(found: Mapping[str, str], weights: Path, epoch: int | None) -> tuple[str, int | None, str | None]:
    """The digest of a member's weights, its epoch, and the digest of its configuration."""
    folder = weights.parent.name
    return found[f"{folder}/{paths.WEIGHTS_NAME}"], epoch, found.get(f"{folder}/{paths.MODEL_CONFIG_NAME}")


def _record(run: Path, number: int) -> RunRecord:
    """The record of a trained fold."""
    fold = paths.fold(run, number)
    command = f"mmer-pipe train --run {shlex.quote(run.name)} --fold {paths.fold_name(number)}"
    record = RunRecord.read(fold.settings, command) if fold.settings.is_file() else None
    if record is None or not fold.weights.is_file():
        command = train_command(record.settings, run.name, number) if record else command
        raise UserError(f"Fold {paths.fold_name(number)} of {run} is not trained. Run `{command}`.")
    return record


def _encoder(record: RunRecord, kind: str) -> EncoderReference | None:
    """The text or speech encoder that a fold was trained with; None if its weights are in the model, or it has none."""
    settings, facts = record.settings, record.facts
    if kind not in encoders_read(settings) or (kind == "speech" and "speech" in all_inputs(settings)):
        return None
    name: str = getattr(settings, f"{kind}_encoder")
    found = resolve_encoder(name, facts.get("revisions", {}).get(kind) or getattr(settings, f"{kind}_revision"))
    trained_with = facts.get("encoder_digests", {}).get(kind)  # older runs do not say
    return EncoderReference(name, found.revision, trained_with or found.digest())


def read_packed_model(directory: Path) -> TrainedModel:
    """Read a packed model.

    Raises:
        UserError: the directory is not one, is damaged, or was written by another version.
    """
    path = directory / paths.MODEL_DESCRIPTION
    if not path.is_file():
        raise UserError(f"{directory} is no packed model: it has no {paths.MODEL_DESCRIPTION}. Run `mmer-pipe pack`.")
    again = "Pack the model again with this version, or use the version that packed it"
    value = sealed_json.read(path, "mmer-pipe pack")
    if value.get("schema") != SCHEMA:
        raise UserError(
            f"{path} has schema {value.get('schema')} (mmer-pipeline {value.get('version', 'unknown')}), expected "
            f"{SCHEMA}. {again}."
        )
    if fault := mismatch(value, _DESCRIPTION):
        raise UserError(f"{path} is damaged: {fault}. {again}.")
    try:
        settings = Settings.read(value["settings"])
    except ValueError as error:
        raise UserError(f"{path} {error}. {again}.") from None
    for name in filter(file_of_system, (settings.system, *settings.inputs.split("+"))):
        raise UserError(
            f"{path} names a system or feature from a file ({name}), whose code would be run. Only those of installed "
            "packages are loaded."
        )
    return TrainedModel(
        name=value["name"],
        settings=settings,
        labels=tuple(value["labels"]),
        members=_members(directory, value["members"]),
        text=_packed_encoder(directory, value["text_encoder"]),
        speech=_packed_encoder(directory, value.get("speech_encoder")),
        corpus=value["corpus"],
        utterances=value["utterances"],
        versions=value["versions"],
        selection=value.get("selection", FINAL),
        packed=directory,
    )


def _members(directory: Path, entries: Sequence[Mapping[str, Any]]) -> tuple[Member, ...]:
    """The members of a packed model, whose files must be there and unchanged."""
    members = []
    for entry in entries:
        place = _inside(directory, entry["directory"])
        known = {paths.WEIGHTS_NAME: entry["digest"], paths.MODEL_CONFIG_NAME: entry.get("config_digest")}
        for name, digest in known.items():
            if not (place / name).is_file():
                raise UserError(f"{place / name} is missing: the packed model is incomplete. Copy it again.")
            if digest is not None and digest_of_result(place / name) != digest:
                raise UserError(
                    f"{place / name} is damaged: its digest is not the recorded one. Copy or download the model again."
                )
        facts = (entry["digest"], entry.get("epoch"), entry.get("config_digest"))
        members.append(Member(place, entry["fold"], entry["held_out"], *facts))
    if not members:
        raise UserError(f"{directory / paths.MODEL_DESCRIPTION} is damaged: it has no members. Pack the model again.")
    return tuple(members)


def _inside(directory: Path, name: str) -> Path:
    """A folder of a packed model.

    Raises:
        UserError: the name is not one that packing gives, such as a path to elsewhere.
    """
    if not re.fullmatch(r"[\w-]{1,100}", name, re.ASCII):
        raise UserError(
            f"{directory / paths.MODEL_DESCRIPTION} is damaged: {shortened(repr(name))} is no folder of the packed "
            "model. Copy or download the model again."
        )
    return directory / name


def _packed_encoder(directory: Path, encoder: Mapping[str, Any] | None) -> EncoderReference | None:
    """An encoder of a packed model: the copy in its directory, or the one that it names."""
    if encoder is None:
        return None
    if encoder["directory"]:
        return EncoderReference(str(_inside(directory, encoder["directory"]).absolute()), None, encoder["digest"])
    return EncoderReference(encoder["name"], encoder["revision"], encoder["digest"])


def packed_settings(settings: Settings) -> dict[str, Any]:
    """The settings as a packed model stores them: without the places of files on this machine."""
    value = asdict(settings)
    for name in ("text_encoder", "speech_encoder", "asr_model"):
        value[name] = paths.encoder_name(value[name])
    return value
