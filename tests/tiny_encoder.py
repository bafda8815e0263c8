"""Tiny random encoder directories in the layout of the hub, made without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from fspo_jax.models.encoders.load import FAMILIES
from fspo_jax.models.encoders.post_norm import PostNorm

WORDS = "the a cat dog sat on mat ran far away and is good bad".split()
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
MPNET = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>", *WORDS]
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "vocab_size": len(BERT),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 24,
    "layer_norm_eps": 1e-12,
    "type_vocab_size": 2,
    "pad_token_id": 0,
}


def config_of(family: str) -> dict[str, Any]:
    """A `config.json` of the family. Positions of all but BERT begin at 2."""
    own: dict[str, dict[str, Any]] = {
        "bert": {},
        "roberta": {
            "vocab_size": len(ROBERTA) + 256,
            "max_position_embeddings": 26,
            "type_vocab_size": 1,
            "pad_token_id": 1,
        },
        "xlm-roberta": {
            "vocab_size": len(ROBERTA) + len(WORDS) + 1,
            "max_position_embeddings": 26,
            "type_vocab_size": 1,
            "pad_token_id": 1,
        },
        "mpnet": {
            "vocab_size": len(MPNET),
            "max_position_embeddings": 26,
            "pad_token_id": 1,
            "relative_attention_num_buckets": 32,
        },
    }
    config = CONFIG | {"model_type": family} | own[family]
    if family == "mpnet":
        del config["type_vocab_size"]
    return config


def tokenizer_of(family: str) -> Tokenizer:
    """Each family has another kind of tokenizer, all with tokens around a text."""
    if family in ("bert", "mpnet"):
        words = BERT if family == "bert" else MPNET
        tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    elif family == "roberta":
        vocabulary = [*ROBERTA, *sorted(pre_tokenizers.ByteLevel.alphabet())]
        tokenizer = Tokenizer(models.BPE({w: i for i, w in enumerate(vocabulary)}, []))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        pieces = [*ROBERTA[:-1], "▁", *(f"▁{word}" for word in WORDS), "<mask>"]
        tokenizer = Tokenizer(
            models.Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], unk_id=3)
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    start, end = ("[CLS]", "[SEP]") if family == "bert" else ("<s>", "</s>")
    tokenizer.add_special_tokens(
        [name for name in (*ROBERTA, *BERT[:4]) if tokenizer.token_to_id(name) is not None]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in (start, end)],
    )
    return tokenizer


def tensors(config: Mapping[str, Any] = CONFIG, prefix: str = "", seed: int = 0) -> dict[str, np.ndarray]:
    """Random tensors under the hub's names, with a pooler that embeddings do not need."""
    generator = np.random.default_rng(seed)
    network = FAMILIES[config["model_type"]](config)
    assert isinstance(network, PostNorm)
    width = network.width
    shapes = {name: shape for name, shape in network.shapes().items() if name.startswith("embeddings.")}
    shapes |= {"pooler.dense.weight": (width, width), "pooler.dense.bias": (width,)}
    shapes |= network.shapes()
    return {
        prefix + name: (0.5 * generator.normal(size=shape) + name.endswith("LayerNorm.weight")).astype(
            np.float32
        )
        for name, shape in shapes.items()
    }


def write_encoder(
    directory: Path,
    *,
    family: str = "bert",
    pooling: str = "mean",
    normalize: bool = True,
    prefix: str = "",
    window: int = 12,
    seed: int = 0,
) -> Path:
    """Writes config, tokenizer, weights and pooling of a random encoder.

    Args:
        pooling: Name of a mode in sentence-transformers.
        prefix: Of the names of the tensors.
        window: Largest number of tokens.
    """
    config = config_of(family)
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config))
    save_file(tensors(config, prefix, seed), directory / "model.safetensors")
    tokenizer_of(family).save(str(directory / "tokenizer.json"))
    modules = [
        {"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    if normalize:
        modules.append({"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"})
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "1_Pooling").mkdir()
    flags = {
        "mean": "pooling_mode_mean_tokens",
        "cls": "pooling_mode_cls_token",
        "lasttoken": "pooling_mode_lasttoken",
    }
    modes = {flag: name == pooling for name, flag in flags.items()}
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    (directory / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": window}))
    return directory
