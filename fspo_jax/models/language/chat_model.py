"""A pretrained language model with its chat format."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fspo_jax.errors import CheckpointError, FspoError
from fspo_jax.models.language.decoder.architecture import read_architecture
from fspo_jax.models.language.decoder.files import load_decoder
from fspo_jax.models.language.decoder.network import Decoder
from fspo_jax.models.pretrained.locate import find_model
from fspo_jax.models.scorers.contract import pure_module
from fspo_jax.text.chat import ChatFormat
from fspo_jax.text.tokenizer import TextTokenizer


class ChatModel:
    """A decoder as it was pretrained. Immutable, so threads may share it. Its weights are read when first needed.

    Args:
        model: What `find_model` takes.
        cache: Directory in which `find_model` keeps models; None for the user's.
        allow_download: Whether the hub may be asked.
        error: Type of error to raise.

    Attributes:
        directory: Its files.
        architecture, tokenizer, chat: Its parts.

    Raises:
        FspoError: Of type `error`. The model is missing (the message says how to get it), damaged, or not supported.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        cache: str | Path | None = None,
        allow_download: bool = False,
        error: type[FspoError] = CheckpointError,
    ):
        self._error = error
        self.directory = find_model(model, cache=cache, allow_download=allow_download, error=error)
        try:
            self.architecture = read_architecture(self.directory)
            self.tokenizer = TextTokenizer.load(self.directory)
            self.chat = ChatFormat.load(self.directory, self.tokenizer)
        except CheckpointError as problem:
            raise error(str(problem)) from None
        if self.tokenizer.rows > self.architecture.vocabulary:
            raise error(f"{self.directory}: its tokenizer has tokens that the model does not know.")

    @functools.cached_property
    def params(self) -> Any:
        """Its parameters, in float32."""
        shapes = jax.eval_shape(self._pure[0], jax.random.key(0))
        try:
            return load_decoder(self.directory, self.architecture, shapes, dtype=np.float32)
        except CheckpointError as problem:
            raise self._error(str(problem)) from None

    def network(self, params: Any) -> Decoder:
        """The network with these parameters. Pure."""
        return self._pure[1](params)

    @functools.cached_property
    def _pure(self) -> Any:
        return pure_module(lambda rngs: Decoder(self.architecture, 0, rngs))
