"""The stored form of a user, for language models that read the context."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fspo_jax.arguments import check_text
from fspo_jax.types import Preference, check_prompt


class UserTexts(NamedTuple):
    """Labelled pairs, and a description that the model also reads, or `""`."""

    preferences: tuple[Preference, ...]
    description: str = ""

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns one array of bytes, which are JSON."""
        rows = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in self.preferences]
        record = {"preferences": rows, "description": self.description}
        return {"texts": np.frombuffer(json.dumps(record).encode(), np.uint8)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> UserTexts:
        """The inverse of `to_arrays`; raises an error of Python or a `FspoError` for others."""
        if set(arrays) != {"texts"} or arrays["texts"].dtype != np.uint8 or arrays["texts"].ndim != 1:
            raise ValueError("the only array must be 'texts', with one axis of uint8")
        record = json.loads(arrays["texts"].tobytes())
        if not isinstance(record, dict) or not isinstance(record["preferences"], list):
            raise ValueError("the texts are not a table with a list of preferences")

        def preference(row: Mapping) -> Preference:
            prompt = row["prompt"]
            if not isinstance(prompt, str):
                prompt = check_prompt([{"role": role, "content": content} for role, content in prompt])
            return Preference(prompt, row["chosen"], row["rejected"])

        description = check_text(record["description"], "description")
        return cls(tuple(map(preference, record["preferences"])), description)
