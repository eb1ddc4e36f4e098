"""Encoders whose files are damaged or hostile: one message each, within bounds, and nothing of theirs is run."""

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.encoders.speech import load_speech_encoder, speech_outline
from mmer_pipeline.encoders.text import TextEncoder, TextTokenizer
from mmer_pipeline.errors import UserError

Mutation = Callable[[Path], Any]


def config(**changes: Any) -> Mutation:
    return edited("config.json", lambda facts: facts.update(changes))


def edited(name: str, change: Callable[[dict[str, Any]], Any]) -> Mutation:
    """Change what is in a JSON file of the checkpoint."""

    def mutate(directory: Path) -> None:
        facts = json.loads((directory / name).read_text())
        change(facts)
        (directory / name).write_text(json.dumps(facts))

    return mutate


def written(name: str, content: str | bytes) -> Mutation:
    return lambda directory: (directory / name).write_bytes(content.encode() if isinstance(content, str) else content)


def weights(change: Callable[[torch.Tensor], torch.Tensor]) -> Mutation:
    def mutate(directory: Path) -> None:
        tensors = load_file(directory / "model.safetensors")
        save_file({name: change(tensor) for name, tensor in tensors.items()}, directory / "model.safetensors")

    return mutate


def content(change: Callable[[bytes], bytes]) -> Mutation:
    def mutate(directory: Path) -> None:
        path = directory / "model.safetensors"
        path.write_bytes(change(path.read_bytes()))

    return mutate


def in_shards(names: Any) -> Mutation:
    def mutate(directory: Path) -> None:
        (directory / "model.safetensors").rename(directory / "model-1.safetensors")
        (directory / "model.safetensors.index.json").write_text(json.dumps(names))

    return mutate


