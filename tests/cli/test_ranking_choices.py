"""What `fspo rerank` can be told beside a person: outside quality, caution, certainty."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_calls import give_stdin

from fspo_jax.cli import main


def test_rerank_mixes_in_quality_from_a_file_or_the_document(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request = {"prompt": "Hi", "candidates": ["unit vector", "messy room"]}
    (tmp_path / "quality.json").write_text("[0, 50]")
    (tmp_path / "request.json").write_text(json.dumps(request))
    ways = [
        ([str(tmp_path / "request.json"), "--quality", str(tmp_path / "quality.json")], None),
        ([], json.dumps({**request, "quality": [50, 0]})),
        (["--quality-weight", "0.5"], json.dumps({**request, "quality": [0, 100]})),
    ]
    for arguments, document in ways:
        give_stdin(monkeypatch, document or "")
        assert main(["rerank", str(run), *arguments]) == 0
        first, second = json.loads(capsys.readouterr().out)["ranking"]
        assert first["index"] == (0 if not arguments else 1)
        assert first["score"] - second["score"] == pytest.approx(50, abs=10)
    give_stdin(monkeypatch, "[1]")
    assert main(["rerank", str(run), str(tmp_path / "request.json"), "--quality", "-"]) == 2
    assert "quality has 1 number for 2 candidates" in capsys.readouterr().err


def test_rerank_is_as_cautious_and_as_sure_as_asked(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request = {"prompt": "Hi", "candidates": ["unit vector", "messy room"]}
    document, pairs = tmp_path / "request.json", tmp_path / "pairs.jsonl"
    document.write_text(json.dumps(request))

    def ranking(*arguments: str) -> list[dict]:
        assert main(["rerank", str(run), str(document), *arguments]) == 0
        return json.loads(capsys.readouterr().out)["ranking"]

    general = ranking()
    turned = {"prompt": "Hi", "chosen": general[1]["text"], "rejected": general[0]["text"]}
    pairs.write_text("\n".join(json.dumps(turned | {"prompt": f"Hi {i}"}) for i in range(4)))
    own = ranking("--pairs", str(pairs))
    assert own[0]["index"] == general[1]["index"]
    assert ranking("--pairs", str(pairs), "--certainty", "1") == general
    plain = {line["index"]: line for line in own}
    for line in ranking("--pairs", str(pairs), "--caution", "2"):
        before = plain[line["index"]]
        assert line["score"] == pytest.approx(before["score"] - 2 * before["uncertainty"], abs=1e-5)
    give_stdin(monkeypatch, json.dumps(request | {"caution": 1}))
    assert main(["rerank", str(run), "--caution", "1"]) == 2
    assert "has 'caution', and --caution was given too" in capsys.readouterr().err
    assert main(["rerank", str(run), str(document), "--certainty", "2"]) == 2
    assert "certainty must be a number between 0 and 1, not 2" in capsys.readouterr().err
