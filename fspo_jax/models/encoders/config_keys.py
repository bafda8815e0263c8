"""Keys of a `config.json`: a key that may change the mathematics is computed or refused, never ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fspo_jax.errors import EncoderError

COMPUTED = frozenset(
    """
    vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size max_position_embeddings
    type_vocab_size layer_norm_eps hidden_act pad_token_id relative_attention_num_buckets
    """.split()
)
"""Keys that a network reads."""

HARMLESS = frozenset(
    """
    architectures attention_probs_dropout_prob begin_suppress_tokens bos_token_id chunk_size_feed_forward
    classifier_dropout cls_token_id directionality dtype eos_token_id finetuning_task gradient_checkpointing
    hidden_dropout_prob id2label initializer_range label2id language mask_token_id max_length min_length
    model_max_length model_type name num_labels output_attentions output_hidden_states output_past prefix problem_type
    return_dict sbert_ce_default_activation_function sentence_transformers sep_token_id task_specific_params
    tie_encoder_decoder tie_word_embeddings tokenizer_class torch_dtype torchscript transformers_version unk_token_id
    use_bfloat16 use_cache
    diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size length_penalty no_repeat_ngram_size
    num_beam_groups num_beams num_return_sequences output_scores repetition_penalty return_dict_in_generate
    temperature top_k top_p typical_p
    """.split()
)
"""Keys about training, labels, file types and generation, which do not change an embedding."""


def check_keys(config: Mapping[str, Any]) -> None:
    """Raises `EncoderError` with every key that is set and may change the mathematics in a way that is not computed."""
    unknown = [
        f"{key} = {value!r:.60}"
        for key, value in config.items()
        if value not in (None, False, [], {}, "")
        and key not in COMPUTED
        and key not in HARMLESS
        and not key.startswith(("_", "pooler_", "summary_"))
        and (key, value) != ("position_embedding_type", "absolute")
    ]
    if unknown:
        raise EncoderError(
            f"config.json sets what is not supported: {'; '.join(unknown)}. Choose another model. If you know that a "
            "key does not change the network, remove it from config.json."
        )


def whole_number(config: Mapping[str, Any], key: str, default: int | None = None, least: int = 1) -> int:
    """Reads a size.

    Raises:
        EncoderError: It is not a whole number, or below `least`.
        KeyError: It is missing and has no default.
    """
    value = config[key] if default is None else config.get(key, default)
    if type(value) is not int or value < least:
        raise EncoderError(f"config.json: '{key}' is {value!r:.60}, not a whole number of {least} or more.")
    return value
