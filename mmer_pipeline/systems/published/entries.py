"""The systems of other publications by name. This module imports nothing heavy."""

from mmer_pipeline.systems.entry import System

PUBLISHED: dict[str, System] = {
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
}  # fmt: skip
