"""Texts before any model: prompts, tokenizers, templates."""
