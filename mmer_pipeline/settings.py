"""The settings of training one fold: the only definition of their defaults, types, limits and help.

The options of `train`, `extract` and `cv` are created from these fields (`stages.setting_options`). To add a setting,
add a field.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, get_type_hints

from mmer_pipeline.corpora.transcripts import ANNOTATION_POLICIES, GOLD, TRANSCRIPT_SOURCES
from mmer_pipeline.errors import first_few, shortened
from mmer_pipeline.setting_metadata import DATA, MODEL, OPTIMISATION, Option, setting

SAME = "same"
CHECKPOINT = "checkpoint"  # as the configuration of the speech encoder says
POOLED = ("both", "speech", "fused", "text")


@dataclass(frozen=True)
class Settings:
    """All settings for training one fold. Defaults are the paper's (section 4.3), if it gives any."""

    fold: int  # counted from 1; 0: trained on everything, nothing is held out
    folds: str = setting(
        "session",
        "What a fold holds out: a value of a column of the manifest (session, speaker or another one), one of N groups "
        "of speakers with balanced classes, such as 5, the corpus's own test part (split), or random parts, which "
        "share speakers with training (random).",
        DATA, metavar="COLUMN|N|split|random",
    )  # fmt: skip
    text_disjoint: bool = setting(
        False, "Leave out training utterances whose words also appear in the held-out part.", DATA
    )
    validation: str = setting(
        "none",
        "Part of the training sessions for the validated scores: none, session, speaker, or a fraction such as 0.1. "
        "The model of the epoch that is best on it is kept beside that of the last epoch.",
        DATA, metavar="PART",
    )  # fmt: skip
    system: str = "mmer"  # a name of `systems.registry`, or FILE.py:NAME
    text_encoder: str = setting(
        "roberta-base", "Text encoder: a Hugging Face id, a directory, or embedded/minilm-l6.", DATA,
        metavar="NAME", for_features=True, is_identity=False,
    )  # fmt: skip
    text_revision: str | None = setting(
        None, "Commit, tag or branch of the text encoder on the hub.", DATA,
        metavar="REV", for_features=True, is_identity=False,
    )  # fmt: skip
    speech_encoder: str = setting(
        "facebook/wav2vec2-base", "Speech encoder: a Hugging Face id, a directory, or embedded/moonshine-tiny.", DATA,
        metavar="NAME", for_features=True, is_identity=False,
    )  # fmt: skip
    speech_revision: str | None = setting(
        None, "Commit, tag or branch of the speech encoder on the hub.", DATA,
        metavar="REV", for_features=True, is_identity=False,
    )  # fmt: skip
    transcripts: str = setting(
        GOLD,
        "Words that a system reads: gold (the manifest's), asr (automatic ones, see `transcribe`), or none.",
        DATA, choices=TRANSCRIPT_SOURCES, for_features=True, is_new=True,
    )  # fmt: skip
    test_transcripts: str = setting(
        SAME, "Words that it reads in the held-out part, if they are not those of --transcripts.", DATA,
        choices=(SAME, *TRANSCRIPT_SOURCES), for_features=True, is_new=True,
    )  # fmt: skip
    asr_model: str = setting(
        "embedded/moonshine-tiny",
        "Model for automatic transcripts: a Hugging Face id, a directory, or embedded/moonshine-tiny.",
        DATA, metavar="NAME", for_features=True, is_identity=False,
    )  # fmt: skip
    asr_revision: str | None = setting(
        None, "Commit, tag or branch of the ASR model on the hub.", DATA,
        metavar="REV", for_features=True, is_identity=False,
    )  # fmt: skip
    annotations: str = setting(
        "strip", "Treatment of annotations such as [LAUGHTER] in the text encoder's input.", DATA,
        choices=ANNOTATION_POLICIES, for_features=True,
    )  # fmt: skip
    dtype: str = setting(
        "float16", "Number format of the stored features.", DATA, choices=("float16", "float32"), for_features=True
    )
    speech_features: bool = setting(
        True, "Store the output of the speech encoder's front end, or compute it in every step.", DATA,
        for_features=True,
    )  # fmt: skip
    augment: str = setting(
        "none",
        "Versions of each recording: training draws one of them or the recording itself at every use (mmer, cai, "
        "wav2vec2, lp-ft). None, or names joined by +, such as speed-0.9+speed-1.1+noise-20 (dB).",
        DATA, metavar="VERSIONS", for_features=True, is_optional=True, is_new=True,
    )  # fmt: skip
    inputs: str = setting(
        "speech-layers",
        "Frozen features that a system reads (probe, svm, superb, attentive, morais, makiuchi-speech): names joined "
        "by +, such as speech-layers+text-layers. See docs/features.md.",
        MODEL, metavar="NAMES", for_features=True, is_optional=True, is_new=True,
    )  # fmt: skip
    layer: str = setting(
        "best",
        "Layer of a frozen encoder: best (chosen within the training part), last, all, a number (0: the input of the "
        "first layer), or several joined by + (probe, svm, attentive and systems that read speech-states).",
        MODEL, metavar="LAYER", for_features=True, is_optional=True, is_new=True,
    )  # fmt: skip
    statistics: str = setting(
        "mean+std",
        "Statistics over time that are read: the mean, also the standard deviation, or the first token (probe, svm).",
        MODEL, choices=("mean", "mean+std", "first"), is_optional=True, is_new=True,
    )  # fmt: skip
    padding: str = setting(
        "masked",
        "Treatment of padding (chen): masked, or that of its authors' code (reference), which fills short utterances "
        "with zeros that count as frames and tokens.",
        MODEL, choices=("masked", "reference"), is_optional=True, is_new=True,
    )  # fmt: skip
    frozen_layers: int = setting(
        0,
        "Number of layers of the speech encoder that are not trained; their output is stored (mmer, cai, wav2vec2, "
        "lp-ft).",
        MODEL, minimum=0, for_features=True, is_optional=True, is_new=True,
    )  # fmt: skip
    ctc_alphabet: str = setting(
        "wav2vec2", "CTC symbols: the 32 of wav2vec2-base-960h, or the corpus's own letters.", MODEL,
        choices=("wav2vec2", "corpus"),
    )  # fmt: skip
    alpha: float = setting(
        0.1, "Weight of the CTC loss (mmer, cai); 0 removes the CTC head.", MODEL, minimum=0, is_optional=True
    )
    gate: bool = setting(True, "Acoustic gate, eq. 2 (mmer).", MODEL, is_optional=True)
    r_branch: bool = setting(True, "R branch: speech-aware words, section 3.3.1 (mmer).", MODEL, is_optional=True)
    q_branch: bool = setting(True, "Q branch: word-aware speech, section 3.3.2 (mmer).", MODEL, is_optional=True)
    pooled: str = setting(
        "both", "Input of the emotion head (mmer): mean A (speech), mean M (fused), both of them, or mean T (text).",
        MODEL, choices=POOLED, is_optional=True,
    )  # fmt: skip
    finetune_text: bool = setting(
        False,
        "Fine-tune the text encoder instead of reading its cached features (roberta, mmer).",
        MODEL, for_features=True, is_optional=True,
    )  # fmt: skip
    text_pooling: str = setting(
        "mean", "Input of the emotion head (roberta): the mean over tokens, or the pooler of the fine-tuned encoder.",
        MODEL, choices=("mean", "pooler"), is_optional=True, is_new=True,
    )  # fmt: skip
    speaker_weights: str = setting(
        "finetuned",
        "Weights of the speaker network (pappagari): Resemblyzer's, frozen or fine-tuned, or random ones "
        "(scratch).",
        MODEL, choices=("frozen", "finetuned", "scratch"), for_features=True, is_optional=True, is_new=True,
    )  # fmt: skip
    text_self_attention: bool = setting(
        False, "Transformer layer over T before the MMI (mmer).", MODEL, is_optional=True, is_new=True
    )
    speech_projections: bool = setting(
        False, "Linear maps of A before the MMI, one for each branch (mmer).", MODEL, is_optional=True, is_new=True
    )
    layer_sum: bool = setting(
        False, "Weighted sum of the speech encoder's layers instead of its last one (mmer, cai, wav2vec2).", MODEL,
        is_optional=True, is_new=True,
    )  # fmt: skip
    speech_pooling: str = setting(
        "mean",
        "Pooling of frames (mmer, cai, wav2vec2): mean, or mean and standard deviation weighted by attention "
        "(attentive).",
        MODEL, choices=("mean", "attentive"), is_optional=True, is_new=True,
    )  # fmt: skip
    spec_augment: bool = setting(
        True, "SpecAugment as the speech encoder's configuration describes it, or none.", MODEL, is_new=True
    )
    lora: int = setting(
        0,
        "Rank of LoRA (mmer, cai, wav2vec2, lp-ft, roberta): encoders are fine-tuned by low-rank additions to their "
        "linear layers; 0: all weights are fine-tuned.",
        MODEL, minimum=0, is_optional=True, is_new=True,
    )  # fmt: skip
    mask_time_prob: float | None = setting(
        None, "Share of frames that SpecAugment masks.", MODEL, metavar="SHARE", minimum=0, below=1, none=CHECKPOINT,
        is_new=True,
    )  # fmt: skip
    mask_feature_prob: float | None = setting(
        None, "Share of channels that SpecAugment masks.", MODEL, metavar="SHARE", minimum=0, below=1, none=CHECKPOINT,
        is_new=True,
    )  # fmt: skip
    layerdrop: float | None = setting(
        None, "Probability with which a step leaves out a layer of the speech encoder.", MODEL,
        metavar="RATE", minimum=0, below=1, none=CHECKPOINT, is_new=True,
    )  # fmt: skip
    speech_dropout: float | None = setting(
        None, "Every dropout rate of the speech encoder's transformer.", MODEL,
        metavar="RATE", minimum=0, below=1, none=CHECKPOINT, is_new=True,
    )  # fmt: skip
    epochs: int = setting(100, "Number of epochs; with --patience, the largest number.", OPTIMISATION, minimum=1)
    patience: int = setting(
        0,
        "Number of epochs without a higher validation WA after which training ends; 0 disables this. Requires "
        "--validation.",
        OPTIMISATION, minimum=0, is_new=True,
    )  # fmt: skip
    average_best: int = setting(
        1,
        "Number of epochs, the best on the validation part, whose weights are averaged for the validated model. "
        "Requires --validation.",
        OPTIMISATION, minimum=1, is_new=True,
    )  # fmt: skip
    learning_rate: float = setting(1e-5, "Peak learning rate.", OPTIMISATION, above=0)
    head_learning_rate: float | None = setting(
        None, "Peak learning rate of the parts that are not pretrained: the MMI and the heads.", OPTIMISATION,
        metavar="RATE", above=0, none="same", is_new=True,
    )  # fmt: skip
    layer_decay: float = setting(
        1.0, "Factor of the learning rate from each transformer layer of an encoder to the layer below.", OPTIMISATION,
        above=0, is_new=True,
    )  # fmt: skip
    frozen_epochs: int = setting(
        0, "Epochs at the start in which encoders are frozen and only the other parts are trained.", OPTIMISATION,
        minimum=0, is_new=True,
    )  # fmt: skip
    schedule: str = setting(
        "constant",
        "Learning-rate schedule; linear: warm-up over the first tenth of the steps, then linear decay to zero; decay: "
        "linear decay alone; cosine: half a period down to a thousandth; halving: halved after 20, 40 and 60 % of the "
        "steps.",
        OPTIMISATION, choices=("constant", "linear", "decay", "cosine", "halving"),
    )  # fmt: skip
    optimiser: str = setting(
        "adamw", "Optimiser: adamw, adam (whose weight decay is part of the gradient), or sgd with momentum 0.9.",
        OPTIMISATION, choices=("adamw", "adam", "sgd"), is_new=True,
    )  # fmt: skip
    weight_decay: float = setting(0.01, "Weight decay.", OPTIMISATION, minimum=0)  # the paper gives none
    decay_biases_and_norms: bool = setting(
        True, "Apply weight decay to biases and normalisation layers, too.", OPTIMISATION, is_new=True
    )
    # Neither the paper nor its authors' code clips. With a limit, both losses fall faster, for short utterances and for
    # long ones (docs/training-choices.md).
    clip_norm: float = setting(1.0, "Largest gradient norm of a step; 0: unlimited.", OPTIMISATION, minimum=0)
    ema: float = setting(
        0.0, "Decay of a moving average of the weights, which is evaluated and saved; 0: the last weights.",
        OPTIMISATION, minimum=0, below=1, is_new=True,
    )  # fmt: skip
    balanced_classes: bool = setting(
        False, "Weight the emotion loss so that every class counts equally.", OPTIMISATION, is_new=True
    )
    label_smoothing: float = setting(
        0.0, "Share of the emotion target that is spread over all classes.", OPTIMISATION, minimum=0, below=1,
        is_new=True,
    )  # fmt: skip
    dropout: float = setting(0.1, "Dropout rate outside the encoders.", MODEL, minimum=0, below=1)
    dropout_at: str = setting(
        "head",
        "Where dropout is applied, besides the MMI's attention and residuals: head (inside feed-forward layers and "
        "before the emotion head) or inputs (to A and T) (mmer, cai, wav2vec2).",
        MODEL, choices=("head", "inputs"), is_optional=True, is_new=True,
    )  # fmt: skip
    batch_size: int = setting(8, "Utterances per optimiser step.", OPTIMISATION, minimum=1)  # the paper: 2 × 4
    bucket_batches: int = setting(
        16, "Number of batches sorted by length together; 1 disables sorting.", OPTIMISATION, minimum=1
    )
    # How a step is split changes its dropout masks, but its gradient is the same mean over the utterances. It is
    # therefore not part of the identity: a run that runs out of memory can resume with smaller micro-batches.
    max_batch_seconds: float | None = setting(
        None,
        "Largest amount of audio in a micro-batch, padding included; auto: as much as fits on the GPU, or the fastest "
        "amount on a CPU. The gradient does not depend on it.",
        OPTIMISATION, metavar="SECONDS", above=0, none="auto", is_identity=False,
    )  # fmt: skip
    # The gradient is the same, so this is not part of the identity either.
    gradient_checkpointing: bool = setting(
        False, "Compute the layers of trained encoders again in the backward pass: less memory, more time.",
        OPTIMISATION, is_identity=False, is_new=True,
    )  # fmt: skip
    precision: str = setting(
        "auto",
        "Number format of training; auto: bf16 on a GPU or CPU that computes in it, otherwise fp32, and that of the "
        "folds of the run that were begun.",
        OPTIMISATION, choices=("auto", "fp32", "tf32", "bf16"),
    )  # fmt: skip
    compile: bool = setting(False, "Compile the transformer layers (torch.compile).", OPTIMISATION)
    seed: int = setting(1, "Random seed.", OPTIMISATION, minimum=0)

    def identity(self) -> dict[str, Any]:
        """The settings that can change the result of a run.

        The location of an encoder does not matter; its digest is among the inputs of the run.
        """
        outside = {name for name, option in OPTIONS.items() if not option.is_identity}
        outside |= {name for name, option in OPTIONS.items() if option.is_new and not self.changed([name])}
        kept = {name: value for name, value in asdict(self).items() if name not in outside}
        return {**kept, "system": self.system.rpartition(":")[2]}

    @staticmethod
    def read(values: Mapping[str, Any]) -> "Settings":
        """Make settings from plain values, as files have them.

        Raises:
            ValueError: a setting is missing, unknown to this version, or not valid; the message says which.
        """
        unknown = sorted(values.keys() - {"fold", *DEFAULTS})
        if unknown:
            raise ValueError(f"contains settings unknown to this version: {first_few(unknown)}")
        if "fold" not in values:
            raise ValueError("does not contain the settings of a run (fold is missing)")
        for name, value in values.items():
            if not _is_valid(name, value):
                raise ValueError(f"has the value {shortened(repr(value))} for {name}, which is not valid")
        return Settings(**values)

    @property
    def sources(self) -> tuple[str, str]:
        """The sources of the transcripts that are read in training and in the held-out part."""
        return self.transcripts, self.transcripts if self.test_transcripts == SAME else self.test_transcripts

    def changed(self, names: Iterable[str]) -> dict[str, Any]:
        """Those of the named settings that differ from their defaults."""
        return {name: getattr(self, name) for name in names if getattr(self, name) != DEFAULTS.get(name)}


