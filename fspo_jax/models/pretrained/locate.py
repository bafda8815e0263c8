"""Finds the directory of a pretrained model, however it is named."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fspo_jax.config.cache import cache_directory
from fspo_jax.errors import CheckpointError, FspoError, did_you_mean, did_you_mean_path
from fspo_jax.models.pretrained.gguf import convert_gguf, gguf_directory
from fspo_jax.models.pretrained.kept import file_digest, kept_directory
from fspo_jax.models.pretrained.packages import PACKAGES, package_directory

FILES = ("*.json", "*.safetensors", "*.jinja", "vocab.txt", "merges.txt", "*.model")
OTHER_FILES = ("original/*", "consolidated*", "onnx/*", "openvino/*")


def find_model(
    source: str | Path,
    *,
    cache: str | Path | None = None,
    allow_download: bool = False,
    error: type[FspoError] = CheckpointError,
) -> Path:
    """Returns the directory of a pretrained model: `config.json`, tokenizer, `safetensors`.

    Encoders and decoders then read directories only.

    Args:
        source: A directory; a GGUF file, which is dequantised into the cache once; a name of `PACKAGES`, such as
            `all-MiniLM-L6-v2` or `smollm2-135m`; or an id on the Hugging Face hub.
        cache: Directory of the cache; None for `$FSPO_CACHE`, or else the user's, or else a temporary one.
        allow_download: Whether the hub may be asked. Otherwise only what was downloaded before is found.
        error: Type of error to raise.

    Raises:
        FspoError: Of type `error`. Nothing is found, or what is found cannot be read. The message says what to do.

    Example:
        >>> find_model("no-such-model")
        Traceback (most recent call last):
        ...
        fspo_jax.errors.CheckpointError: 'no-such-model' is not a directory, ...
    """
    try:
        return _find(str(source), cache, allow_download)
    except CheckpointError as problem:
        raise error(str(problem)) from problem.__cause__


def _models(cache: str | Path | None) -> Path:
    """The directory of models that are made from others; a temporary one where nothing can be kept."""
    directory = cache if cache is not None else cache_directory()
    return Path(directory or tempfile.mkdtemp(prefix="fspo_jax-")) / "models"


def _find(source: str, cache: str | Path | None, allow_download: bool) -> Path:
    path = Path(source)
    try:
        if source and path.is_dir():
            return path
        if path.is_file():
            if path.suffix.lower() != ".gguf":
                raise CheckpointError(
                    f"{path}: is a file, but not a GGUF file. Give the directory of a model."
                )
            models = _models(cache)
            place = gguf_directory(models, file_digest(path, models))
            return kept_directory(place, lambda fresh: convert_gguf(path, fresh))
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the path
        raise CheckpointError(f"{source!r}: cannot be read ({problem}).") from None
    if source.lower() in PACKAGES:
        return package_directory(source.lower(), _models(cache))
    if source.count("/") != 1 or source.startswith((".", "/", "~")) or source.endswith((".gguf", "/")):
        names = ", ".join(PACKAGES)
        hint = did_you_mean_path(path) or did_you_mean(source.lower(), PACKAGES)
        raise CheckpointError(
            f"{source!r} is not a directory, a GGUF file, one of {names}, or a hub id (owner/name).{hint}"
        )
    return _from_hub(source, allow_download)


def _from_hub(name: str, allow_download: bool) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                name,
                allow_patterns=list(FILES),
                ignore_patterns=list(OTHER_FILES),
                local_files_only=not allow_download,
            )
        )
    except Exception as problem:  # the hub's client raises errors of many types
        names = ", ".join(PACKAGES)
        ways = (
            f"Other ways: a local directory, or a name that comes as a package of the Python index ({names})."
        )
        if not allow_download:
            raise CheckpointError(
                f"'{name}' would have to be downloaded from the Hugging Face hub, which is not allowed here. "
                f"Allow it with allow_download=True, or download it before. {ways}"
            ) from None
        raise CheckpointError(
            f"'{name}' could not be downloaded from the Hugging Face hub ({type(problem).__name__}: {problem}). {ways}"
        ) from problem
