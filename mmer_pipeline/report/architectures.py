"""Sentences about the architecture of the built-in systems for the methods section, from the records of their runs.

In a sentence, "{}" is the names of the systems that it is about (`method_facts.py`). The modules are `systems.mmer` and
`systems.unimodal`; of a system from elsewhere, nothing is known.
"""

from mmer_pipeline import files
from mmer_pipeline.errors import UserError
from mmer_pipeline.json_shapes import mismatch
from mmer_pipeline.paths import FoldPaths
from mmer_pipeline.report.frozen_systems import FROZEN, frozen_system
from mmer_pipeline.report.published_systems import REBUILT, published_system
from mmer_pipeline.report.references import MMER, cite
from mmer_pipeline.report.report_content import System
from mmer_pipeline.report.trained_runs import JsonObject
from mmer_pipeline.settings import DEFAULTS

_READ = {
    "speech": "the mean of the speech encoder's frames",
    "fused": "the mean of the fused words",
    "text": "the mean of the text encoder's tokens",
    "both": "the mean of the speech encoder's frames and the mean of the fused words",
}
_TYPE = {"model_type": str}
_MASKS = {
    **_TYPE, "apply_spec_augment?": bool,
    "mask_time_prob": float, "mask_time_length": int, "mask_feature_prob": float, "mask_feature_length": int,
}  # fmt: skip
_LP_FT = (
    "For {}, the emotion head is a linear layer that reads the mean and the standard deviation of every layer of the "
    "speech encoder over frames, standardised; it was fitted on the pretrained encoder as a logistic regression before "
    f"both were fine-tuned{cite('kumar2022')}."
)
_STATISTICS = "the mean and the standard deviation of the speech encoder's frames, both weighted by trained attention"


def architecture(system: System) -> list[str]:
    """Say which parts of a built-in system are trained, what is pooled, and what its heads read."""
    settings = {**DEFAULTS, **system.runs[0].settings}
    kind = str(system.system)
    if kind in FROZEN:
        return frozen_system(kind, settings)
    if kind in REBUILT:
        return published_system(kind, settings)
    if kind not in ("mmer", "cai", "wav2vec2", "lp-ft", "roberta"):
        return []
    if kind == "roberta":
        pooler = "the encoder's pooler (a map and a tanh of the first token)"
        read = pooler if settings["text_pooling"] == "pooler" else _READ["text"]
        by_lora = _by_lora(settings)
        tuned = [f"For {{}}, the text encoder was fine-tuned{by_lora}."] if by_lora else []
        return [*tuned, f"For {{}}, the emotion head is a linear layer that reads {read}."]
    lower = settings["frozen_layers"]
    frozen = f"front end and the first {lower} transformer layers" if lower else "front end"
    sentences = [
        f"For {{}}, the convolutional {frozen} of the speech encoder were frozen, and its {'other ' if lower else ''}"
        f"transformer layers were fine-tuned{_by_lora(settings)}."
    ]
    if not lower:
        sentences[0] = sentences[0].replace("were frozen", "was frozen", 1)
    if settings["layer_sum"]:
        sentences.append(
            "For {}, the output of the speech encoder is the sum of its layers and of their input, with trained weights"
            f"{cite('superb')}."
        )
    if kind == "lp-ft":
        return [*sentences, _LP_FT]
    read = _READ["speech"]
    if kind == "mmer":
        read = _READ[str(settings["pooled"])]
        sentences += _interaction(settings)
    if settings["speech_pooling"] == "attentive":
        read = read.replace(_READ["speech"], f"{_STATISTICS}{cite('okabe2018')}")
    sentences.append(f"For {{}}, the emotion head is a linear layer that reads {read}.")
    if settings["alpha"]:
        symbols = len(system.runs[0].inputs.get("alphabet", ()))
        of = f" over {symbols} symbols" if symbols else ""
        sentences.append(f"For {{}}, the CTC head is a linear layer{of} that reads every frame of the speech encoder.")
    return sentences


def _by_lora(settings: JsonObject) -> str:
    """Say that encoders were fine-tuned by LoRA, if they were."""
    rank = settings["lora"]
    return f" by low-rank additions to their linear layers (LoRA of rank {rank}{cite('lora')})" if rank else ""


def _interaction(settings: JsonObject) -> list[str]:
    """Describe how MMER joins words and speech, as far as ablations have left it."""
    sentences = []
    if settings["text_self_attention"] and settings["pooled"] != "speech":
        sentences.append("For {}, a transformer layer is applied to the words first.")
    if settings["pooled"] not in ("both", "fused"):
        return sentences
    has_r, has_q = settings["r_branch"], settings["q_branch"]
    branches = ["frames attend to words, and words attend to the result (R)"] if has_r else []
    branches += ["words attend to frames (Q)"] if has_q else []
    text = f"For {{}}, words and speech are joined by cross-modal attention{cite(MMER)}: {'; '.join(branches)}"
    if settings["gate"] and has_q:
        text += f"; Q is scaled by a gate, the sigmoid of a linear map of {'R and Q' if has_r else 'Q'}"
    joined = "R and Q" if has_r and has_q else "R" if has_r else "Q"
    sentences.append(
        f"{text}; a linear layer makes one fused vector per word of {joined}. Each attention is part of a transformer "
        "layer."
    )
    if settings["speech_projections"]:
        sentences.append("For {}, each branch has its own linear map of the speech.")
    return sentences


def spec_augment(system: System) -> list[str]:
    """Say whether SpecAugment was applied, and how, as far as the configuration of the trained encoder is known."""
    if not system.encoders.speech:
        return []
    found, name = system.runs[0].speech_encoder, f"SpecAugment{cite('specaugment')}"
    settings = system.runs[0].settings
    if not settings.get("spec_augment", True):
        return ["For {}, SpecAugment was turned off."]
    if found is None:
        return [f"For {{}}, {name} was applied if the speech encoder has it, as its configuration says."]
    if "mask_time_prob" not in found:
        return [f"For {{}}, SpecAugment was not applied: the speech encoder ({found.get('model_type')}) has none."]
    masked = [
        f"spans of {found[f'mask_{axis}_length']} {what} (share {found[f'mask_{axis}_prob']:g})"
        for axis, what in (("time", "frames"), ("feature", "channels"))
        if found.get(f"mask_{axis}_prob")
    ]
    if not masked or not found.get("apply_spec_augment", True):
        return ["For {}, SpecAugment was not applied, as the speech encoder's configuration says."]
    is_set = any(settings.get(f"mask_{axis}_prob") is not None for axis in ("time", "feature"))
    source = "" if is_set else ", as the speech encoder's configuration says"
    return [f"For {{}}, {name} masks {' and '.join(masked)}{source}."]


def read_speech_encoder(fold: FoldPaths) -> JsonObject | None:
    """Read the type and the SpecAugment of a fold's speech encoder from its trained model; None: unknown."""
    try:
        config = files.read_json(fold.model / "config.json", "mmer-pipe train")["speech"]["config"]
        shape = _MASKS if "mask_time_prob" in config else _TYPE
        names = [name.removesuffix("?") for name in shape]
        return None if mismatch(config, shape) else {name: config[name] for name in names if name in config}
    except (UserError, OSError, KeyError, TypeError):
        return None
