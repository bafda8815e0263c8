"""The content of a `tokenizer.json`, changed so that it reads any text as text, and nothing but the text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

SPACE = "▁"
"""How tokenizers of the SentencePiece kind write a space."""


NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")
"""Settings of a tokenizer that name a special token."""


MAX_ID = 2**24
"""Ids of tokens are below this, so that a damaged file cannot ask for a huge table."""


class PlainDefinition(NamedTuple):
    """A tokenizer for texts.

    Attributes:
        text: Content of a `tokenizer.json`.
        markers: Ids of added tokens that no text may contain.
        prefix: What the original puts before each text: `""` or a space.
    """

    text: str
    markers: frozenset[int]
    prefix: str


def plain_definition(definition: str) -> PlainDefinition:
    """Reads a definition and marks as special each added token that texts may not contain.

    Added tokens are of two kinds. Line breaks, tabs, runs of spaces and the HTML tags of a vocabulary are text. Others
    are markers: those that the file calls special, and those that were added to a finished vocabulary, such as the
    roles of a chat format.

    Args:
        definition: Content of `tokenizer.json`.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: It is no such content.
    """
    content = json.loads(definition)
    model = content["model"]
    vocabulary = model["vocab"]
    known = set(vocabulary) if isinstance(vocabulary, Mapping) else {piece for piece, *_ in vocabulary}
    ids = list(vocabulary.values()) if isinstance(vocabulary, Mapping) else []
    ids += [token["id"] for token in content.get("added_tokens") or ()]
    if not all(isinstance(i, int) and 0 <= i < MAX_ID for i in ids):
        raise ValueError(f"ids of tokens must be whole numbers from 0 to {MAX_ID - 1:,}")
    if model.get("type", "BPE") == "BPE" and model.get("continuing_subword_prefix"):
        raise ValueError("a BPE model with 'continuing_subword_prefix' is not supported")
    markers = set()
    for token in content.get("added_tokens") or ():
        written = token["content"]
        blank = not written.replace(SPACE, " ").strip()
        token["special"] = not blank and (token["special"] or written not in known)
        if token["special"]:
            markers.add(token["id"])
    found: list[bool] = []
    for name in ("normalizer", "pre_tokenizer", "decoder"):
        content[name] = _without_prefix(content.get(name), name, found)
    return PlainDefinition(json.dumps(content), frozenset(markers), " " if any(found) else "")


def _without_prefix(part: Any, name: str, found: list[bool]) -> Any:
    """Returns a part without what puts a space before texts, or takes it away; notes in `found` whether it did."""
    match part:
        case {"type": "Sequence"}:
            key = next(key for key in part if key != "type")
            kept = [_without_prefix(inner, name, found) for inner in part[key]]
            kept = [inner for inner in kept if inner is not None]
            return {**part, key: kept} if kept else None
        case {"type": "Prepend"}:
            found.append(True)
            return None
        case {"type": "Strip", "start": int(start)} if name == "decoder" and start:
            return None if not part.get("stop") else {**part, "start": 0}
        case {"type": "Metaspace"}:
            found.append(
                part.get("prepend_scheme", "always") != "never" and part.get("add_prefix_space", True)
            )
            return {
                "type": "Metaspace",
                "replacement": part.get("replacement", SPACE),
                "prepend_scheme": "never",
                "split": part.get("split", True),
            }
        case {"type": "ByteLevel", "add_prefix_space": True} if name == "pre_tokenizer":
            found.append(True)
            return {**part, "add_prefix_space": False}
    return part


def with_settings(definition: str, settings: Mapping[str, Any]) -> str:
    """Returns a definition that begins texts as the settings say, and calls special what they name, as in transformers.

    Args:
        definition: Content of `tokenizer.json`.
        settings: Content of `tokenizer_config.json`. Its `add_bos_token` goes before what the definition says.

    Raises:
        ValueError: `add_bos_token` is true, but the `bos_token` is not in the vocabulary.
    """
    content = json.loads(definition)
    named = {_written(settings.get(name)) for name in NAMED}
    unmarked = [
        token
        for token in content.get("added_tokens") or ()
        if token["content"] in named and not token["special"]
    ]
    for token in unmarked:
        token["special"] = True
    add = settings.get("add_bos_token")
    if not isinstance(add, bool):
        return json.dumps(content) if unmarked else definition
    text = {"Sequence": {"id": "A", "type_id": 0}}
    start: list[Any] = []
    special = {}
    bos = _written(settings.get("bos_token"))
    if add and bos:
        ids = {token["content"]: token["id"] for token in content.get("added_tokens") or ()}
        vocabulary = content["model"]["vocab"]
        index = ids.get(bos, vocabulary.get(bos) if isinstance(vocabulary, Mapping) else None)
        if index is None:
            raise ValueError(f"the bos_token {bos!r} is not in the vocabulary")
        start = [{"SpecialToken": {"id": bos, "type_id": 0}}]
        special = {bos: {"id": bos, "ids": [index], "tokens": [bos]}}
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [*start, text],
        "pair": [*start, text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": special,
    }
    return json.dumps(content)


def _written(token: Any) -> Any:
    """The text of a token in settings, which may be a table."""
    return token.get("content") if isinstance(token, Mapping) else token
