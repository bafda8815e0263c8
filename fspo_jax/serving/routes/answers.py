"""Parts that several answers share: what clients of OpenAI's API and vLLM expect around a result."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Sequence
from typing import Any

from fspo_jax.types import Prompt


def number_or_none(value: float) -> float | None:
    """A number for JSON, which has no NaN."""
    return value if math.isfinite(value) else None


def usage(prompts: Sequence[Prompt], texts: Sequence[str]) -> dict[str, int]:
    """What was read, counted in words: rewards differ in their tokens, and clients only add the numbers up."""
    parts = [text for p in prompts for text in ([p] if isinstance(p, str) else [m.content for m in p])]
    words = sum(len(text.split()) for text in (*parts, *texts))
    return {"prompt_tokens": words, "total_tokens": words, "completion_tokens": 0}


def listing(kind: str, model: str, data: list[dict[str, Any]], used: dict[str, int]) -> dict[str, Any]:
    """A list as vLLM answers it."""
    return {
        "id": new_id(kind),
        "object": "list",
        "created": int(time.time()),
        "model": model,
        "data": data,
        "usage": used,
    }


def new_id(kind: str) -> str:
    """An id that no other answer has."""
    return f"{kind}-{secrets.token_hex(16)}"
