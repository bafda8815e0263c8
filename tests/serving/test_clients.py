"""Clients of other makers, unchanged, against a service on this machine.

They live in an environment of their own, which `scripts/test.sh` makes.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest
import uvicorn
from service_settings import SETTINGS
from tiny_reward import CANDIDATES, PAIRS, make_reward

from fspo_jax.serving.app import make_app
from fspo_jax.serving.users import Users

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("FSPO_CLIENTS_PYTHON", ROOT / ".venv-clients" / "bin" / "python"))
QUERY, DOCUMENTS = "Which?", CANDIDATES[:4]


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON.exists(), reason="scripts/test.sh makes the environment of the clients")
def test_unmodified_clients_rank_for_a_user(tmp_path: Path) -> None:
    reward, users = make_reward(), Users(str(tmp_path / "users.db"))
    users.append("ana", PAIRS)
    server = uvicorn.Server(
        uvicorn.Config(make_app(reward, users, SETTINGS), port=0, log_level="warning", lifespan="on")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    command = [
        PYTHON,
        "-W",
        "ignore",
        Path(__file__).with_name("unmodified_clients.py"),
        port,
        "token-of-shop-000",
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(
            [*map(str, command), QUERY, *DOCUMENTS],
            capture_output=True,
            text=True,
            timeout=600,
            env=environment,
            check=False,
        )
    finally:
        server.should_exit = True
        thread.join(30)
    assert done.returncode == 0, done.stderr[-3000:]
    best_first = (-reward.adapt(PAIRS).score(QUERY, DOCUMENTS)).argsort(kind="stable").tolist()
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == dict.fromkeys(found, best_first)
    assert len(found) == 12
