"""Prompts in the chat format of a language model, up to where its answer begins.

The format's own tokens mark the turns. Texts are read as plain text, so no prompt can end its turn or begin another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fspo_jax.errors import CheckpointError
from fspo_jax.text.prompts import messages_of, render_prompt
from fspo_jax.text.tokenizer import SETTINGS, TextTokenizer
from fspo_jax.types import Message, Prompt

TEMPLATE = "chat_template.jinja"
ROLES = ("system", "user", "assistant")
PLACE = re.compile("\ue000([0-9]+)\ue001")
"""Where a text stands in a rendered template."""


class ChatFormat:
    """The chat format of a model; without a template, a prompt is followed by an empty line.

    Args:
        tokenizer: Of the model.
        template: A template of Jinja, as transformers reads it, or `""`. It runs in a sandbox.
        named: Texts of the special tokens that a template may name, such as `bos_token`.

    Raises:
        CheckpointError: The template cannot be read.

    Example:
        >>> from fspo_jax.text.tokenizer import TextTokenizer
        >>> tokenizer = TextTokenizer.train(["The sky is blue."], 300)
        >>> tokenizer.decode(ChatFormat(tokenizer).opening("The sky").tolist())
        'The sky\\n\\n'
    """

    def __init__(self, tokenizer: TextTokenizer, template: str = "", named: dict[str, str] | None = None):
        from tokenizers import Tokenizer

        self._texts, self._named = tokenizer, named or {}
        self._structure = Tokenizer.from_str(tokenizer.definition)
        self._template = _compiled(template) if template else None

    @classmethod
    def load(cls, directory: str | Path, tokenizer: TextTokenizer) -> ChatFormat:
        """Reads the format from the files of a model: `chat_template.jinja`, or else `tokenizer_config.json`.

        Raises:
            CheckpointError: A file is damaged.
        """
        path, settings, template = Path(directory), {}, ""
        try:
            if (path / SETTINGS).is_file():
                settings = json.loads((path / SETTINGS).read_text(encoding="utf-8"))
                template = settings.get("chat_template") or ""
            if (path / TEMPLATE).is_file():
                template = (path / TEMPLATE).read_text(encoding="utf-8")
            if not isinstance(template, str):  # several templates by name
                template = next(one["template"] for one in template if one["name"] == "default")
            written = {
                name: token["content"] if isinstance(token, dict) else token
                for name, token in settings.items()
                if name.endswith("_token") and isinstance(token, str | dict)
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
            raise CheckpointError(f"{path}: the chat template cannot be read ({error!r}).") from None
        return cls(tokenizer, template, written)

    def opening(self, prompt: Prompt, instruction: str = "") -> np.ndarray:
        """Returns the tokens `int32 [n]` before the answer to a prompt.

        Args:
            prompt: A string is one turn of the user.
            instruction: Added to the last turn of the user, on a line of its own.
        """
        turns = list(messages_of(prompt))
        turns = [Message(turn.role if turn.role in ROLES else "user", turn.content) for turn in turns]
        if instruction:
            last = max((i for i, turn in enumerate(turns) if turn.role == "user"), default=None)
            if last is None:
                turns.append(Message("user", instruction))
            else:
                turns[last] = Message("user", f"{turns[last].content}\n{instruction}".lstrip("\n"))
        if self._template is None:
            text = turns[0].content if len(turns) == 1 else render_prompt(tuple(turns))
            return np.concatenate([self._texts.beginning, self._texts.encode([f"{text}\n\n"])[0]])
        contents = [turn.content for turn in turns]
        rendered = self._rendered([turn.role for turn in turns])
        if rendered is None:  # the template refuses these roles in this order
            contents = [render_prompt(tuple(turns))]
            rendered = self._rendered(["user"]) or "".join(["\ue000", "0", "\ue001"])
        return self._tokens(rendered, contents)

    def _rendered(self, roles: Sequence[str]) -> str | None:
        """The template with places for the texts; None if it refuses the roles."""
        from jinja2.exceptions import TemplateError

        assert self._template is not None
        messages = [{"role": role, "content": f"\ue000{i}\ue001"} for i, role in enumerate(roles)]
        try:
            return self._template.render(messages=messages, add_generation_prompt=True, **self._named)
        except (TemplateError, TypeError, KeyError, AttributeError):
            return None

    def _tokens(self, rendered: str, contents: Sequence[str]) -> np.ndarray:
        parts: list[np.ndarray] = []
        for i, piece in enumerate(PLACE.split(rendered)):  # structure and numbers of texts in turn
            if i % 2:
                parts.append(self._texts.encode([contents[int(piece)]])[0])
            elif piece:
                ids = self._structure.encode(piece, add_special_tokens=False).ids
                parts.append(np.array(ids, np.int32))
        return np.concatenate([np.zeros(0, np.int32), *parts]).astype(np.int32)


def _compiled(template: str) -> Any:
    from jinja2.exceptions import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    given = {"raise_exception": refuse, "strftime_now": lambda form: ""}
    try:
        return environment.from_string(template, given)
    except TemplateError as error:
        raise CheckpointError(f"the chat template cannot be read ({error}).") from None
