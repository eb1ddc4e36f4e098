"""Pack a trained model into one directory that describes itself, and upload it to the hub.

The directory has `mmer_model.json` (settings, labels, encoders, cross-validation), `README.md` (the model card), one
folder per member with its weights, and, unless it is named by an id, the text encoder. The same model gives the same
bytes.
"""

import re
import shlex
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mmer_pipeline import __version__, files, paths, sealed_json
from mmer_pipeline.corpora.random_folds import RANDOM
from mmer_pipeline.corpora.speaker_folds import group_count
from mmer_pipeline.corpora.transcripts import NONE
from mmer_pipeline.encoders.embedded import is_embedded
from mmer_pipeline.encoders.encoder_files import SMALL_SUFFIXES
from mmer_pipeline.errors import UserError
from mmer_pipeline.prediction.card_facts import CardFacts, Score
from mmer_pipeline.prediction.model_card import model_card
from mmer_pipeline.prediction.trained_model import SCHEMA, EncoderReference, Member, TrainedModel, packed_settings
from mmer_pipeline.runs import VALIDATED
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.registry import file_of_system, short_name
from mmer_pipeline.systems.titles import title

TEXT_ENCODER, SPEECH_ENCODER = "text_encoder", "speech_encoder"  # folders of copies


@dataclass(frozen=True)
class CrossValidation:
    """The scores of a model, and how they were obtained."""

    scores: tuple[Score, ...]
    scores_of: Literal["folds", "this model"]
    folds: tuple[str, ...]  # the values that they hold out
    seeds: tuple[int, ...]


def pack(
    model: TrainedModel, output: Path, *, cross_validation: CrossValidation | None, include_encoders: bool = False
) -> None:
    """Write a packed model to `output`; an earlier packed model there is replaced.

    The text encoder is copied if it is a local directory, or with `include_encoders`; otherwise it is named by its id,
    revision and digest. So is a frozen speech encoder; one that was trained is part of the weights.

    Raises:
        Busy: another process is packing to `output`.
        UserError: `output` has other files, an encoder has changed, or the system or a feature comes from a file.
    """
    for name in filter(file_of_system, (model.settings.system, *model.settings.inputs.split("+"))):
        raise UserError(
            f"{'System' if name == model.settings.system else 'Feature'} {short_name(name)} comes from a file, which a "
            "packed model cannot bring along. Register it as an entry point of a package (docs: Adding a system, "
            "Features), and train with that name."
        )
    if output.exists() and not (output / paths.MODEL_DESCRIPTION).is_file():
        raise UserError(f"{output} exists and is no packed model. Give a new directory with --output.")
    if Path.cwd().is_relative_to(output.resolve()):
        raise UserError(f"{output} is the working directory, which packing would replace. Run the command elsewhere.")
    if others := _other_files(output):
        raise UserError(
            f"{output} contains files that are not part of a packed model: {', '.join(others)}. Packing again would "
            "delete them: move them away, or give a new directory with --output."
        )
    output = output.resolve()
    with files.locked(paths.lock_of(output)), files.replacing_directory(output) as temporary:
        for member, name in zip(model.members, _member_names(model), strict=True):
            (temporary / name).mkdir()
            for path in (member.directory / paths.MODEL_CONFIG_NAME, member.directory / paths.WEIGHTS_NAME):
                shutil.copyfile(path, temporary / name / path.name)
        encoders = {
            folder: _packed_encoder(encoder, temporary / folder, include_encoders)
            for folder, encoder in ((TEXT_ENCODER, model.text), (SPEECH_ENCODER, model.speech))
        }
        if model.speech is None:
            del encoders[SPEECH_ENCODER]
        sealed_json.write(temporary / paths.MODEL_DESCRIPTION, _description(model, encoders, cross_validation))
        files.write_text(temporary / paths.MODEL_CARD, model_card(_card_facts(model, cross_validation)))


def _other_files(directory: Path) -> list[str]:
    """The other contents of a packed model's directory, such as `.git`."""
    own = re.compile(
        rf"model|fold-\w+|{TEXT_ENCODER}|{SPEECH_ENCODER}|{re.escape(paths.MODEL_DESCRIPTION)}|{paths.MODEL_CARD}"
    )
    return sorted(path.name for path in directory.glob("*") if not own.fullmatch(path.name))


def _member_names(model: TrainedModel) -> list[str]:
    if len(model.members) == 1:
        return ["model"]
    return [f"fold-{paths.fold_name(member.fold)}" for member in model.members]


