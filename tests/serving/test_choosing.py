"""What is asked next, for the page and for assistants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from service_settings import SETTINGS
from tiny_reward import make_worded_reward

from fspo_jax import asking
from fspo_jax.serving.choosing import choose_question, everything_known
from fspo_jax.serving.pool import Pool
from fspo_jax.serving.service import Service
from fspo_jax.serving.users import Users

# The responses of one prompt differ in more than those of the others.
FAR = ("far", ["No.", "A list!\n- one\n- two \U0001f600", "Many long words, and sentences. " * 6])
POOL = Pool([FAR, ("near", ["Short one.", "Short two!"]), ("other", ["Short three.", "Short four!"])])


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    users = Users(str(tmp_path / "users.db"))
    yield Service(make_worded_reward(), users, replace(SETTINGS, pool=POOL))
    users.close()


def prompts_asked(service: Service, count: int) -> list[str]:
    """The prompts of so many questions, of which the first response is always liked more; the second is skipped."""
    prompts = []
    for number in range(count):
        found = choose_question(service, "ana", everything_known(service, "ana"))
        assert found
        pair = found[0].answered("a")
        prompts.append(str(pair.prompt))
        if number == 1:
            service.users.pass_over("ana", pair, "skip", most=100)
        else:
            service.users.append("ana", [pair])
    return prompts


@pytest.mark.parametrize(("share", "second"), [(0.0, "new"), (1.0, "far")])
def test_a_new_prompt_comes_first_unless_it_tells_much_less(
    service: Service, monkeypatch: pytest.MonkeyPatch, share: float, second: str
) -> None:
    monkeypatch.setattr(asking, "NEW_PROMPT", share)
    prompts = prompts_asked(service, 4 if share == 0.0 else 2)
    assert prompts[0] == "far" and (prompts[1] == "far") == (second == "far")
    if share == 0.0:  # the second is skipped, which counts as seen
        assert set(prompts[:3]) == {"far", "near", "other"} and prompts[3] == "far"
