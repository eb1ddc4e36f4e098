"""The systems of other publications by name. This module imports nothing heavy."""

from mmer_pipeline.systems.entry import INPUTS, System

# Their publications do not give rates that would suit another network: these are ours.
_OF_SPEAKERS = {
    "optimiser": "adam", "learning_rate": 1e-4, "head_learning_rate": 1e-3, "batch_size": 32, "epochs": 30,
    "schedule": "linear", "weight_decay": 0.0, "dropout": 0.0, "precision": "fp32",
}  # fmt: skip

PUBLISHED: dict[str, System] = {
    # Frames of a speech encoder, ECAPA-TDNN, linear layer (the paper's [30]); rates are ours. Short and long utterances
    # share batches, or batch norm would see the length of those that are sorted.
    "morais": System(
        "mmer_pipeline.systems.published.morais:EcapaHead",
        "after Morais et al. (2022)",
        (INPUTS,),
        ("inputs", "layer"),
        {
            "inputs": "speech-states", "layer": "last", "optimiser": "adam", "learning_rate": 1e-3,
            "schedule": "linear", "batch_size": 32, "epochs": 30, "bucket_batches": 1, "weight_decay": 2e-5,
            "dropout": 0.0, "precision": "fp32",
        },
    ),
    # LSTM on MFCC, dual-sequence LSTM on two mel spectrograms (the paper's [35]). Short and long utterances share
    # batches, because batch norm would see the length of those that were sorted.
    "wang": System(
        "mmer_pipeline.systems.published.wang:DualSequenceLSTM",
        "Wang et al. (2020)",
        ("mfcc", "mel-512", "mel-1024"),
        (),
        {
            "optimiser": "adam", "learning_rate": 1e-3, "schedule": "halving", "batch_size": 128, "epochs": 50,
            "bucket_batches": 1, "weight_decay": 0.0, "clip_norm": 0.0, "dropout": 0.0, "precision": "fp32",
        },
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