OPTIONS: dict[str, Option] = {entry.name: entry.metadata["option"] for entry in fields(Settings) if entry.metadata}
DEFAULTS: dict[str, Any] = {entry.name: entry.default for entry in fields(Settings) if entry.name != "fold"}
FEATURE_SETTINGS = tuple(name for name, option in OPTIONS.items() if option.for_features)
OPTIONAL_SETTINGS = tuple(name for name, option in OPTIONS.items() if option.is_optional)
# Settings of the speech encoder → their names in its transformers configuration.
SPEECH_CONFIG = {
    **{name: (name,) for name in ("mask_time_prob", "mask_feature_prob", "layerdrop")},
    "speech_dropout": ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"),
}

_LONGEST = 4096  # characters of a setting: as many as a path may have
_TYPES: dict[str, Any] = get_type_hints(Settings)


def _is_valid(name: str, value: Any) -> bool:
    """Whether a plain value has the type of a setting and is within its limits."""
    option = OPTIONS.get(name, Option("", "", minimum=0))
    if isinstance(value, bool):
        return _TYPES[name] is bool
    if value is None or isinstance(value, str):
        fits = isinstance(value, _TYPES[name]) and len(value or "") <= _LONGEST
        return fits and (not option.choices or value in option.choices)
    is_number = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    fits = isinstance(value, _TYPES[name]) or (isinstance(value, int) and isinstance(0.0, _TYPES[name]))
    return (
        is_number
        and fits
        and (option.minimum is None or value >= option.minimum)
        and (option.above is None or value > option.above)
        and (option.below is None or value < option.below)
    )
