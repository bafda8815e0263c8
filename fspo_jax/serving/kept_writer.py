"""A model that writes what the page asks about, once: what it wrote is kept in the database of users."""

from __future__ import annotations

import hashlib
import json

from sqlalchemy import Engine, select

from fspo_jax.errors import FspoError
from fspo_jax.generation import Generator
from fspo_jax.generation.endpoint import Refused
from fspo_jax.serving.database import insert_into, reading, writing, written_table
from fspo_jax.serving.requests import prompt_json
from fspo_jax.types import Prompt


class KeptWriter:
    """A generator whose texts are kept, so that every start and every process of a service asks the same questions.

    After a failure it asks for nothing more: each try may take as long as the server lets wait.

    Args:
        engine: As `open_database` gives it.
        generator: Writes.
        model: Name of what writes. Another model writes anew.
    """

    def __init__(self, engine: Engine, generator: Generator, model: str):
        self._engine, self._generator, self._model = engine, generator, model
        self._failure: FspoError | None = None

    def __call__(self, prompt: Prompt, n: int) -> list[str]:
        """n responses, or those that are kept, however many.

        Raises:
            FspoError: The generator fails, or has failed.
        """
        key = hashlib.sha256(json.dumps([self._model, prompt_json(prompt)]).encode()).hexdigest()
        if kept := self._kept(key):
            return kept
        if self._failure:
            raise self._failure
        try:
            texts = list(self._generator(prompt, n))
        except Refused:  # this prompt, but perhaps not the next
            raise
        except FspoError as error:
            self._failure = error
            raise
        if len(set(texts)) < 2:  # no question, so another start tries again
            return texts
        row = insert_into(self._engine, written_table).values(id=key, texts=json.dumps(texts))
        with writing(self._engine) as connection:
            connection.execute(row.on_conflict_do_nothing())
        return self._kept(key)  # perhaps those of another process, which was faster

    def _kept(self, key: str) -> list[str]:
        with reading(self._engine) as connection:
            found = connection.scalar(select(written_table.c.texts).where(written_table.c.id == key))
        return json.loads(found) if found else []
