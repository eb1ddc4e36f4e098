"""The preset for larger encoders: layers as wide as wav2vec2-large-robust's and roberta-large's, in every stage."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from helpers.command_line import succeed

from mmer_pipeline import paths
from mmer_pipeline.demo.encoders import tiny_speech_encoder, tiny_text_encoder
from mmer_pipeline.presets import PRESETS
from mmer_pipeline.runs import RunRecord
from mmer_pipeline.training.build_model import load_model

pytestmark = pytest.mark.slow

WIDTHS = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "num_hidden_layers": 1}
ROBUST = {  # as in its config.json
    **{"conv_dim": (512,) * 7, "conv_bias": True, "feat_extract_norm": "layer", "do_stable_layer_norm": True},
    **{"num_conv_pos_embeddings": 128, "num_conv_pos_embedding_groups": 16},
}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Both encoders with random weights and one layer of the 24."""
    folder = tmp_path_factory.mktemp("large")
    text = tiny_text_encoder(folder / "roberta-large", ["It is on the table.", "She is not coming home."], **WIDTHS)
    speech = tiny_speech_encoder(folder / "wav2vec2-large-robust", **WIDTHS, **ROBUST)
    return ["--text-encoder", str(text), "--speech-encoder", str(speech)]


def test_extract_train_and_evaluate_with_the_preset_for_larger_encoders(manifest, encoders):
    common = ["--preset", "large", *encoders]
    succeed("extract", *common, "train", *common, "--fold", 1, "--epochs", 1, "evaluate", "--fold", 1)
    fold = paths.fold(Path("runs/mmer"), 1)
    record = RunRecord.read(fold.settings, "")
    used = asdict(record.settings)
    kept = PRESETS["large"].keys() - {"text_encoder", "speech_encoder", "epochs"}
    assert {name: used[name] for name in kept} == {name: PRESETS["large"][name] for name in kept}
    model = load_model(fold.model, "mmer")
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    # The MMI has three cross-modal encoders, the gate (2d → d) and the fusion (2d → d).
    encoder, d = 4 * (1024 * 1024 + 1024) + 2 * 2 * 1024 + 2 * 4 * 1024 * 1024 + 5 * 1024, 1024
    assert sizes["mmi"] == 3 * encoder + 2 * (2 * d * d + d)
    assert (sizes["text_projection"], sizes["emotion_head"], sizes["ctc_head"]) == (0, 4 * (2 * d + 1), 32 * (d + 1))
    assert model.mmi.cme_d.heads == 16
    metrics = json.loads(fold.evaluation.read_text())["metrics"]
    assert metrics["utterances"] == 8
    assert torch.isfinite(torch.tensor(metrics["wa"]))
