"""Candidates that a model writes for the page are written once, and the same in every process."""

from __future__ import annotations

import pytest

from fspo_jax.errors import FspoError
from fspo_jax.generation.endpoint import Refused
from fspo_jax.serving.users import Users
from fspo_jax.types import Message, Prompt


class Model:
    """Writes new texts each time, until it is down."""

    def __init__(self) -> None:
        self.asked: list[Prompt] = []
        self.error: FspoError | None = None

    def __call__(self, prompt: Prompt, n: int) -> list[str]:
        self.asked.append(prompt)
        if self.error:
            raise self.error
        return [f"{len(self.asked)} {i} 🙂" for i in range(n)]


def test_what_was_written_lasts_and_is_the_same_for_all(users: Users) -> None:
    model, conversation = Model(), (Message("user", "p"),)
    writer = users.kept_writer(model, "m")
    written = [writer(prompt, 4) for prompt in ("p", conversation)]
    assert [len(set(texts)) for texts in written] == [4, 4] and written[0] != written[1]
    again = users.kept_writer(model, "m")
    assert [again(prompt, 4) for prompt in ("p", conversation)] == written
    assert model.asked == ["p", conversation]
    assert users.kept_writer(model, "another")("p", 4) != written[0]


def test_two_processes_that_write_at_the_same_time_show_the_same(users: Users) -> None:
    first = Model()

    def slow(prompt: Prompt, n: int) -> list[str]:
        users.kept_writer(first, "m")(prompt, n)  # another process is faster
        return ["slow 1", "slow 2"]

    assert (
        users.kept_writer(slow, "m")("p", 4) == users.kept_writer(first, "m")("p", 4) != ["slow 1", "slow 2"]
    )


def test_a_server_that_is_down_is_asked_once_and_what_it_wrote_is_there(users: Users) -> None:
    model = Model()
    users.kept_writer(model, "m")("p", 4)
    model.error, model.asked = FspoError("it is down"), []
    writer = users.kept_writer(model, "m")
    for prompt in ("q", "r"):
        with pytest.raises(FspoError, match="it is down"):
            writer(prompt, 4)
    assert len(writer("p", 4)) == 4 and model.asked == ["q"]


def test_a_prompt_that_is_refused_does_not_stop_the_others_and_poor_texts_are_not_kept(users: Users) -> None:
    model = Model()
    writer = users.kept_writer(model, "m")
    model.error = Refused("too long")
    with pytest.raises(Refused):
        writer("p", 4)
    model.error = None
    assert writer("q", 4)
    assert users.kept_writer(lambda prompt, n: ["same"] * n, "m")("r", 4) == ["same"] * 4
    assert len(set(writer("r", 4))) == 4
