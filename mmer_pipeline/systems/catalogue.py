"""The built-in systems by name, and named lists of systems. This module imports nothing heavy."""

from mmer_pipeline.systems.entry import INPUTS, System
from mmer_pipeline.systems.published.entries import PUBLISHED

# Of small models on stored features, which take seconds an epoch. SUPERB's recipe for emotion makes 30,000 steps.
_TRAINED_HEADS = {
    "learning_rate": 1e-4, "batch_size": 32, "epochs": 100, "schedule": "constant", "weight_decay": 0.0,
    "precision": "fp32",
}  # fmt: skip
_OF_SPEECH = (
    "lora",
    "dropout_at",
    "layer_sum",
    "speech_pooling",
    "frozen_layers",
    "augment",
)  # settings of all built-in systems that read speech

SYSTEMS = {
    # The paper's system (section 3).
    "mmer": System(
        "mmer_pipeline.systems.mmer:MMER",
        "MMER",
        ("speech", "text"),
        (
            "alpha",
            "gate",
            "r_branch",
            "q_branch",
            "pooled",
            "text_self_attention",
            "speech_projections",
            "finetune_text",
            *_OF_SPEECH,
        ),
    ),
    # Speech encoder, emotion and CTC heads together (Cai et al., Interspeech 2021; the paper's [28]).
    "cai": System("mmer_pipeline.systems.unimodal:SpeechClassifier", "Cai et al.", ("speech",), ("alpha", *_OF_SPEECH)),
    # Speech encoder, mean pooling, one linear layer (section 4.2).
    "wav2vec2": System("mmer_pipeline.systems.unimodal:SpeechClassifier", "wav2vec2", ("speech",), _OF_SPEECH),
    # Speech encoder and a linear layer that was fitted on it first (Kumar et al., ICLR 2022).
    "lp-ft": System(
        "mmer_pipeline.systems.tuned_probe:TunedProbe",
        "LP-FT",
        ("speech",),
        ("lora", "frozen_layers", "augment"),
        {
            "learning_rate": 3e-5,
            "head_learning_rate": 1e-4,
            "schedule": "linear",
            "epochs": 6,
            "dropout": 0.2,
        },
    ),
    # Text encoder, mean pooling, one linear layer (section 4.2).
    "roberta": System(
        "mmer_pipeline.systems.unimodal:TextClassifier", "RoBERTa", ("text",), ("finetune_text", "text_pooling", "lora")
    ),
    # Frozen features, logistic regression.
    "probe": System(
        "mmer_pipeline.systems.probe:LinearProbe", "Probe", (INPUTS,), ("inputs", "layer", "statistics"), is_fitted=True
    ),
    # Frozen features, linear support vector machine.
    "svm": System(
        "mmer_pipeline.systems.probe:LinearProbe",
        "SVM",
        (INPUTS,),
        ("inputs", "layer", "statistics"),
        {"inputs": "egemaps"},
        is_fitted=True,
    ),
    # The audit's baseline: logistic regression on two numbers.
    "loudness": System("mmer_pipeline.systems.probe:LinearProbe", "Length and loudness", ("loudness",), is_fitted=True),
    # Frozen speech encoder, learned weighted sum of all layers, mean over frames, linear layers (SUPERB, Yang et al.,
    # Interspeech 2021); rates, batch and number of steps for IEMOCAP as in its recipe.
    "superb": System(
        "mmer_pipeline.systems.frozen:WeightedLayers",
        "SUPERB",
        (INPUTS,),
        ("inputs",),
        {"inputs": "speech-layers", **_TRAINED_HEADS},
    ),
    # Frames of frozen features, attentive statistics pooling (Okabe et al., Interspeech 2018), one linear layer.
    "attentive": System(
        "mmer_pipeline.systems.frozen:AttentivePooling",
        "Attentive pooling",
        (INPUTS,),
        ("inputs", "layer"),
        {
            "inputs": "speech-states",
            "layer": "last",
            **_TRAINED_HEADS,
            "learning_rate": 2e-3,
            "schedule": "linear",
            "epochs": 30,
        },
    ),
    **PUBLISHED,
}

# The systems that the paper's Table 1 trains. Our α is twice the paper's: the authors' code sums the CTC loss over
# batches of two.
_TABLE_1 = "roberta:finetune-text,wav2vec2,cai:alpha=0.2,mmer:alpha=0,mmer:alpha=0.002,mmer:alpha=0.02,mmer:alpha=0.2"
NAMED_LISTS = {  # for `mmer-pipe cv --systems NAME`
    "table-1": _TABLE_1,
    # Also the earlier systems that can be rebuilt. One published figure is of random folds.
    "table-1-all": f"{_TABLE_1},wu,lu,wang,wang:folds=random,pappagari,morais,chen,padi,makiuchi-speech,makiuchi-text",
    # The same systems as the authors' code builds and trains them.
    "table-1-reference": "roberta:recipe=reference,wav2vec2:recipe=reference,cai:recipe=reference,"
    "mmer:recipe=reference:alpha=0,mmer:recipe=reference:alpha=0.002,mmer:recipe=reference:alpha=0.02,"
    "mmer:recipe=reference:alpha=0.2",
    # What each part of MMER contributes. "no CTC" is α = 0.
    "ablations": "mmer,mmer:no-gate,mmer:no-r-branch,mmer:no-q-branch,mmer:alpha=0,mmer:pooled=speech,"
    "mmer:pooled=fused,mmer:pooled=text",
    # What annotations such as [LAUGHTER] contribute to the text.
    "annotations": "mmer,mmer:annotations=keep,mmer:annotations=mask",
    # What the quality of the transcripts contributes: gold, automatic, gold in training only, none.
    "transcripts": "mmer,mmer:transcripts=asr,mmer:test-transcripts=asr,mmer:transcripts=none",
}
