"""Sentences about one system for the methods section, from the records of its runs.

In a sentence, "{}" is the names of the systems that it is about, "{was}" and "{reads}" the verb for them.
"""

from collections.abc import Sequence
from typing import Any

from mmer_pipeline.corpora.speaker_folds import fold_unit
from mmer_pipeline.corpora.transcripts import ASR, GOLD
from mmer_pipeline.paths import encoder_name
from mmer_pipeline.report.architectures import architecture, spec_augment
from mmer_pipeline.report.frozen_systems import FITTED, FROZEN, fitted
from mmer_pipeline.report.published_systems import LOSSES, REBUILT
from mmer_pipeline.report.references import cite, of_encoder
from mmer_pipeline.report.report_content import System
from mmer_pipeline.report.trained_runs import JsonObject
from mmer_pipeline.report.wording import held_out_parts, percent
from mmer_pipeline.settings import DEFAULTS, SAME, SPEECH_CONFIG
from mmer_pipeline.systems.registry import describe_system, modalities_read
from mmer_pipeline.waveform_versions import NOISE, SPEED, versions

_OPTIMISERS = {"adamw": f"AdamW{cite('adamw')}", "adam": "Adam", "sgd": "stochastic gradient descent (momentum 0.9)"}


def listed(things: Sequence[str]) -> str:
    """Join things: "a, b and c"."""
    return " and ".join([", ".join(things[:-1]), things[-1]] if len(things) > 1 else list(things))


def protocol(system: System) -> list[str]:
    """Say how folds are made, how large they are, and whether speakers are shared."""
    folds, settings = _facts(system), _settings(system)
    by, expected = str(settings["folds"]), system.folds_expected
    if by == "split":
        sentences = ["{} {was} trained on the corpus's own training part and tested on its test part."]
    elif expected == 1:
        sentences = [f"{{}} {{was}} tested on one held-out part (column “{by}” of the manifest)."]
    else:
        of = held_out_parts(by) or f"values of the manifest's column “{by}”"
        sentences = [f"{{}} {{was}} evaluated by {expected}-fold cross-validation; the folds hold out {of}."]
    sizes = [entry["utterances"] for entry in folds if "utterances" in entry]
    if sizes:
        sentences.append(
            f"For {{}}, a fold has {_range([size['train'] for size in sizes])} training and "
            f"{_range([size['test'] for size in sizes])} held-out utterances."
        )
    if all("shared_speakers" in entry for entry in folds):
        shared = {name for entry in folds for name in entry["shared_speakers"]}
        sentences.append(
            f"For {{}}, {len(shared)} speakers are in both training and held-out parts."
            if shared
            else "For {}, no speaker is in both the training and the held-out part of a fold."
        )
    if settings["text_disjoint"]:
        sentences.append("For {}, training utterances whose words also occur in the held-out part were left out.")
    return sentences


def validation(system: System) -> list[str]:
    """Say which part chose an epoch, and that the headline numbers chose none."""
    settings, part = _settings(system), str(_settings(system)["validation"])
    last = sorted({len(curve.epochs) for curve in system.curves})
    epochs = f"epoch {last[0]}" if len(last) == 1 else f"epochs {last[0]} to {last[-1]}" if last else "its epoch"
    patience = settings.get("patience")
    sentences = [f"{{}} {{was}} evaluated after the last epoch ({epochs}); no epoch was chosen on the held-out part."]
    if system.system in FITTED:
        sentences = []
    if part != "none":
        unit = fold_unit(str(settings["folds"])) if settings["folds"] != "split" else "session"
        what = {"session": f"one {unit} of the training part", "speaker": "one speaker of the training part"}.get(
            part, f"a fraction of {part} of the training utterances"
        )
        averaged = settings.get("average_best", DEFAULTS["average_best"])
        take = f"the mean of the weights after the {averaged} epochs" if averaged > 1 else "the epoch"
        sentences.append(
            f"For {{}}, {what} served as the validation part; “validated” results take {take} with its best WA."
        )
    else:
        sentences.append("For {}, there was no validation part.")
    if patience:
        sentences.append(f"{{}} {{was}} trained until the validation WA had not risen for {patience} epochs.")
    return sentences


def seeds(system: System) -> list[str]:
    """Name the seeds."""
    numbers = listed(list(map(str, system.seeds)))
    return [f"{{}} {{was}} trained with seed{'s' if len(system.seeds) > 1 else ''} {numbers}."]


def system(system: System) -> list[str]:
    """Say what a system reads, with which encoders, and what is trained."""
    settings, reads = _settings(system), sorted(modalities_read(_settings(system)))
    used, revisions = system.encoders.used, _revisions(system)
    inputs = {"speech": "the recording", "text": "the transcript"}
    sentences = []
    if reads:
        encoders = [
            f"the {kind} encoder {name}{cite(*of_encoder(name))}"
            + (f" (revision {revisions[kind]})" if kind in revisions else " (revision not recorded)")
            for kind, name in used.items()
        ]
        by = f" with {listed(encoders)}" if encoders else ""
        sentences.append(f"{{}} {{reads}} {listed([inputs[kind] for kind in reads])}{by}.")
    if "text" in reads:
        words = {GOLD: "the corpus's transcripts", ASR: _automatic(system)}
        source, test = str(settings.get("transcripts", GOLD)), str(settings.get("test_transcripts", SAME))
        said = words.get(source, "no words")
        said += "" if test in (SAME, source) else f" in training and {words.get(test, 'no words')} in the held-out part"
        marks = {"strip": "removed", "keep": "kept", "mask": "masked"}[str(settings["annotations"])]
        sentences.append(f"For {{}}, the words are {said}; annotations such as [LAUGHTER] are {marks}.")
        tuned = settings.get("finetune_text")
        sentences.append("For {}, the text encoder was " + ("fine-tuned." if tuned else "frozen."))
    sentences += architecture(system)
    parameters = sorted({p for entry in _facts(system) if (p := entry.get("trained_parameters")) is not None})
    if parameters:
        sentences.append(f"{{}} {{was}} trained with {_range(parameters)} trainable parameters.")
    return sentences


