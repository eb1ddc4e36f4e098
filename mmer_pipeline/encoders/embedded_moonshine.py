"""Convert Moonshine tiny from ONNX Runtime's format to a transformers checkpoint.

The two models are graphs whose nodes carry the names of the modules that they came from. Their matrices are quantised
to eight bits with one scale and one zero point each: weight = (quantised − zero point) · scale.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

SIZE, LAYERS, HEADS = 288, 6, 8
VOCABULARY = 32_768
BEGIN, END = 1, 2  # token ids
FIRST_BYTE, BYTES = 3, 256  # the tokens that stand for single bytes
FIRST_SPECIAL = 32_000
_MATRICES = {  # operator → positions of quantised matrix, scale and zero point among its inputs
    "DynamicQuantizeMatMul": (1, 2, 3),
    "MatMulIntegerToFloat": (1, 3, 5),
    "DequantizeLinear": (0, 1, 2),
}
_SUFFIX = "/MatMul_quant"
_EMBEDDING = "model.decoder.embed_tokens.weight"
_TYPES = {1: np.float32, 2: np.uint8, 3: np.int8}  # of ONNX tensors

CONFIG = {
    "architectures": ["MoonshineForConditionalGeneration"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": BEGIN,
    "decoder_hidden_act": "silu",
    "decoder_num_attention_heads": HEADS,
    "decoder_num_hidden_layers": LAYERS,
    "decoder_num_key_value_heads": HEADS,
    "decoder_start_token_id": BEGIN,
    "encoder_hidden_act": "gelu",
    "encoder_num_attention_heads": HEADS,
    "encoder_num_hidden_layers": LAYERS,
    "encoder_num_key_value_heads": HEADS,
    "eos_token_id": END,
    "hidden_size": SIZE,
    "initializer_range": 0.02,
    "intermediate_size": 4 * SIZE,
    "is_encoder_decoder": True,
    "max_position_embeddings": 512,
    "model_type": "moonshine",
    "pad_head_dim_to_multiple_of": None,
    "pad_token_id": None,
    "rope_parameters": {"partial_rotary_factor": 0.9, "rope_theta": 10000.0, "rope_type": "default"},
    "tie_word_embeddings": True,
    "use_cache": True,
    "vocab_size": VOCABULARY,
}
GENERATION = {"bos_token_id": BEGIN, "decoder_start_token_id": BEGIN, "eos_token_id": END, "pad_token_id": END}
PREPROCESSOR = {
    "do_normalize": False,
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "feature_size": 1,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": True,
    "sampling_rate": 16_000,
}
TOKENIZER_CONFIG = {
    "bos_token": "<s>",
    "clean_up_tokenization_spaces": False,
    "eos_token": "</s>",
    "model_max_length": 512,
    "pad_token": "</s>",
    "tokenizer_class": "PreTrainedTokenizerFast",
    "unk_token": "<unk>",
}


def write_moonshine(sources: list[Path], directory: Path) -> None:
    """Write the checkpoint: encoder and decoder in float16, tokenizer, configurations.

    `sources` are encoder_model.ort, decoder_model_merged.ort and tokenizer.bin.
    """
    encoder, decoder, vocabulary = sources
    weights = {**encoder_weights(encoder), **decoder_weights(decoder)}
    halves = {name: np.ascontiguousarray(value, dtype=np.float16) for name, value in weights.items()}
    safetensors.numpy.save_file(halves, directory / "model.safetensors", metadata={"format": "pt"})
    for name, value in {
        "config.json": CONFIG,
        "generation_config.json": GENERATION,
        "preprocessor_config.json": PREPROCESSOR,
        "tokenizer_config.json": TOKENIZER_CONFIG,
        "tokenizer.json": tokenizer(vocabulary.read_bytes()),
    }.items():
        (directory / name).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def encoder_weights(path: Path) -> dict[str, np.ndarray]:
    """The encoder's parameters under transformers' names, float32."""
    graph = _graph(path)
    tensors = _tensors(graph)
    found = {f"model.encoder.{name}": value for name, value in tensors.items() if name.startswith("layer")}
    for name in ("conv1.weight", "conv2.weight", "conv2.bias", "conv3.weight", "conv3.bias"):
        found[f"model.encoder.{name}"] = tensors[name] if name in tensors else tensors[f"{name}_add_tensor"]
    for module, inputs in _matrices(graph):
        found[f"model.encoder.{module}.weight"] = _dequantised(inputs, tensors).T
    for operator, name in (("Mul", "weight"), ("Add", "bias")):  # the affine part of the group norm
        node = next(node for node in _nodes(graph) if node.Name().decode() == f"/groupnorm/{operator}")
        found[f"model.encoder.groupnorm.{name}"] = tensors[node.Inputs(1).decode()].reshape(-1)  # [288, 1] → [288]
    return found


def decoder_weights(path: Path) -> dict[str, np.ndarray]:
    """The decoder's parameters under transformers' names, float32; the output layer is tied to the embedding."""
    graph = _graph(path)
    tensors = {name.replace("_merged_0", ""): value for name, value in _tensors(graph).items()}
    found = {name: value for name, value in tensors.items() if name.startswith("model.") and "quantized" not in name}
    found = {name: value for name, value in found.items() if name.endswith((".weight", ".bias"))}
    branch = next(node for node in _nodes(graph) if node.OpType() == b"If")
    first_step = next(
        attribute.G()
        for attribute in (branch.Attributes(i) for i in range(branch.AttributesLength()))
        if attribute.Name() == b"else_branch"  # without a cache, so with the keys and values of the encoder's output
    )
    for module, inputs in _matrices(first_step):
        matrix = _dequantised([name.replace("_merged_0", "") for name in inputs], tensors)
        if module.startswith("model.decoder.layers"):
            found[f"{module}.weight"] = matrix.T
    embedding = [f"{_EMBEDDING}_{part}" for part in ("quantized", "scale", "zero_point")]
    found[_EMBEDDING] = _dequantised(embedding, tensors)
    return found


def tokenizer(packed: bytes) -> dict[str, Any]:
    """The content of tokenizer.json. The vocabulary has no merges: the tokenizer decodes, but does not encode.

    `packed` is a sequence of tokens, each preceded by its length (seven bits a byte, the lowest first).
    """
    tokens = [token.decode("utf-8", errors="replace") for token in _unpacked(packed)]
    tokens[FIRST_BYTE : FIRST_BYTE + BYTES] = [f"<0x{value:02X}>" for value in range(BYTES)]
    tokens = [token or f"<unused_{number}>" for number, token in enumerate(tokens)]
    special = [number for number in range(len(tokens)) if number < FIRST_BYTE or number >= FIRST_SPECIAL]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": tokens[number], **plain} for number in special],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [],
        },
    }


def _unpacked(packed: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(packed):
        length = shift = 0
        more = True
        while more:
            byte = packed[position]
            length |= (byte & 0x7F) << shift
            more, shift, position = byte >= 0x80, shift + 7, position + 1
        yield packed[position : position + length]
        position += length


def _graph(path: Path) -> Any:
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession

    return InferenceSession.GetRootAsInferenceSession(path.read_bytes(), 0).Model().Graph()


def _nodes(graph: Any) -> Iterator[Any]:
    return (graph.Nodes(number) for number in range(graph.NodesLength()))


def _tensors(graph: Any) -> dict[str, np.ndarray]:
    """The graph's constants of the types that weights have."""
    found = {}
    for number in range(graph.InitializersLength()):
        tensor = graph.Initializers(number)
        if tensor.DataType() in _TYPES:
            shape = tensor.DimsAsNumpy() if tensor.DimsLength() else ()
            values = tensor.RawDataAsNumpy().view(_TYPES[tensor.DataType()]).reshape(shape)
            found[tensor.Name().decode()] = values
    return found


def _matrices(graph: Any) -> Iterator[tuple[str, list[str]]]:
    """The module of each quantised matrix product, and the names of its matrix, scale and zero point."""
    for node in _nodes(graph):
        name, operator = node.Name().decode(), node.OpType().decode()
        if operator in _MATRICES and name.endswith(_SUFFIX):
            module = name.removesuffix(_SUFFIX).removeprefix("/").replace("/", ".")
            yield module, [node.Inputs(position).decode() for position in _MATRICES[operator]]


def _dequantised(names: list[str], tensors: dict[str, np.ndarray]) -> np.ndarray:
    quantised, scale, zero_point = (tensors[name] for name in names)
    values: np.ndarray = (quantised.astype(np.float32) - zero_point.astype(np.float32)) * scale
    return values
