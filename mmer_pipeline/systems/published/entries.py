"""The systems of other publications by name. This module imports nothing heavy."""

from mmer_pipeline.systems.entry import INPUTS, System

# Their publications do not give rates that would suit another network: these are ours.
_OF_SPEAKERS = {
    "optimiser": "adam", "learning_rate": 1e-4, "head_learning_rate": 1e-3, "batch_size": 32, "epochs": 30,
    "schedule": "linear", "weight_decay": 0.0, "dropout": 0.0, "precision": "fp32",
}  # fmt: skip

_SPEECH_AND_TEXT = ("speech-states", "text")
# Where a publication gives no other: nothing but the optimiser's plain rule.
_PLAIN = {"layer": "last", "schedule": "constant", "weight_decay": 0.0, "clip_norm": 0.0, "precision": "fp32"}
# Adam, and nothing else that changes a step.
_ADAM = {
    "optimiser": "adam",
    "schedule": "constant",
    "weight_decay": 0.0,
    "clip_norm": 0.0,
    "precision": "fp32",
}
# Short and long utterances share batches: batch norm would see the length of those that were sorted.
_BATCH_NORM = {"bucket_batches": 1}

PUBLISHED: dict[str, System] = {
    # Frames and tokens of frozen encoders, key-sparse transformer with cascaded cross-attention (the paper's [38]).
    "chen": System(
        "mmer_pipeline.systems.published.chen:KeySparseTransformer",
        "Chen et al. (2022)",
        _SPEECH_AND_TEXT,
        ("layer", "padding"),
        {
            **_PLAIN,
            "optimiser": "sgd",
            "learning_rate": 5e-4,
            "schedule": "cosine",
            "epochs": 120,
            "batch_size": 32,
        },
    ),
    # Frames of the encoder of an ASR model, bidirectional LSTM, self-attention (the paper's [33]); rates are ours.
    "lu": System(
        "mmer_pipeline.systems.published.lu:AsrFeatures",
        "Lu et al. (2020)",
        ("speech-states",),
        ("layer",),
        {**_PLAIN, "optimiser": "adam", "learning_rate": 1e-3, "epochs": 30, "batch_size": 32, "clip_norm": 1.0},
    ),
    # Cross-modal transformer (Scientific Reports 2025), on frozen encoders.
    "memocmt": System(
        "mmer_pipeline.systems.published.memocmt:CrossModalTransformer",
        "MemoCMT",
        _SPEECH_AND_TEXT,
        ("layer",),
        {**_PLAIN, "optimiser": "adam", "learning_rate": 1e-4, "epochs": 50, "batch_size": 32, "dropout": 0.5},
    ),
    # Co-attention of spectrogram, MFCC and encoder (ICASSP 2022).
    "ca-mser": System(
        "mmer_pipeline.systems.published.ca_mser:CoAttention",
        "CA-MSER",
        ("speech-states", "mfcc", "log-mel"),
        ("layer",),
        {**_PLAIN, "optimiser": "adamw", "learning_rate": 1e-4, "epochs": 50, "batch_size": 32, "weight_decay": 0.01},
    ),
    # Crossmodal transformers both ways (ACL 2019), two modalities.
    "mult": System(
        "mmer_pipeline.systems.published.mult:MulT",
        "MulT",
        _SPEECH_AND_TEXT,
        ("layer",),
        {**_PLAIN, "optimiser": "adam", "learning_rate": 1e-3, "epochs": 40, "batch_size": 24, "clip_norm": 0.8},
    ),
    # Private and shared vectors of each modality (ACM Multimedia 2020), two modalities.
    "misa": System(
        "mmer_pipeline.systems.published.misa:Misa",
        "MISA",
        _SPEECH_AND_TEXT,
        ("layer",),
        {
            **_PLAIN,
            "optimiser": "adam",
            "learning_rate": 1e-4,
            "epochs": 50,
            "batch_size": 64,
            "clip_norm": 1.0,
            "dropout": 0.5,
        },
    ),
    # Frames of a speech encoder, ECAPA-TDNN, linear layer (the paper's [30]); rates are ours.
    "morais": System(
        "mmer_pipeline.systems.published.morais:EcapaHead",
        "after Morais et al. (2022)",
        (INPUTS,),
        ("inputs", "layer"),
        {
            "inputs": "speech-states", "layer": "last", "optimiser": "adam", "learning_rate": 1e-3,
            "schedule": "linear", "batch_size": 32, "epochs": 30, "weight_decay": 2e-5, "dropout": 0.0,
            "precision": "fp32", **_BATCH_NORM,
        },
    ),
    # LSTM on MFCC, dual-sequence LSTM on two mel spectrograms (the paper's [35]).
    "wang": System(
        "mmer_pipeline.systems.published.wang:DualSequenceLSTM",
        "Wang et al. (2020)",
        ("mfcc", "mel-512", "mel-1024"),
        (),
        {**_ADAM, **_BATCH_NORM, "learning_rate": 1e-3, "schedule": "halving", "batch_size": 128, "epochs": 50,
         "dropout": 0.0},
    ),
    # Capsules over windows of a spectrogram, bidirectional GRU (the paper's [31]); rates are ours.
    "wu": System(
        "mmer_pipeline.systems.published.wu:CapsuleNetwork",
        "after Wu et al. (2019)",
        ("spectrogram",),
        (),
        {**_ADAM, "learning_rate": 1e-3, "batch_size": 16, "epochs": 30, "dropout": 0.0},
    ),
    # Weighted layers of a frozen speech encoder, random segments, a code of few numbers (the paper's [40]).
    "makiuchi-speech": System(
        "mmer_pipeline.systems.published.makiuchi:MakiuchiSpeech",
        "Makiuchi et al. (2021), speech, encoder only",
        (INPUTS,),
        ("inputs", "layer"),
        {**_ADAM, **_BATCH_NORM, "inputs": "speech-states", "layer": "all", "learning_rate": 1e-4, "batch_size": 32,
         "epochs": 50, "dropout": 0.5},
    ),
    # Convolutions over the tokens of a frozen text encoder (the paper's [40]).
    "makiuchi-text": System(
        "mmer_pipeline.systems.published.makiuchi:MakiuchiText",
        "Makiuchi et al. (2021), text",
        ("text",),
        (),
        {**_ADAM, "learning_rate": 1e-4, "batch_size": 4, "epochs": 50, "dropout": 0.0},
    ),
    # Speaker network, linear layer (the paper's [36]).
    "pappagari": System(
        "mmer_pipeline.systems.published.pappagari:SpeakerTransfer",
        "Pappagari et al. (2020)",
        ("resemblyzer-mel",),
        ("speaker_weights",),
        _OF_SPEAKERS,
        reads_instead={("speaker_weights", "frozen"): ("resemblyzer",)},  # what the frozen network computes is stored
    ),
    # The same with SpecAugment, fine-tuned (the paper's [39]).
    "padi": System(
        "mmer_pipeline.systems.published.padi:MaskedSpeakerTransfer",
        "after Padi et al. (2022)",
        ("resemblyzer-mel",),
        (),
        _OF_SPEAKERS,
    ),
}  # fmt: skip
