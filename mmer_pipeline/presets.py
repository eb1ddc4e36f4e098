"""Named sets of defaults of `Settings`: presets, which belong to encoders, and recipes, which belong to systems."""

from typing import Any

# Named sets of defaults. "paper" is section 4.3; "small" trains in minutes on a laptop and needs no model hub; "large"
# has larger encoders and the rates, epochs and batches of SpeechBrain's recipe for fine-tuning wav2vec 2.0 on IEMOCAP
# (Wang et al. 2021, arXiv 2111.02735).
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "small": {
        "text_encoder": "embedded/minilm-l6",
        "speech_encoder": "embedded/moonshine-tiny",
        "epochs": 8,
        "learning_rate": 2e-4,
        "schedule": "linear",
        "alpha": 0.01,
    },
    "large": {
        "text_encoder": "roberta-large",
        "speech_encoder": "facebook/wav2vec2-large-robust",
        "epochs": 30,
        "learning_rate": 1e-5,
        "head_learning_rate": 1e-4,
        "schedule": "linear",  # in place of theirs, which lowers the rates by the score of a validation part
        "batch_size": 4,
    },
}

# Named sets of defaults for each system. "paper" is the paper's text, "reference" the authors' code where it differs
# (docs/recipes.md gives the sources). A preset's values take precedence, because they belong to its encoders.
_REFERENCE_SPEECH = {"spec_augment": False, "dropout_at": "inputs", "clip_norm": 0.0, "bucket_batches": 1}
RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {},
    "reference": {
        "mmer": {**_REFERENCE_SPEECH, "text_self_attention": True, "speech_projections": True, "alpha": 0.2},
        "cai": {**_REFERENCE_SPEECH, "alpha": 0.2, "learning_rate": 5e-5},
        "wav2vec2": _REFERENCE_SPEECH,
        "roberta": {
            "finetune_text": True,
            "text_pooling": "pooler",
            "batch_size": 32,
            "bucket_batches": 1,
            "epochs": 50,
            "learning_rate": 2.2e-5,
            "schedule": "decay",
            "weight_decay": 0.0,
            "clip_norm": 1.0,
        },
    },
}