def _automatic(system: System) -> str:
    """Name the ASR model of automatic transcripts, and their word error rate where it is known."""
    used = next((found for entry in _facts(system) if (found := entry.get("asr_transcripts"))), None)
    model = encoder_name(str(used["asr_model"] if used else _settings(system)["asr_model"]))
    rate = f" (word error rate {percent(used['wer'], 1)} %)" if used and used["wer"] is not None else ""
    return f"automatic transcripts of {model}{cite(*of_encoder(model))}{rate}"


def training(system: System) -> list[str]:
    """Say how a system was optimised."""
    if system.system in FITTED:
        return fitted(system)
    settings = _settings(system)
    get = {**DEFAULTS, **settings}.get
    alpha = get("alpha") if "alpha" in describe_system(str(system.system)).options else 0
    loss = LOSSES.get(str(system.system), "cross-entropy") + (f" + {alpha:g} · CTC{cite('ctc')}" if alpha else "")
    loss += f" (label smoothing {get('label_smoothing'):g})" if get("label_smoothing") else ""
    loss += ", weighted so that classes count equally" if get("balanced_classes") else ""
    schedule = {
        "constant": "constant",
        "linear": "with linear warm-up over a tenth of the steps and linear decay to zero",
        "decay": "with linear decay to zero",
        "cosine": "with cosine decay to a thousandth",
        "halving": "halved after 20, 40 and 60 % of the steps",
    }[str(get("schedule"))]
    optimiser = _OPTIMISERS[str(get("optimiser"))]
    sentences = [
        f"{{}} {{was}} trained for {'up to ' if get('patience') else ''}{get('epochs')} epochs in batches of "
        f"{get('batch_size')} utterances with {optimiser} (peak learning rate {get('learning_rate'):g}, "
        f"{schedule}; weight decay {get('weight_decay'):g}; {_clipping(get('clip_norm'))}).",
        f"For {{}}, the loss is {loss}.",
        f"For {{}}, dropout outside the encoders is {get('dropout'):g}, and the number format is {get('precision')}.",
    ]
    sentences += [] if system.system in (*FROZEN, *REBUILT) else spec_augment(system)
    sentences += _versions(str(get("augment")))
    others = {
        "head_learning_rate": "the parts that are not pretrained have a peak learning rate of {:g}",
        "layer_decay": "the learning rate falls by a factor of {:g} from each encoder layer to the one below",
        "frozen_epochs": "encoders are frozen for the first {:g} epochs",
        "layerdrop": "a step leaves out a layer of the speech encoder with probability {:g}",
        "speech_dropout": "every dropout rate of the speech encoder's transformer is {:g}",
        "ema": "an exponential moving average of the weights (decay {:g}) is evaluated",
    }
    told = [text.format(get(name)) for name, text in others.items() if get(name) != DEFAULTS[name]]
    if told:
        sentences.append(f"For {{}}, {listed(told)}.")
    rest = _rest(settings)
    if rest:
        sentences.append(f"For {{}}, these settings also differ from the defaults: {listed(rest)}.")
    return sentences


def _versions(augment: str) -> list[str]:
    """Say which versions of recordings training draws from."""
    told = {SPEED: f"{{:g}} times the speed{cite('ko2015')}", NOISE: "white noise {:g} dB below the recording"}
    named = [told[version.kind].format(version.amount) for version in versions(augment)]
    return [
        "For {}, a recording is read in training as it is or, equally likely at every use, in one of these versions: "
        f"{'; '.join(named)}."
    ] if named else []  # fmt: skip


_TOLD = {
    "folds", "text_disjoint", "validation", "system", "text_encoder", "text_revision", "speech_encoder",
    "speech_revision", "transcripts", "test_transcripts", "asr_model", "asr_revision", "annotations", "alpha",
    "finetune_text", "spec_augment", "epochs", "patience", "learning_rate", "head_learning_rate", "layer_decay",
    "frozen_epochs", "schedule", "optimiser", "weight_decay", "clip_norm", "balanced_classes", "label_smoothing",
    "dropout", "layer_sum", "speech_pooling", "inputs", "layer", "frozen_layers", "ema", *SPEECH_CONFIG, "batch_size",
    "padding", "precision", "seed", "augment", "average_best", "max_batch_seconds", "gradient_checkpointing", "lora",
    "fold", "speaker_weights",
}  # fmt: skip


def _rest(settings: JsonObject) -> list[str]:
    """Return the settings that no sentence tells and that differ from their defaults."""
    return [
        f"{name.replace('_', ' ')} {value}"
        for name, value in settings.items()
        if name not in _TOLD and name in DEFAULTS and value != DEFAULTS[name]
    ]


def _clipping(norm: Any) -> str:
    return f"gradients clipped to norm {norm:g}" if norm else "no gradient clipping"


def _settings(system: System) -> JsonObject:
    return system.runs[0].settings


def _facts(system: System) -> list[JsonObject]:
    return [fold.facts for run in system.runs for fold in run.folds]


def _revisions(system: System) -> dict[str, str]:
    """Return the recorded revisions of the encoders by kind; several if folds differ."""
    found: dict[str, dict[str, None]] = {}
    for entry in _facts(system):
        for kind, revision in (entry.get("revisions") or {}).items():
            if revision:
                found.setdefault(kind, {})[str(revision)] = None
    return {kind: " and ".join(values) for kind, values in found.items()}


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
