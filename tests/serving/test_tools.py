"""The tools of an assistant, called by the client of the Model Context Protocol."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from service_settings import SETTINGS
from tiny_reward import CANDIDATES, PAIRS, make_worded_reward

from fspo_jax.asking import next_pair
from fspo_jax.errors import DataError
from fspo_jax.reward import PersonalizedReward
from fspo_jax.serving.pool import Pool
from fspo_jax.serving.service import Service
from fspo_jax.serving.users import Users
from fspo_jax.types import Preference

mcp = pytest.importorskip("mcp", reason="the package mcp is not installed")

POOL = [("Which?", CANDIDATES[:4])]
Call = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="module")
def reward() -> PersonalizedReward:
    return make_worded_reward()


@pytest.fixture
def service(reward: PersonalizedReward, tmp_path: Path) -> Service:
    return Service(reward, Users(str(tmp_path / "users.db")), replace(SETTINGS, pool=Pool(POOL)))


def ask(service: Service, work: Callable[[Call], Awaitable[None]]) -> None:
    """Runs `work` with a function that calls a tool of ana."""
    from fspo_jax.serving.tools import make_tools

    async def main() -> None:
        async with mcp.Client(make_tools(service, "ana")) as client:

            async def call(name: str, **arguments: Any) -> Any:
                answer = await client.call_tool(name, arguments)
                text = answer.content[0].text
                return text if answer.is_error else json.loads(text)

            call.client = client  # type: ignore[attr-defined]
            await work(call)

    anyio.run(main)


def test_five_tools_adapt_rank_explain_ask_and_forget(service: Service, reward: PersonalizedReward) -> None:
    async def work(call: Any) -> None:
        tools = (await call.client.list_tools()).tools
        assert {tool.name for tool in tools} == {"adapt", "rank", "explain", "next", "forget"}
        assert all(tool.description for tool in tools)
        reads = {tool.name for tool in tools if tool.annotations.read_only_hint}
        assert reads == {"rank", "explain", "next"}

        for number, pair in enumerate(PAIRS[:2], start=1):
            texts = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
            assert await call("adapt", **texts) == {"label": number, "labels": number}
        ana = reward.adapt(PAIRS[:2])
        body = {"prompt": "Which?", "candidates": CANDIDATES[:3]}
        scores = dict(zip(CANDIDATES, ana.score("Which?", CANDIDATES[:3]).tolist(), strict=False))
        ranking = (await call("rank", **body))["ranking"]
        assert [line["text"] for line in ranking] == sorted(scores, key=lambda text: -scores[text])
        assert [line["score"] for line in ranking] == pytest.approx(sorted(scores.values(), reverse=True))

        explained = {line["text"]: line for line in (await call("explain", **body))["explanations"]}
        for found in ana.explain("Which?", CANDIDATES[:3]):
            assert explained[found.text]["above_mean"] == pytest.approx(found.above_mean, abs=1e-5)
            told = {line["label"]: line["nats"] for line in explained[found.text]["labels"]}
            parts = {(part["has"], part["of"]): part["nats"] for part in explained[found.text]["style"]}
            for (has, words), nats in parts.items():  # with more of what is liked the score rises
                (belief,) = [one for one in ana.beliefs() if one.words == words]
                assert (has == "more") == (nats * belief.effect > 0)
            assert parts or not any(abs(part) >= 0.02 for part in found.columns["style"].values())
            kept = {i: pull for i, pull in enumerate(found.pulls, start=1) if abs(pull) >= 0.02}
            assert told == pytest.approx(kept, abs=1e-5)

        expected = next_pair(ana, POOL)
        question = (await call("next"))["question"]
        assert question == {"prompt": "Which?", "a": expected.a, "b": expected.b}
        assert await call("forget", label=1) == {"forgotten": True}
        assert await call("forget", label=1) == {"forgotten": False}
        assert [label.pair for label in service.users.labels("ana")[1]] == PAIRS[1:2]

    ask(service, work)


def test_no_question_is_left_when_all_are_answered(service: Service) -> None:
    pairs = [Preference(pair.prompt, pair.chosen, pair.rejected) for pair in service.pool.pairs.values()]
    service.users.append("ana", pairs)

    async def work(call: Any) -> None:
        assert await call("next") == {"question": None}

    ask(service, work)


def test_numbers_of_any_size_and_a_database_that_fails_are_told(service: Service) -> None:
    async def work(call: Any) -> None:
        for number in (0, -1, -(10**30), 10**30):
            assert await call("forget", label=number) == {"forgotten": False}
        with service.users._engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE fspo_labels")
        assert "database of users does not answer" in await call("forget", label=1)

    ask(service, work)


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("adapt", {"prompt": "q", "chosen": "a", "rejected": "a"}, "equal"),
        ("adapt", {"prompt": "q", "chosen": "a" * 60_000, "rejected": "b"}, "50,000"),
        ("adapt", {"prompt": "q", "chosen": "a"}, "rejected"),
        ("rank", {"prompt": "q", "candidates": "a"}, "candidates"),
        ("explain", {"prompt": "q", "candidates": ["a"]}, "two or more"),
        ("forget", {"label": "x"}, "label"),
    ],
)
def test_what_the_assistant_can_mend_is_told(service: Service, tool: str, arguments: Any, words: str) -> None:
    async def work(call: Any) -> None:
        told = await call(tool, **arguments)
        assert isinstance(told, str) and words in told

    ask(service, work)
    assert service.users.find("ana") is None


def test_user_id_is_checked_before_anything_is_served(service: Service) -> None:
    from fspo_jax.serving.tools import make_tools

    with pytest.raises(DataError, match="letters, digits"):
        make_tools(service, "a b")
