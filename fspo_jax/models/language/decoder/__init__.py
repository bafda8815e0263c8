"""A causal language model: one decoder for the Llama, Qwen and Gemma 3 families, its files and its adapters."""