def directory_of_weights(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors").mkdir()


DEEP = "[" * 100_000
BOTH = {  # mutation of a text or of a speech encoder → what is said
    "size negative": (config(hidden_size=-64), "hidden_size is -64, expected at least 1"),
    "size zero": (config(intermediate_size=0), "intermediate_size is 0, expected at least 1"),
    "size a text": (config(hidden_size="64"), "hidden_size"),
    "size missing": (config(num_attention_heads=None), "num_attention_heads"),
    "size nested": (config(intermediate_size=[1, [2]]), "intermediate_size"),
    "heads that do not divide": (config(num_attention_heads=7), "multiple|divisible"),
    "no layers": (config(num_hidden_layers=0), "num_hidden_layers is 0, expected at least 1"),
    "ten million layers": (config(num_hidden_layers=10_000_000), "layers is 10000000, expected at most 1,000"),
    "a billion labels": (config(num_labels=10**9), "num_labels is 1000000000, expected at most 100,000"),
    "larger than its weights": (config(intermediate_size=10**8), "of .* numbers, but the weights have"),
    "larger by a little": (config(intermediate_size=65), "do not have the sizes in its configuration"),
    "activation unknown": (config(hidden_act="nonsense"), "nonsense"),
    "activation a list": (config(hidden_act=["gelu"]), "hidden_act"),
    "dropout a text": (config(hidden_dropout="x", hidden_dropout_prob="x"), "hidden_dropout"),
    "dropout negative": (config(attention_dropout=-1, attention_probs_dropout_prob=-1), "is -1, expected a number"),
    "dropout not a number": (
        config(hidden_dropout=np.nan, hidden_dropout_prob=np.nan), "is nan, expected a number from 0 to 1",
    ),
    "quantization a number": (config(quantization_config=3), "the configuration in .* cannot be used"),
    "type a list": (config(model_type=["roberta"]), "the configuration in .* cannot be used"),
    "dtype unknown": (config(dtype="nonsense"), "nonsense"),
    "configuration a list": (written("config.json", "[]"), "expected a JSON object in .*config.json, found a list"),
    "configuration a text": (written("config.json", '"x"'), "found a str"),
    "configuration nothing": (written("config.json", "null"), "found a NoneType"),
    "configuration deep": (written("config.json", DEEP), "config.json is not valid JSON"),
    "configuration latin-1": (written("config.json", b'{"a": "\xff"}'), "config.json is not valid JSON"),
    "number long": (written("config.json", '{"hidden_size": ' + "9" * 5000 + "}"), "config.json is not valid JSON"),
    "weights empty": (content(lambda _: b""), "the weights model.safetensors in .* cannot be used"),
    "header cut": (content(lambda b: b[:50]), "the weights model.safetensors in .* cannot be used"),
    "header huge": (content(lambda b: (2**63).to_bytes(8, "little") + b[8:]), "the weights model.safetensors"),
    "header a list": (content(lambda _: (2).to_bytes(8, "little") + b"[]"), "the weights model.safetensors"),
    "weights cut": (content(lambda b: b[:-1]), "the weights model.safetensors in .* cannot be used"),
    "weights a directory": (directory_of_weights, "but no weights"),
    "weights truth values": (weights(lambda t: t.bool()), "as BOOL, expected one of F16, BF16, F32, F64"),
    "weights integers": (weights(lambda t: t.to(torch.int32)), "as I32, expected one of"),
    "weights of 8 bits": (weights(lambda t: t.to(torch.float8_e4m3fn)), "as F8_E4M3, expected one of"),
    "weights one number": (weights(lambda t: t.flatten()[:1].clone()), "but the weights have"),
    "vectors one number": (weights(lambda t: t[:1].clone() if t.ndim == 1 else t), "sizes in its configuration"),
    "weights transposed": (weights(lambda t: t.T.contiguous() if t.ndim == 2 else t), "sizes in its configuration"),
    "shards elsewhere": (in_shards({"weight_map": {"x": "../model-1.safetensors"}}), "not in the directory"),
    "shards missing": (in_shards({"weight_map": {"x": "model-2.safetensors"}}), "Expected model-2.safetensors, found"),
    "shards no mapping": (in_shards({"weight_map": 3}), "Expected a weight_map in it"),
    "shards a list": (in_shards([]), "expected a JSON object in .*index.json"),
}  # fmt: skip
TOKENIZER = "the tokenizer in .* cannot be used"
TEXT = {
    "vocabulary negative": (config(vocab_size=-1), "vocab_size is -1, expected at least 1"),
    "positions none": (config(max_position_embeddings=2), "allow 0 tokens in a text, expected at least 3"),
    "padding missing": (config(pad_token_id=None), TOKENIZER),
    "padding out of range": (config(pad_token_id=-5), "pad_token_id is -5, expected a token of"),
    "tokenizer a list": (written("tokenizer.json", "[]"), TOKENIZER),
    "tokenizer empty": (written("tokenizer.json", "{}"), TOKENIZER),
    "tokenizer deep": (written("tokenizer.json", DEEP), TOKENIZER),
    "its settings a list": (written("tokenizer_config.json", "[]"), TOKENIZER),
    "special tokens a number": (written("special_tokens_map.json", "3"), TOKENIZER),
    "length negative": (written("tokenizer_config.json", '{"model_max_length": -3}'), "allow -3 tokens in a text"),
    "length a text": (written("tokenizer_config.json", '{"model_max_length": "x"}'), TOKENIZER),
    "no model": (edited("tokenizer.json", lambda c: c.pop("model")), TOKENIZER),
    "no tokens": (edited("tokenizer.json", lambda c: c["model"].update(vocab={})), "out of vocabulary"),
    "tokens beyond the model's": (
        edited("tokenizer.json", lambda c: c["model"].update(
            vocab={word: number + 500 for word, number in c["model"]["vocab"].items()}
        )),
        r"gives the token \d+, but the model has",
    ),
    "words without the token for unknown ones": (
        written("tokenizer_config.json", '{"tokenizer_class": "BertTokenizer"}'), r"Missing \[UNK\] token",
    ),
    "pattern broken": (
        edited("tokenizer.json", lambda c: c.update(pre_tokenizer={
            "type": "Split", "pattern": {"Regex": "("}, "behavior": "Removed", "invert": False,
        })), "unmatched parenthesis",
    ),
    "a panic of its library": (
        edited("tokenizer.json", lambda c: c.update(normalizer={
            "type": "Precompiled", "precompiled_charsmap": "AAAA"
        })), "PanicException",
    ),
}  # fmt: skip
SPEECH = {
    "kernels none": (config(conv_kernel=[]), "the configuration in .* cannot be used"),
    "kernels negative": (config(conv_kernel=[-1] * 7), "conv_kernel is -1, expected at least 1"),
    "strides zero": (config(conv_stride=[0] * 7), "conv_stride is 0, expected at least 1"),
    "strides a text": (config(conv_stride="x"), "conv_stride"),
    "dims huge": (config(conv_dim=[10**12] * 7), "the configuration in .* cannot be used"),
    "norm unknown": (config(feat_extract_norm="nonsense"), "nonsense"),
    "groups that do not divide": (config(num_conv_pos_embedding_groups=7), "divisible"),
    "masks without length": (config(mask_time_length=0), "mask_time_length is 0, expected at least 1"),
    "preprocessor a list": (written("preprocessor_config.json", "[]"), "expected a JSON object"),
    "preprocessor deep": (written("preprocessor_config.json", DEEP), "preprocessor_config.json is not valid JSON"),
    "preprocessor nested": (written("preprocessor_config.json", '{"feature_extractor": 3}'), "do_normalize to be"),
    "normalising a text": (written("preprocessor_config.json", '{"do_normalize": "no"}'), "found 'no'"),
}  # fmt: skip


def use_text(directory: Path) -> list[np.ndarray]:
    files = resolve_encoder(str(directory))
    assert files.digest()
    tokens = TextTokenizer(files)(["She isn't coming home.", ""])
    return TextEncoder(files, torch.device("cpu")).encode(tokens)


def use_speech(directory: Path) -> list[np.ndarray]:
    files = resolve_encoder(str(directory))
    assert files.digest()
    frames = speech_outline(files).frame_count(8000)
    values = load_speech_encoder(files).eval().row_arrays(np.ones((1, 8000), np.float32))
    assert values.shape[1] == frames
    return list(values)


@pytest.fixture
def text(tiny_text: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_text, tmp_path / "encoder")


@pytest.fixture
def speech(tiny_speech: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_speech, tmp_path / "encoder")


def check(directory: Path, use: Callable[[Path], Any], mutate: Mutation, message: str) -> None:
    mutate(directory)
    with pytest.raises(UserError, match=message) as caught:
        use(directory)
    assert str(directory) in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [*BOTH, *TEXT])
