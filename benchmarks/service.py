"""The HTTP service under load, and killed under writes.

    python benchmarks/service.py [fspo-mini] [--seconds 300] [--clients 16] [--kills 50]

Load: clients send rerank requests one after the other, each for one of 100 users with 8 labelled pairs, with 20 short
candidates whose features are cached. Server and clients share the machine. Bars on 2 cores: 300 requests a second, the
slowest of a hundred within 100 ms, no error, memory that does not grow. Beside it stands the time of the same call of
the reward without a server.

Kills: clients append labels while the service is killed with SIGKILL and started again. At the start of each round a
client repeats, with the same idempotency key, what was not answered. At the end every acknowledged label must be there,
none twice, and the database whole.

Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import milliseconds, provenance, run_benchmark
from serving import text

from fspo_jax import PersonalizedReward, Preference, rerank

USERS, SHOTS, CANDIDATES, PROMPTS = 100, 8, 20, 10
STARTING = 600


class Server:
    """A child process that serves: `command` is that of `fspo serve` with a reward."""

    def __init__(self, command: Sequence[str], database: Path):
        options = ["--users", str(database), "--port", "0"]
        self.process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
        assert self.process.stderr
        started = time.monotonic()
        while not (line := self.process.stderr.readline()).startswith("serving "):
            if self.process.poll() is not None or time.monotonic() - started > STARTING:
                raise SystemExit(f"the service did not start: {line}")
        self.port = int(line.partition(",")[0].rpartition(":")[2])

    @property
    def megabytes(self) -> float:
        """Memory that the process holds."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * 4096 / 1e6

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends the process."""
        self.process.send_signal(how)
        self.process.communicate(timeout=60)


class Client:
    """One connection that is kept open."""

    def __init__(self, port: int):
        self.port = port

    async def __aenter__(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def ask(self, method: str, path: str, body: Any = None, key: str = "") -> tuple[int, bytes]:
        """Status and body of an answer."""
        data = b"" if body is None else json.dumps(body).encode()
        extra = f"Idempotency-Key: {key}\r\n" if key else ""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{extra}"
            f"Content-Length: {len(data)}\r\n\r\n"
        )
        self.writer.write(head.encode() + data)
        answer = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = int(answer.partition("content-length:")[2].partition("\r\n")[0])
        return int(answer.split()[1]), await self.reader.readexactly(size)


def pair_of(generator: random.Random) -> dict[str, str]:
    return {name: text(generator, 12) for name in ("prompt", "chosen", "rejected")}


async def prepare(port: int) -> list[dict[str, Any]]:
    """Gives every user labelled pairs, and returns bodies of rerank requests whose features are then cached."""
    generator = random.Random(0)
    bodies = [
        {"query": text(generator, 8), "documents": [text(generator, 20) for _ in range(CANDIDATES)]}
        for _ in range(PROMPTS)
    ]
    async with Client(port) as client:
        for user in range(USERS):
            pairs = [pair_of(generator) for _ in range(SHOTS)]
            status, _ = await client.ask("POST", f"/v1/users/user{user}/preferences", {"pairs": pairs})
            assert status == 201, status
            await client.ask("POST", f"/users/user{user}/rerank", bodies[user % PROMPTS])
    return bodies


async def load(port: int, bodies: list[dict[str, Any]], clients: int, seconds: float) -> dict[str, Any]:
    """Latencies in milliseconds, and answers other than 200, of clients that ask until the time is over."""
    latencies: list[float] = []
    faults: list[int] = []
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        draw = random.Random(number)
        async with Client(port) as one:
            while (started := time.perf_counter()) < end:
                path = f"/users/user{draw.randrange(USERS)}/rerank"
                status, _ = await one.ask("POST", path, draw.choice(bodies))
                latencies.append((time.perf_counter() - started) * 1e3)
                if status != 200:
                    faults.append(status)

    await asyncio.gather(*map(client, range(clients)))
    ordered = sorted(latencies)
    return {
        "requests_per_second": len(ordered) / seconds,
        "p50_ms": statistics.median(ordered),
        "p99_ms": ordered[int(0.99 * len(ordered))],
        "slowest_ms": ordered[-1],
        "errors": len(faults),
    }


def call_alone(reward: PersonalizedReward) -> float:
    """Median time of ranking 20 cached candidates without a server, in milliseconds."""
    generator = random.Random(0)
    pairs = [Preference(**pair_of(generator)) for _ in range(SHOTS)]
    prompt, texts = text(generator, 8), [text(generator, 20) for _ in range(CANDIDATES)]
    user = reward.adapt(pairs)
    return statistics.median(milliseconds(lambda: rerank(user, prompt, texts), 300)[10:])


async def write_until_killed(port: int, turn: list[int]) -> None:
    """Clients append labels until their connections break; `turn` counts what each of them had acknowledged."""

    async def client(which: int) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async with Client(port) as one:
                while True:
                    name = f"{which}.{turn[which]}"
                    body = {"prompt": name, "chosen": "a", "rejected": "b"}
                    status, _ = await one.ask("POST", f"/v1/users/user{which}/preferences", body, key=name)
                    assert status == 201, status
                    turn[which] += 1

    await asyncio.gather(*map(client, range(len(turn))))


def kill_often(command: Sequence[str], database: Path, kills: int, clients: int) -> dict[str, Any]:
    """Kills the service under writes, and compares what it acknowledged with what is in the database."""
    turn = [0] * clients
    for _ in range(kills):
        server = Server(command, database)

        async def killed(server: Server = server) -> None:
            writing = asyncio.create_task(write_until_killed(server.port, turn))
            before = sum(turn)
            while sum(turn) == before and not writing.done():
                await asyncio.sleep(0.01)
            await asyncio.sleep(random.uniform(0.0, 0.5))
            server.process.kill()
            await writing

        asyncio.run(killed())
        server.stop(signal.SIGKILL)
    with sqlite3.connect(database) as connection:
        whole = connection.execute("PRAGMA integrity_check").fetchone()[0]
        stored = [json.loads(row[0])["prompt"] for row in connection.execute("SELECT pair FROM fspo_labels")]
    acknowledged = {f"{which}.{number}" for which, count in enumerate(turn) for number in range(count)}
    return {
        "kills": kills,
        "acknowledged": len(acknowledged),
        "lost": len(acknowledged - set(stored)),
        "doubled": len(stored) - len(set(stored)),
        "integrity": whole,
    }


def run(command: Sequence[str], seconds: float, clients: int, kills: int) -> dict[str, Any]:
    """Both parts; a part with 0 seconds or kills is left out."""
    found: dict[str, Any] = {"clients": clients}
    with tempfile.TemporaryDirectory() as directory:
        if seconds:
            server = Server(command, Path(directory, "load.db"))
            try:
                bodies = asyncio.run(prepare(server.port))
                before = server.megabytes
                found["load"] = asyncio.run(load(server.port, bodies, clients, seconds))
                found["load"] |= {"megabytes_before": before, "megabytes_after": server.megabytes}
            finally:
                server.stop()
        if kills:
            found["killed"] = kill_often(command, Path(directory, "kills.db"), kills, clients)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reward", nargs="?", default="fspo-mini")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--kills", type=int, default=50)
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "fspo_jax", "serve", arguments.reward]
    found = run(command, arguments.seconds, arguments.clients, arguments.kills)
    alone = call_alone(PersonalizedReward.load(arguments.reward))
    print(json.dumps({**provenance(), "reward": arguments.reward, **found, "call_alone_ms": alone}, indent=2))


if __name__ == "__main__":
    run_benchmark(main)
