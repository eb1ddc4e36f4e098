"""The settings that a system supports, and its title in a table."""

from dataclasses import asdict

import pytest

from mmer_pipeline.errors import UserError
from mmer_pipeline.presets import RECIPES
from mmer_pipeline.systems.catalogue import SYSTEMS
from mmer_pipeline.systems.registry import settings_for
from mmer_pipeline.systems.titles import title


def test_alpha_is_nothing_to_a_system_without_a_ctc_head():
    assert settings_for("wav2vec2", fold=1, alpha=0.5).alpha == 0.0
    assert settings_for("cai", fold=1, alpha=0.5).alpha == 0.5
    for system, options in (
        ("cai", {"gate": False}),
        ("wav2vec2", {"finetune_text": True}),
        ("roberta", {"pooled": "text"}),
    ):
        with pytest.raises(UserError, match=f"System {system} has no setting"):
            settings_for(system, fold=1, **options)


def test_titles_say_what_sets_a_system_apart():
    titles = {name: title(asdict(settings_for(name, fold=1))) for name in SYSTEMS}
    assert titles == {
        "mmer": "MMER (α = 0.1)",
        "cai": "Cai et al. (α = 0.1)",
        "wav2vec2": "wav2vec2",
        "lp-ft": "LP-FT",
        "roberta": "RoBERTa (frozen)",
        "probe": "Probe (speech-layers, wav2vec2-base)",
        "svm": "SVM (egemaps)",
        "loudness": "Length and loudness",
        "superb": "SUPERB (speech-layers, wav2vec2-base)",
        "attentive": "Attentive pooling (speech-states, wav2vec2-base, layer last)",
        "morais": "after Morais et al. (2022) (speech-states, wav2vec2-base, layer last)",
        "chen": "Chen et al. (2022) (wav2vec2-base, roberta-base)",
        "lu": "Lu et al. (2020) (wav2vec2-base)",
        "memocmt": "MemoCMT (wav2vec2-base, roberta-base)",
        "ca-mser": "CA-MSER (wav2vec2-base)",
        "mult": "MulT (wav2vec2-base, roberta-base)",
        "misa": "MISA (wav2vec2-base, roberta-base)",
        "wang": "Wang et al. (2020)",
        "pappagari": "Pappagari et al. (2020) (Resemblyzer, fine-tuned)",
        "padi": "after Padi et al. (2022)",
        "makiuchi-speech": "Makiuchi et al. (2021), speech, encoder only (speech-states, wav2vec2-base, layer all)",
        "makiuchi-text": "Makiuchi et al. (2021), text",
        "wu": "after Wu et al. (2019)",
    }
    both = settings_for("probe", fold=1, inputs="speech-layers+text-layers", layer="3", text_encoder="a/b")
    assert title(asdict(both)) == "Probe (speech-layers, text-layers, wav2vec2-base, b, layer 3)"
    assert title(asdict(settings_for("mmer", fold=1, gate=False, alpha=0.0))) == "MMER (α = 0, no gate)"
    assert title(asdict(settings_for("mmer", fold=1, finetune_text=True))) == "MMER (α = 0.1, text fine-tuned)"


@pytest.mark.parametrize(
    ("system", "encoder", "expected"),
    [
        ("wav2vec2", "embedded/moonshine-tiny", "wav2vec2 (moonshine-tiny)"),
        ("wav2vec2", "facebook/hubert-base-ls960", "wav2vec2 (hubert-base-ls960)"),
        ("wav2vec2", "/models/wav2vec2-large", "wav2vec2"),
        ("wav2vec2", "facebook/wav2vec2-xls-r-300m", "wav2vec2"),
        ("roberta", "embedded/minilm-l6", "RoBERTa (minilm-l6, frozen)"),
        ("roberta", "FacebookAI/xlm-roberta-base", "RoBERTa (frozen)"),
        ("mmer", "embedded/minilm-l6", "MMER (α = 0.1)"),
        ("cai", "embedded/moonshine-tiny", "Cai et al. (α = 0.1)"),
    ],
)
def test_a_system_named_after_an_encoder_names_the_one_that_it_has(system, encoder, expected):
    kind = "speech_encoder" if system in ("wav2vec2", "cai") else "text_encoder"
    assert title(asdict(settings_for(system, fold=1, **{kind: encoder}))) == expected


def test_titles_say_where_a_system_is_built_as_in_the_authors_code():
    recipe = RECIPES["reference"]
    assert {name: title(asdict(settings_for(name, fold=1, **recipe[name]))) for name in recipe} == {
        "mmer": "MMER (α = 0.2, reference's variant)",
        "cai": "Cai et al. (α = 0.2, reference's variant)",
        "wav2vec2": "wav2vec2 (reference's variant)",
        "roberta": "RoBERTa (fine-tuned, pooler)",
    }
    parts = settings_for("mmer", fold=1, text_self_attention=True, spec_augment=False)
    assert title(asdict(parts)) == "MMER (α = 0.1, self-attention over T, no SpecAugment)"
    pooled = settings_for("cai", fold=1, layer_sum=True, speech_pooling="attentive")
    assert title(asdict(pooled)) == "Cai et al. (α = 0.1, layer sum, attentive pooling)"
    old = asdict(settings_for("mmer", fold=1))
    for name in (
        "layer_sum",
        "speech_pooling",
        "text_self_attention",
        "speech_projections",
        "dropout_at",
        "spec_augment",
        "text_pooling",
    ):
        del old[name]
    assert title(old) == "MMER (α = 0.1)"
