"""Keys of a `config.json` that change no hidden state, in any family."""

from __future__ import annotations

from typing import Any

HARMLESS = frozenset(
    """
    _attn_implementation _name_or_path architectures attention_dropout attention_probs_dropout_prob attn_implementation
    bad_words_ids begin_suppress_tokens bos_token_id cache_implementation chunk_size_feed_forward classifier_dropout
    cls_token_id decoder_start_token_id directionality diversity_penalty do_sample dtype early_stopping
    encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty finetuning_task forced_bos_token_id
    forced_eos_token_id gradient_checkpointing hidden_dropout hidden_dropout_prob id2label initializer_range
    is_llama_config label2id language length_penalty mask_token_id max_length max_new_tokens min_length model_max_length
    name no_repeat_ngram_size num_beam_groups num_beams num_labels num_return_sequences output_attentions
    output_hidden_states output_past output_scores pad_token_id prefix pretraining_tp problem_type remove_invalid_values
    repetition_penalty return_dict return_dict_in_generate sbert_ce_default_activation_function sentence_transformers
    sep_token_id suppress_tokens task_specific_params temperature tie_encoder_decoder tie_word_embeddings
    tokenizer_class top_k top_p torch_dtype torchscript transformers.js_config transformers_version typical_p
    unk_token_id unsloth_fixed unsloth_version use_bfloat16 use_cache
    """.split()
)
"""Keys that say how to store, train, label or sample."""


def is_empty(value: Any) -> bool:
    """Whether a key with this value is as good as absent."""
    return value is None or value is False or value in ("", [], {}, ())
