"""The tokens that end an answer, from the files of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fspo_jax.errors import CheckpointError


def read_end_tokens(directory: Path, vocabulary: int) -> tuple[int, ...]:
    """Reads the ids of the tokens that end an answer; the first is the one that training writes.

    They stand in `generation_config.json`, or else in `config.json`, or else they are the tokenizer's own.

    Args:
        directory: Directory of a checkpoint.
        vocabulary: Number of ids of the model.

    Raises:
        CheckpointError: No file names one, or an id is outside of the vocabulary.
    """
    for name in ("generation_config.json", "config.json"):
        found = _json(directory / name).get("eos_token_id")
        if found is not None and found != []:
            break
    else:
        found = _of_tokenizer(directory)
    if found is None:
        raise CheckpointError(
            f"{directory}: no file says which token ends an answer. Add eos_token_id to config.json, or eos_token to "
            "tokenizer_config.json."
        )
    ends = found if isinstance(found, list) else [found]
    if not all(isinstance(end, int) and 0 <= end < vocabulary for end in ends):
        raise CheckpointError(
            f"{directory}: the tokens that end an answer (eos_token_id) are {found!r}, but the ids of the model are "
            f"0 to {vocabulary - 1:,}."
        )
    return tuple(dict.fromkeys(ends))


def _of_tokenizer(directory: Path) -> int | None:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        token = _json(directory / name).get("eos_token")
        content = token.get("content") if isinstance(token, Mapping) else token
        if not isinstance(content, str):
            continue
        definition = _json(directory / "tokenizer.json")
        for added in definition.get("added_tokens") or ():
            if added.get("content") == content:
                return added.get("id")
        vocabulary = (definition.get("model") or {}).get("vocab")
        return vocabulary.get(content) if isinstance(vocabulary, Mapping) else None
    return None


def _json(path: Path) -> dict[str, Any]:
    """The content of a file, or nothing if it does not exist."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}).") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: is not a JSON object.")
    return content
