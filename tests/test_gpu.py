"""What can only be seen on a GPU: the same features, the same learning, and bf16 where it is to be had."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.command_line import succeed

from benchmarks.shapes import SIZES
from benchmarks.training import OurStep, make_setup
from mmer_pipeline import paths
from mmer_pipeline.features.feature_file import FeatureFile
from mmer_pipeline.features.speech_features import Frames
from mmer_pipeline.features.text_features import Tokens
from mmer_pipeline.runs import RunRecord, read_metrics
from mmer_pipeline.training import memory_budget

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def test_features_of_the_gpu_are_those_of_the_cpu(manifest, encoders, tiny_text, tiny_speech):
    values = []
    for device in ("cpu", "cuda"):
        succeed(
            "extract",
            *encoders,
            "--cache-dir",
            device,
            "--manifest",
            "cache/manifest.csv",
            "--dtype",
            "float32",
            "--device",
            device,
        )
        manifest = Path("cache/manifest.csv")
        text = FeatureFile(Tokens("text", str(tiny_text), None, "float32").path(Path(device), manifest))
        speech = FeatureFile(Frames("speech", str(tiny_speech), None, "float32").path(Path(device), manifest))
        values.append([file.at(row).copy() for file in (text, speech) for row in range(len(file.utterance_ids))])
    for mine, other in zip(*values, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-3)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 0.02), ("auto", 0.1)])
def test_training_on_the_gpu_follows_training_on_the_cpu(manifest, encoders, precision, tolerance):
    succeed("extract", *encoders)
    options = ["--fold", "1", "--epochs", "3", "--learning-rate", "1e-3", "--dropout", "0"]
    for device, number_format in (("cpu", "fp32"), ("cuda", precision)):
        succeed("train", *encoders, *options, "--device", device, "--precision", number_format, "--run", device)
    losses = [
        [line["train"]["ce"] for line in read_metrics(paths.fold(Path("runs") / name, 1).metrics)]
        for name in ("cpu", "cuda")
    ]
    assert losses[1][0] == pytest.approx(losses[0][0], rel=tolerance)
    record = RunRecord.read(paths.fold(Path("runs/cuda"), 1).settings, "mmer-pipe train")
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    assert record.settings.precision == ("bf16" if precision == "auto" and has_bf16 else "fp32")


def test_no_step_waits_for_the_gpu(tmp_path):
    """Torch itself watches for it. Without CTC: torch's own kernel copies the lengths there, and waits for that."""
    setup = make_setup(SIZES["tiny"], 8, tmp_path)
    step = OurStep(setup, torch.device("cuda"), "fp32", alpha=0.0)
    step(range(8))
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(range(8))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_what_fits_into_the_gpu_is_found_and_a_step_of_that_much_fits(tmp_path):
    made = OurStep(make_setup(SIZES["tiny"], 8, tmp_path), torch.device("cuda"), "fp32").optimiser
    assert made.max_seconds == pytest.approx(8 * max(made.examples.seconds), rel=0.01)  # a GPU holds a tiny step whole
    made.step(range(8), seed=1, rate_factor=1.0)
    assert made.max_seconds == pytest.approx(8 * max(made.examples.seconds), rel=0.01)
    assert 0 < memory_budget.peak_gib(torch.device("cuda")) < 8


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.filterwarnings("ignore")  # of the compiler about itself
def test_losses_of_a_step_are_those_of_the_cpu(tmp_path, compiled):
    setup = make_setup(SIZES["tiny"], 8, tmp_path)
    losses = []
    for device, options in (("cpu", {}), ("cuda", {"compile": compiled})):
        made = OurStep(setup, torch.device(device), "fp32", dropout=0.0, **options).optimiser
        made.model.eval()
        losses.append(made.step(range(8), seed=1, rate_factor=1.0).losses.cpu())
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=1e-3)
