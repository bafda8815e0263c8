"""`fspo serve`: what it refuses to start with, and that a served process loses nothing when it is stopped or killed."""

from __future__ import annotations

import importlib.util
import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_calls import ROOT, expect_error

from fspo_jax.errors import DataError
from fspo_jax.serving.users import Users

TOKEN = "token-of-ana-0000"


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps({TOKEN: {"user": "ana"}}))
    return path


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "127.0.0.1.example.org", ""])
def test_off_loopback_it_does_not_start_without_tokens(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, host: str
) -> None:
    argv = ["serve", "fspo-mini", "--users", tmp_path / "users.db", "--host", host]
    assert "tokens are needed. Pass --tokens" in expect_error(capsys, argv)
    assert not (tmp_path / "users.db").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--users", "users.db", "--name", "a:b"], "has a colon"),
        (["--users", "users.db", "--tokens", "missing.json"], "cannot be read as JSON"),
        (["--users", "nonsense://x"], "cannot be opened as a database"),
        (["--users", "users.db", "--port", "65536"], "is not a port"),
        (["--users", "users.db", "--queue", "0"], "not a positive whole number"),
        (["--users", "users.db", "--max-labels", "0"], "not a positive whole number"),
        (["--users", "users.db", "--pool-writer", "http://127.0.0.1:1/v1"], "pass all three"),
        (["--users", "users.db", "--pool", "p.jsonl", "--pool-model", "m"], "pass all three"),
        (
            ["--users", "users.db", "--pool", "p.jsonl", "--pool-model", "m", "--pool-writer", "ftp://x"],
            "must begin with http",
        ),
        ([], "--users"),
    ],
)
def test_wrong_option_is_told_before_the_reward_is_loaded(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: Sequence[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fspo_jax.cli.serving.load_reward", None)
    assert message in expect_error(capsys, ["serve", "fspo-mini", *options])


def test_taken_port_and_unknown_reward_are_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fspo_jax.cli.serving.load_reward", None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        argv = ["serve", "fspo-mini", "--users", tmp_path / "users.db", "--port", port]
        assert "cannot listen at 127.0.0.1" in expect_error(capsys, argv)
        # A model that writes the pool is not asked for nothing.
        writer = [
            "--pool",
            tmp_path / "missing",
            "--pool-writer",
            "http://127.0.0.1:9/v1",
            "--pool-model",
            "m",
        ]
        assert "cannot listen at 127.0.0.1" in expect_error(capsys, [*argv, *writer])
    assert "no such reward" in expect_error(capsys, ["serve", "fspo-mni", "--users", tmp_path / "users.db"])


def test_restart_needs_no_model_for_candidates_that_it_wrote_before(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load_reward(_: object) -> None:
        raise DataError("the pool was read")

    monkeypatch.setattr("fspo_jax.cli.serving.load_reward", load_reward)
    pool, database = tmp_path / "pool.jsonl", tmp_path / "users.db"
    pool.write_text('{"prompt": "q"}\n')
    down = ["--pool-writer", "http://127.0.0.1:9/v1", "--pool-model", "m"]
    argv = ["serve", "fspo-mini", "--users", database, "--port", 0, "--pool", pool, *down]
    assert "http://127.0.0.1:9/v1/chat/completions did not answer" in expect_error(capsys, argv)
    users = Users(str(database))
    users.kept_writer(lambda prompt, n: ["one", "two"], "m")("q", 4)
    users.close()
    assert "the pool was read" in expect_error(capsys, argv)
    pool.write_text('{"prompt": "q"}\n{"prompt": "new"}\n')
    assert "the pool was read" in expect_error(capsys, argv)
    assert "1 prompt has no candidates and is left out" in caplog.text


def test_missing_extra_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name))
    argv = ["serve", "fspo-mini", "--users", tmp_path / "users.db"]
    assert "packages uvicorn. In a clone of fspo_jax, install" in expect_error(capsys, argv)


CHILD = """
import sys
sys.path.insert(0, "tests")
import fspo_jax.cli.serving as serving
from fspo_jax.cli import main
from tiny_reward import make_reward
serving.load_reward = lambda _: make_reward()
sys.exit(main(["serve", "fspo-mini", "--port", "0", *sys.argv[1:]]))
"""


class Served:
    """A child process that serves a tiny reward."""

    def __init__(self, *options: object, environment: dict[str, str]):
        command = [sys.executable, "-W", "error", "-c", CHILD, *map(str, options)]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr
        assert self.process.stderr.readline().startswith("loading fspo-mini")
        line = self.process.stderr.readline()
        assert line.startswith("serving fspo-mini at http://127.0.0.1:"), line
        self.port = int(line.partition(",")[0].rpartition(":")[2])

    def ask(self, method: str, path: str, body: Any = None, key: str = "") -> Any:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(
            urllib.request.Request(url, data, headers, method=method), timeout=60
        ) as answer:
            return json.loads(answer.read() or b"null")

    def stop(self, how: signal.Signals) -> str:
        """Ends the process, and returns what it has said since it began to serve."""
        self.process.send_signal(how)
        _, said = self.process.communicate(timeout=60)
        return said


def label(number: int) -> dict[str, str]:
    return {"prompt": f"question {number}", "chosen": "a", "rejected": "b"}


@pytest.mark.slow
def test_killed_process_keeps_what_it_acknowledged_and_a_stopped_one_finishes(
    tmp_path: Path, tokens: Path, compiled_programs: dict[str, str]
) -> None:
    options = ("--users", tmp_path / "users.db", "--tokens", tokens)
    served = Served(*options, environment=compiled_programs)
    for number in range(5):
        served.ask("POST", "/v1/users/ana/preferences", label(number), key=f"k{number}")
    assert served.stop(signal.SIGKILL) == ""

    served = Served(*options, environment=compiled_programs)
    for number in (4, 5):  # a client that does not know whether its last label arrived
        served.ask("POST", "/v1/users/ana/preferences", label(number), key=f"k{number}")
    kept = served.ask("GET", "/v1/users/ana/preferences")["preferences"]
    assert [row["prompt"] for row in kept] == [f"question {number}" for number in range(6)]
    ranked = served.ask("POST", "/rerank", {"query": "q", "documents": ["x", "y"]})["results"]
    assert len(ranked) == 2
    with pytest.raises(urllib.error.HTTPError, match="403"):
        served.ask("GET", "/v1/users/bo")

    body = json.dumps(label(6)).encode()
    head = (
        f"POST /v1/users/ana/preferences HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as late:
        late.sendall(head.encode() + body[:5])
        served.ask("GET", "/v1/users/ana")  # the service has seen the connection before
        served.process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            served.process.wait(timeout=0.5)
        late.sendall(body[5:])
        assert late.recv(1000).startswith(b"HTTP/1.1 201")
    _, said = served.process.communicate(timeout=60)
    assert (served.process.returncode, said) == (-signal.SIGTERM, "")
