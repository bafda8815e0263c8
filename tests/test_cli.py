"""The console command: help, errors, input and output. The library behind it has tests of its own."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fspo_jax.cli import main

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = [
    ["train"], ["evaluate"], ["adapt"], ["rerank"], ["encode"], ["data"],
    ["data", "make"], ["data", "inspect"], ["data", "validate"],
]  # fmt: skip
PAIRS = [
    {"prompt": "Explain entropy.", "chosen": "A messy room.", "rejected": "S equals k log W."},
    {"prompt": "What is a qubit?", "chosen": "A coin that spins.", "rejected": "A unit vector."},
]


class WordFeaturizer:
    """Stands in for the encoder: a hash of each word picks a direction."""

    dimension = 16
    fingerprint = "words-16"

    def __call__(self, prompts: Sequence[object], responses: Sequence[str]) -> np.ndarray:
        rows = np.zeros((len(responses), self.dimension), np.float32)
        for row, response in zip(rows, responses, strict=True):
            for word in response.lower().split():
                row[hashlib.sha256(word.encode()).digest()[0] % self.dimension] += 1
        return rows


CONFIG = """
seed = 0
steps = 2
objective = "bradley_terry"
steps_per_dispatch = 2
evaluate_every = 2
[[data.sources]]
kind = "personas"
seed = 0
personas = 20
prompts = 10
[episodes]
max_context = 4
[scorer]
kind = "preferential_gp"
hidden = 8
width = 4
[optimizer]
learning_rate = 1e-3
warmup_steps = 1
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.fixture
def run(tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An exported reward directory with parameters as initialised."""
    import jax

    import fspo_jax.reward
    from fspo_jax.config import load_config
    from fspo_jax.models.scorers import make_scorer

    featurizer = WordFeaturizer()
    monkeypatch.setattr(fspo_jax.reward, "make_featurizer", lambda encoder: featurizer)
    loaded = load_config(config)
    params = make_scorer(loaded.scorer, featurizer.dimension).init(jax.random.key(0))
    path = tmp_path / "run"
    fspo_jax.reward.PersonalizedReward.from_parts(loaded, params, featurizer).save(path)
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS), encoding="utf-8")
    return path


def give_stdin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))


def ask(**fields: object) -> str:
    """One JSON document for `rerank`."""
    return json.dumps({"prompt": "x", "candidates": [], **fields})


def expect_error(capsys: pytest.CaptureFixture[str], argv: Sequence[object]) -> str:
    """Runs a command that must fail with one line on standard error and status 2, and returns the line."""
    try:
        status = main([str(argument) for argument in argv])
    except SystemExit as exit_:
        status = exit_.code
    captured = capsys.readouterr()
    assert status == 2
    assert captured.out == ""
    assert "Traceback" not in captured.err
    lines = [line for line in captured.err.splitlines() if line.startswith("fspo") and ": error: " in line]
    assert len(lines) == 1, captured.err
    return lines[0]


def margin(answer: dict, a: int, b: int) -> float:
    """Score of candidate `a` above candidate `b` in what `rerank` wrote."""
    scores = {line["index"]: line["score"] for line in answer["ranking"]}
    return scores[a] - scores[b]


# help and start-up


def fspo(*argv: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "fspo_jax", *argv]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, **options)  # type: ignore[call-overload]


@pytest.mark.parametrize("command", [[], *COMMANDS], ids=" ".join)
def test_help_has_sentence_arguments_and_example(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([*command, "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert "." in text.split("\n\n")[1]
    assert max(map(len, text.splitlines())) <= 120
    if command not in ([], ["data"]):
        example = text.split("example:\n")[1].strip().splitlines()
        assert all(" ".join(["fspo", *command]) in line for line in example)


@pytest.mark.parametrize("command", [[], *COMMANDS], ids=" ".join)
def test_help_imports_nothing_heavy(command: list[str]) -> None:
    code = (
        "import sys\nfrom fspo_jax.cli import main\n"
        f"try: main({[*command, '--help']!r})\nexcept SystemExit: pass\n"
        "heavy = {'jax', 'numpy', 'flax', 'transformers', 'datasets', 'rich', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr


def test_help_takes_less_than_300_ms() -> None:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        assert fspo("--help").returncode == 0
        times.append(time.perf_counter() - start)
    assert min(times) < 0.3  # the best of five: the machine may be busy


@pytest.mark.parametrize("name", ["train", "evaluate", "adapt", "rerank", "data", "encode"])
def test_script_file_is_the_same_command(name: str) -> None:
    done = subprocess.run(
        [sys.executable, f"scripts/{name}.py", "--help"], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: fspo {name}")


# typos and wrong usage


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian"], "unknown choice 'trian'. Did you mean 'train'?"),
        (["data", "inspekt", "x"], "unknown choice 'inspekt'. Did you mean 'inspect'?"),
        (["data", "validate", "x", "--srict"], "unknown argument '--srict'. Did you mean '--strict'?"),
        (["evaluate", "x", "--ouput=y"], "unknown argument '--ouput=y'. Did you mean '--output'?"),
        (["rerank", "run", "doc", "--top-k", "0"], "argument --top-k: '0' is not a positive whole number"),
        (["rerank", "run", "--user", "u", "--pairs", "p"], "not allowed with"),
        (["adapt", "run", "pairs"], "required: -o/--output"),
        ([], "required: COMMAND"),
    ],
)
def test_usage_wrong_says_what_was_meant(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in expect_error(capsys, argv)


def test_run_path_mistyped_names_the_one_meant(
    run: Path, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = expect_error(capsys, ["adapt", run.with_name("runn"), pairs, "-o", run.with_name("ana")])
    assert f"Did you mean '{run}'?" in line


def test_pairs_path_mistyped_names_the_one_meant(
    run: Path, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = expect_error(capsys, ["adapt", run, pairs.with_name("pars.jsonl"), "-o", run.with_name("ana")])
    assert f"Did you mean '{pairs}'?" in line


def test_debug_shows_the_traceback(run: Path) -> None:
    with pytest.raises(Exception, match="no such"):
        main(["adapt", str(run), "missing.jsonl", "-o", "ana", "--debug"])


# adapt and rerank


def test_adapt_saves_a_user_that_rerank_reads(
    run: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    user = tmp_path / "users" / "ana"
    assert main(["adapt", str(run), str(pairs), "--output", str(user)]) == 0
    assert "adapted to 2 of at most 4 pairs" in capsys.readouterr().out
    candidates = tmp_path / "drafts.json"
    candidates.write_text(json.dumps(["A messy coin.", "S equals a unit vector.", "Yes."]), encoding="utf-8")
    request = ["rerank", str(run), "--prompt", "Why is the sky blue?", "--candidates", str(candidates)]
    assert main([*request, "--user", str(user)]) == 0
    saved = json.loads(capsys.readouterr().out)
    assert main([*request, "--pairs", str(pairs)]) == 0
    direct = json.loads(capsys.readouterr().out)
    assert saved == direct
    assert saved["shots"] == 2
    assert [line["rank"] for line in saved["ranking"]] == [1, 2, 3]
    scores = [line["score"] for line in saved["ranking"]]
    assert scores == sorted(scores, reverse=True)
    assert main(request) == 0
    population = json.loads(capsys.readouterr().out)
    assert margin(saved, 0, 1) > margin(population, 0, 1)  # the pairs speak for the words of candidate 0


def test_adapt_existing_user_needs_update_or_overwrite(
    run: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapt = ["adapt", str(run), str(pairs), "-o", str(tmp_path / "ana")]
    assert "no such user" in expect_error(capsys, [*adapt, "--update"])
    assert main(adapt) == 0
    capsys.readouterr()
    assert "--update" in expect_error(capsys, adapt)
    assert main([*adapt, "--update"]) == 0
    assert "adapted to 4 of" in capsys.readouterr().out
    assert "context has 6 preferences" in expect_error(capsys, [*adapt, "--update"])
    assert main([*adapt, "--overwrite"]) == 0
    assert "adapted to 2 of" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["file", "-", ""])
def test_rerank_takes_one_document_from_file_or_stdin(
    source: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    document = json.dumps(
        {"pairs": PAIRS, "prompt": "Hi \u00e9 \u4f60", "candidates": ["unit vector", "messy room \u4f60"]}
    )
    argument = [source] if source else []
    if source == "file":
        path = tmp_path / "request.json"
        path.write_text(document, encoding="utf-8")
        argument = [str(path)]
    else:
        give_stdin(monkeypatch, document)
    assert main(["rerank", str(run), *argument, "--top-k", "1"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["prompt"] == "Hi \u00e9 \u4f60"
    assert [line["text"] for line in answer["ranking"]] == ["messy room \u4f60"]


def test_rerank_conversation_prompt_and_no_pairs_is_the_population(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = [{"role": "user", "content": "Hi"}]
    give_stdin(monkeypatch, json.dumps({"prompt": prompt, "candidates": []}))
    assert main(["rerank", str(run)]) == 0
    assert json.loads(capsys.readouterr().out) == {"prompt": prompt, "shots": 0, "ranking": []}


def test_rerank_candidates_from_stdin_as_jsonl_objects(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give_stdin(monkeypatch, '{"model": "m", "text": "one"}\n{"text": "two"}\n')
    assert main(["rerank", str(run), "--prompt", "Hi", "--candidates", "-"]) == 0
    assert {line["text"] for line in json.loads(capsys.readouterr().out)["ranking"]} == {"one", "two"}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "standard input is empty"),
        ("{", "not JSON"),
        ("[1]", "expected one JSON document"),
        ("\ufeff" + json.dumps({"prompt": "x"}), "'candidates' is missing"),
        (json.dumps({"candidates": []}), "'prompt' is missing"),
        (json.dumps({"prompt": "x", "candidate": []}), "Did you mean 'candidates'?"),
        (json.dumps({"prompt": 3, "candidates": ["a"]}), "prompt must be a string"),
        (json.dumps({"prompt": "x", "candidates": "ab", "pairs": 3}), "pairs must be a list"),
        (json.dumps({"prompt": "x", "candidates": [3]}), "candidates[0] must be a string"),
        (json.dumps({"prompt": "x", "candidates": ["\ud800"]}), "lone surrogate"),
        (ask(pairs=[{"prompt": "a"}]), "pair 1: 'chosen' is missing"),
        (ask(pairs=[{**PAIRS[0], "chosn": "b"}]), "Did you mean 'chosen'?"),
        (
            ask(pairs=[{**PAIRS[0], "user_id": "a"}, {**PAIRS[1], "user_id": "b"}]),
            "of 2 users",
        ),
        (
            ask(pairs=[{"prompt": "x", "chosen": "a", "rejected": "a"}]),
            "pair 1: chosen equals rejected",
        ),
        (ask(pairs=PAIRS * 3), "context has 6 preferences"),
    ],
)  # fmt: skip
def test_rerank_document_wrong_says_where(
    document: str,
    message: str,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    give_stdin(monkeypatch, document)
    assert message in expect_error(capsys, ["rerank", run, "-"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--pairs", "-", "--candidates", "-", "--prompt", "x"], "standard input can be read once"),
        (["--candidates", "-"], "--prompt is missing"),
        (["--pairs", "-", "--prompt", "x"], "--candidates is missing"),
        (["-", "--prompt", "y"], "has 'prompt', and --prompt was given too"),
    ],
)
def test_rerank_arguments_that_clash_are_refused(
    argv: list[str],
    message: str,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    give_stdin(monkeypatch, json.dumps({"prompt": "x", "candidates": []}))
    assert message in expect_error(capsys, ["rerank", run, *argv])


def test_stdin_is_a_terminal_says_what_is_expected(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give_stdin(monkeypatch, json.dumps({"prompt": "x", "candidates": []}))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert main(["rerank", str(run)]) == 0
    assert (
        'one JSON document: {"pairs": [...], "prompt": ..., "candidates": [...]}' in capsys.readouterr().err
    )


# data


@pytest.fixture
def people(tmp_path: Path) -> Path:
    rows = [
        {"user_id": f"u{i % 2}", "prompt": f"p{i}", "chosen": f"a {i}", "rejected": f"b {i} longer"}
        for i in range(6)
    ]
    lines = [*map(json.dumps, rows), json.dumps({**rows[0], "chosen": ""}), "{"]
    path = tmp_path / "people.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_data_validate_lists_bad_rows_by_line(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rejects = people.with_name("people.rejects.jsonl")
    assert main(["data", "validate", str(people), "--rejects", str(rejects), "--show", "1"]) == 1
    out = capsys.readouterr().out
    assert f"{people}:7: empty field" in out
    assert f"... and 1 more; see {rejects}" in out
    assert "6 of 8 rows kept, 2 users" in out
    assert len(rejects.read_text(encoding="utf-8").splitlines()) == 2


def test_data_validate_good_rows_returns_0(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people.write_text(
        "".join(people.read_text(encoding="utf-8").splitlines(keepends=True)[:6]), encoding="utf-8"
    )
    assert main(["data", "validate", str(people)]) == 0
    assert "6 of 6 rows kept" in capsys.readouterr().out


def test_data_validate_strict_stops_at_the_first(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ":7: empty field" in expect_error(capsys, ["data", "validate", people, "--strict"])


def test_data_inspect_shows_users_lengths_and_a_pair(
    people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "inspect", str(people)]) == 0
    out = capsys.readouterr().out
    assert "pairs a user: 3 to 3, median 3" in out
    assert "chosen is the longer response: 0.0% of pairs" in out
    assert "distinct prompts: 6" in out
    assert "'a 0'" in out


@pytest.mark.slow
def test_data_make_writes_users_that_inspect_and_evaluate_read(
    config: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Encoder:
        def encode(self, texts: Sequence[str]) -> np.ndarray:
            return np.eye(16, dtype=np.float32)[[len(text) % 16 for text in texts]]

    monkeypatch.setattr("fspo_jax.models.encoders.load_encoder", lambda name: Encoder())
    made, report = config.parent / "made", config.parent / "report"
    make = ["data", "make", str(config), "--output", str(made), "--set", "data.sources.0.prompts=30"]
    assert main(make) == 0
    assert "similarity of two responses to one prompt" in capsys.readouterr().out
    assert sorted(path.name for path in made.iterdir()) == [
        "README.md",
        "test.parquet",
        "train.parquet",
        "validation.parquet",
    ]
    assert "not an empty directory" in expect_error(capsys, make)
    assert main(["data", "inspect", str(made)]) == 0
    assert "8 validation users" in capsys.readouterr().out
    evaluate = ["evaluate", str(run), "--data", str(made), "--output", str(report), "--queries", "4"]
    assert main(evaluate) == 0
    assert "over 16 users" in capsys.readouterr().out
    assert json.loads((report / "report.json").read_text(encoding="utf-8"))["shots"] == [0, 1, 2, 4]
    assert {path.name for path in report.iterdir()} == {
        "report.json",
        "report.md",
        "report.html",
        "k_curve.png",
    }


def test_evaluate_run_mistyped_says_what_was_meant(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = expect_error(capsys, ["evaluate", run.with_name("rum")])
    assert f"Did you mean '{run}'?" in line


def test_data_path_mistyped_names_the_one_meant(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'people.jsonl'?" in expect_error(
        capsys, ["data", "inspect", people.with_name("peple.jsonl")]
    )


# encode


def test_encode_writes_features_of_strings_and_pairs(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fspo_jax.models.features.make_featurizer", lambda encoder: WordFeaturizer())
    give_stdin(monkeypatch, "\n".join(map(json.dumps, ["one text", PAIRS[0]])))
    output = run.with_name("texts.npy")
    assert main(["encode", str(run), "-", "--output", str(output)]) == 0
    assert "3 rows of 16 features (words-16)" in capsys.readouterr().out
    expected = WordFeaturizer()(["", "", ""], ["one text", PAIRS[0]["chosen"], PAIRS[0]["rejected"]])
    np.testing.assert_array_equal(np.load(output), expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "row 1 must be a string or a pair"),
        ('["a", {"prompt": "x"}]', "row 2, pair 1: 'chosen' is missing"),
        ('["\\ud800"]', "texts[0] holds a lone surrogate"),
    ],
)
def test_encode_row_wrong_says_which(
    text: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give_stdin(monkeypatch, text)
    assert message in expect_error(capsys, ["encode", "all-MiniLM-L6-v2", "-"])


# train


def test_train_config_mistyped_says_what_was_meant(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = expect_error(
        capsys, ["train", config, "--output", config.parent / "out", "--set", "optimizer.learning_rte=1"]
    )
    assert "unknown key 'optimizer.learning_rte'. Did you mean 'learning_rate'?" in line
    assert not (config.parent / "out").exists()


@pytest.mark.slow
def test_train_then_adapt_and_resume(
    config: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fspo_jax.models.features.make_featurizer", lambda encoder: WordFeaturizer())
    monkeypatch.setattr("fspo_jax.reward.make_featurizer", lambda encoder: WordFeaturizer())
    run = config.parent / "trained"
    train = ["train", str(config), "--output", str(run), "--set", "data.sources.0.prompts=30"]
    assert main(train) == 0
    captured = capsys.readouterr()
    assert f"fspo evaluate {run}" in captured.out
    assert "encoding: " in captured.err
    assert "preferential gp: 2 of 2" in captured.err
    assert "population: 2 of 2" in captured.err
    assert "--resume" in expect_error(capsys, train)
    assert main([*train, "--resume"]) == 0
    assert main(["adapt", str(run), str(pairs), "-o", str(config.parent / "ana")]) == 0


# signals


def test_interrupt_returns_130_and_says_how_to_resume(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import fspo_jax.training.loop

    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fspo_jax.training.loop, "train", interrupted)
    assert (
        main(["train", str(config), "--output", str(config.parent / "out"), "--set", "steps=4", "seed=1"])
        == 130
    )
    err = capsys.readouterr().err
    assert f"fspo train {config} --output {config.parent / 'out'} --set steps=4 seed=1 --resume" in err


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX shells")
def test_reader_that_goes_away_is_no_error(people: Path) -> None:
    text = people.read_text(encoding="utf-8").splitlines()[-1] + "\n"
    rows = people.read_text(encoding="utf-8").splitlines()[0] + "\n"
    people.write_text(rows + text * 20_000, encoding="utf-8")
    command = f"'{sys.executable}' -m fspo_jax data validate '{people}' --show 20000 | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.stderr == ""
    assert ":2: broken JSON" in done.stdout