def test_a_damaged_text_encoder_is_refused_in_one_message(name: str, text: Path) -> None:
    check(text, use_text, *{**BOTH, **TEXT}[name])


@pytest.mark.parametrize("name", [*BOTH, *SPEECH])
def test_a_damaged_speech_encoder_is_refused_in_one_message(name: str, speech: Path) -> None:
    check(speech, use_speech, *{**BOTH, **SPEECH}[name])


class Harmful:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("harm"),)


@pytest.mark.parametrize("protocol", [None, 2, 5])
def test_weights_that_run_code_are_refused(protocol: int | None, speech: Path) -> None:
    path = speech / "pytorch_model.bin"
    tensors = {**load_file(speech / "model.safetensors"), "extra": Harmful()}
    (speech / "model.safetensors").unlink()
    if protocol is None:
        torch.save(tensors, path)
    else:
        path.write_bytes(pickle.dumps(tensors, protocol))
    with pytest.raises(UserError, match=r"the weights in .* cannot be used"):
        use_speech(speech)
    assert not Path("harm").exists()
    if protocol is None:  # it would have run
        torch.load(path, weights_only=False)
        assert Path("harm").exists()


EVIL = "from pathlib import Path\nPath('harm').touch()\nclass Evil: pass\n"
MAPS = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoTokenizer": ["evil.Evil", "evil.Evil"]}


@pytest.mark.parametrize("known", [True, False])
def test_code_in_a_checkpoint_is_not_run(known: bool, tiny_text: Path, tiny_speech: Path) -> None:
    for source, use in ((tiny_text, use_text), (tiny_speech, use_speech)):
        directory = shutil.copytree(source, Path(source.name))
        (directory / "evil.py").write_text(EVIL)
        for name in ("config.json", "tokenizer_config.json", "preprocessor_config.json"):
            if (directory / name).exists():
                edited(name, lambda facts: facts.update(auto_map=MAPS))(directory)
        if not known:
            config(model_type="evil")(directory)
            with pytest.raises(UserError, match=r"the configuration in .* cannot be used"):
                use(directory)
        else:
            use(directory)
    assert not Path("harm").exists()
    assert not [name for name in sys.modules if name.endswith("evil")]


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation"])
def test_attention_of_other_code_is_refused(name: str, speech: Path) -> None:
    config(**{name: "somebody/kernel"})(speech)
    with pytest.raises(UserError, match=f"{name} is 'somebody/kernel', expected eager or sdpa"):
        use_speech(speech)