def _packed_encoder(reference: EncoderReference | None, folder: Path, include_encoders: bool) -> dict[str, Any] | None:
    """How the description names an encoder, of which a copy may have been written to `folder`."""
    if reference is None:
        return None
    found = reference.files()  # checks that it is the one of the training
    facts = {"name": paths.encoder_name(found.name), "revision": reference.revision, "digest": reference.digest}
    is_local = found.revision is None and not is_embedded(found.name)
    if not (is_local or include_encoders):
        return {**facts, "directory": None}
    folder.mkdir()
    small = [path for path in sorted(found.directory.iterdir()) if path.suffix in SMALL_SUFFIXES]
    for path in (*small, *found.weight_files):
        shutil.copyfile(path, folder / path.name)
    return {**facts, "directory": folder.name}


def _description(
    model: TrainedModel, encoders: dict[str, Any], cross_validation: CrossValidation | None
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "version": __version__,
        "name": model.name,
        "labels": list(model.labels),
        "settings": packed_settings(model.settings),
        "selection": model.selection,
        "members": [
            {
                "directory": name,
                "fold": member.fold,
                "held_out": member.held_out,
                "digest": member.digest,
                "config_digest": member.config_digest,
                "epoch": member.epoch,
            }
            for member, name in zip(model.members, _member_names(model), strict=True)
        ],
        **encoders,
        "corpus": model.corpus,
        "utterances": model.utterances,
        "versions": dict(model.versions),
        "cross_validation": None if cross_validation is None else asdict(cross_validation),
    }


def _card_facts(model: TrainedModel, cross_validation: CrossValidation | None) -> CardFacts:
    settings = model.settings
    known = cross_validation
    return CardFacts(
        name=model.name,
        title=title(asdict(settings)),
        labels=model.labels,
        corpus=model.corpus,
        utterances=model.utterances,
        folds=known.folds if known else (),
        fold_column=settings.folds,
        seeds=known.seeds if known else (settings.seed,),
        epochs=settings.epochs,
        protocol=_protocol(model),
        scores=known.scores if known else (),
        members=tuple(_described(member, settings) for member in model.members),
        text_encoder=_shown(settings.text_encoder) if model.reads_text else None,
        text_revision=model.text.revision if model.text else None,
        speech_encoder=_shown(settings.speech_encoder) if model.reads_speech else None,
        asr_model=_shown(settings.asr_model) if model.reads_text and settings.transcripts != NONE else None,
        annotations=settings.annotations,
        transcripts=settings.transcripts,
        versions=model.versions,
        scores_of=known.scores_of if known else "folds",
    )


def _protocol(model: TrainedModel) -> str:
    """Say how the epochs of the members were chosen."""
    settings = model.settings
    if model.selection == VALIDATED:
        chosen = "the epoch"
        if settings.average_best > 1:
            chosen = f"the mean of the weights after the {settings.average_best} epochs"
        return f"validated: {chosen} with the highest WA on the validation part (--validation {settings.validation})"
    if settings.patience:
        return f"final: the last epoch that was trained (--patience {settings.patience})"
    return "final: the last epoch, no selection"


def _described(member: Member, settings: Settings) -> str:
    """Say what a member was trained on, and its epoch if that is not the last one."""
    names_unit = group_count(settings.folds) or settings.folds == RANDOM
    what = member.held_out if names_unit else f"{settings.folds} {member.held_out}"
    trained = f"fold {member.fold}, without {what}" if member.fold else "trained on everything"
    return trained if member.epoch in (None, settings.epochs) else f"{trained}, epoch {member.epoch}"


def _shown(encoder: str) -> str:
    """An encoder's name for the card, in which the place of a local directory is of no use."""
    name = paths.encoder_name(encoder)
    return name if name == encoder else f"./{name}"


def push(model: TrainedModel, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
    """Upload a packed model to the hub, creating the repository if need be; returns its address.

    Members and encoders of an earlier upload are deleted there if the model no longer has them; other files stay.

    Raises:
        UserError: the model is not packed, nobody is logged in, or the hub refuses it or cannot be reached.
    """
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]  # httpx's own

    if model.packed is None:
        raise UserError(
            f"{model.name} is a run. Pack it first: `mmer-pipe pack {shlex.quote(model.name)} --push-to-hub USER/NAME`."
        )
    if not (token or huggingface_hub.get_token()):
        raise UserError("You are not logged in to the hub. Run `hf auth login`, or set HF_TOKEN.")
    api = huggingface_hub.HfApi(token=token)
    try:
        address = str(api.create_repo(repo_id, private=private, exist_ok=True))
        api.upload_folder(
            repo_id=repo_id,
            folder_path=model.packed,
            commit_message=f"Upload {model.name}",
            delete_patterns=[f"{folder}/*" for folder in ("model", "fold-*", TEXT_ENCODER, SPEECH_ENCODER)],
        )
    except HFValidationError as error:
        raise UserError(f"{repo_id!r} is no id of a repository on the hub ({error}). Expected user/name.") from None
    except (HTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{repo_id} could not be uploaded: {reason}. Check the network, the name, and `hf auth whoami`."
        ) from None
    return address
