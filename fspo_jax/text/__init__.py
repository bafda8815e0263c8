"""How texts become tokens: prompts, tokenizers, templates."""
