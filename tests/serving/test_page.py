"""The page on which a person teaches their taste, over plain HTTP: what it keeps and shows."""

from __future__ import annotations

import html
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from page_calls import ANA, POOL, SAME, Serve, answer, fields_of, labels_of, opened, said
from service_settings import SETTINGS
from starlette.testclient import TestClient
from tiny_reward import PAIRS, make_worded_reward

from fspo_jax.errors import LimitError
from fspo_jax.reward import PersonalizedReward
from fspo_jax.serving.app import make_app
from fspo_jax.serving.page.hits import hits_of, wilson
from fspo_jax.serving.page.questions import sides_of
from fspo_jax.serving.pool import Pool, bundled_pool, question_id
from fspo_jax.serving.reasons import reasoned
from fspo_jax.serving.requests import pair_json
from fspo_jax.serving.stored import Guess, Label, Posterior
from fspo_jax.serving.users import Users
from fspo_jax.types import Preference


def test_answers_become_labels_with_time_and_guess_and_every_fifth_is_random(serve: Serve) -> None:
    client = opened(serve)
    for number in range(1, 7):
        shown = client.get(ANA).text
        pair = POOL.pairs[fields_of(shown)["question"]]
        first, second = sides_of("ana", pair)
        assert shown.index(html.escape(first)[:12]) < shown.index(html.escape(second)[:12])
        reward = client.app.state.service.rewards.of("ana")  # type: ignore[attr-defined]
        text = answer(client, "first")
        label = labels_of(client)[-1]
        assert (label.pair, label.response_seconds) == (Preference(pair.prompt, first, second), 1.5)
        assert label.guess and label.guess.asked == ("random" if number == 5 else "bald")
        general = client.app.state.service.rewards.everybody.reward  # type: ignore[attr-defined]
        before = (reward.reward if reward else general).preference_probability(pair.prompt, first, second)
        assert label.guess.own == pytest.approx(before)
        assert label.guess.general == pytest.approx(
            general.preference_probability(pair.prompt, first, second)
        )
        assert said(text).startswith("You chose A. The model's guess was ")
        assert ("test question" in said(text)) == (number == 5)
    assert "Of 1 test question drawn at random" in text and "You may stop here" not in text
    for _ in range(2):
        text = answer(client, "first")
    assert "You may stop here" in text
    assert len({question_id(label.pair) for label in labels_of(client)}) == 8


def test_question_stays_until_it_is_answered_and_a_form_counts_once(serve: Serve) -> None:
    client = opened(serve)
    shown, again = client.get(ANA).text, client.get(ANA).text
    assert fields_of(shown)["question"] == fields_of(again)["question"]
    form = fields_of(shown) | {"answer": "second"}
    texts = [client.post(f"{ANA}/answer", data=form).text for _ in range(2)]
    assert len(labels_of(client)) == 1 and said(texts[0]) == said(texts[1])
    assert said(client.post(f"{ANA}/answer", data=form | {"answer": "first"}).text) == (
        "That pair was answered already."
    )
    assert said(answer(client, "first", question="0" * 32)).startswith("The questions have changed")
    for wrong in ({"answer": "third"}, {"asked": "magic"}):
        bad = client.post(f"{ANA}/answer", data=fields_of(client.get(ANA).text) | {"answer": "first"} | wrong)
        assert bad.status_code == 400 and "must be one of first" in bad.text
    assert len(labels_of(client)) == 1


@pytest.mark.parametrize("seconds", ["", "x", "-1", "nan", "inf", "1e9"])
def test_odd_time_is_no_reason_to_lose_a_label(serve: Serve, seconds: str) -> None:
    client = opened(serve)
    answer(client, "first", seconds=seconds)
    assert [label.response_seconds for label in labels_of(client)] == [None]


def test_ties_and_skipped_pairs_are_not_asked_again_and_undo_takes_the_newest_back(serve: Serve) -> None:
    client = opened(serve)
    users = client.app.state.service.users  # type: ignore[attr-defined]
    assert "Undo" not in client.get(ANA).text
    asked = []
    for given in ("tie", "skip", "first"):
        asked.append(fields_of(client.get(ANA).text)["question"])
        answer(client, given)
    assert len(set(asked)) == 3
    assert [one.answer for one in users.passes("ana")] == ["tie", "skip"]
    assert client.get(f"{ANA}/export").json()["passed"][1]["answer"] == "skip"
    for left in ((0, 2), (0, 1), (0, 0)):
        form = fields_of(client.get(ANA).text)
        for _ in range(2):  # sent twice, it takes back one
            text = client.post(f"{ANA}/undo", data={"kind": form["kind"], "id": form["id"]}).text
        assert (len(labels_of(client)), len(users.passes("ana"))) == left
    assert said(text) == "The last answer is undone." and "Undo" not in text
    assert client.post(f"{ANA}/undo", data={"kind": "label", "id": "x"}).status_code == 400


def test_pool_that_is_used_up_says_so(serve: Serve) -> None:
    pool = Pool([("q", ["a", "b"])])
    client = opened(serve)
    client.app.state.service.settings = replace(SETTINGS, pool=pool)  # type: ignore[attr-defined]
    assert "No question is left" in answer(client, "tie")


def test_labels_are_turned_round_forgotten_and_taken_away(serve: Serve) -> None:
    client = opened(serve)
    for _ in range(2):
        answer(client, "first")
    first, second = labels_of(client)
    assert first.guess and second.guess
    assert said(client.post(f"{ANA}/labels/swap", data={"id": str(first.id)}).text) == (
        "The label is turned round."
    )
    turned = labels_of(client)[0]
    assert turned.pair == Preference(first.pair.prompt, first.pair.rejected, first.pair.chosen)
    assert turned.guess == Guess("bald", 1 - first.guess.own, 1 - first.guess.general)
    client.post(f"{ANA}/labels/forget", data={"id": str(second.id)})
    assert [label.id for label in labels_of(client)] == [first.id]
    for path in ("swap", "forget"):
        gone = client.post(f"{ANA}/labels/{path}", data={"id": str(second.id)})
        assert said(gone.text) == "There is no such label any more."
    exported = client.get(f"{ANA}/export")
    assert exported.headers["content-disposition"] == 'attachment; filename="ana.json"'
    assert exported.json()["pairs"][0]["asked"] == "bald"
    text = client.post(f"{ANA}/forget").text
    assert said(text) == "Everything about this person is forgotten." and labels_of(client) == []
    assert client.get(f"{ANA}/export").status_code == 404


def test_who_forgets_everything_is_told_what_their_community_keeps(serve: Serve) -> None:
    client = opened(serve)
    users = client.app.state.service.users  # type: ignore[attr-defined]
    users.append("ana", PAIRS[:1])
    kept = "learned from them stays until it learns again"
    assert kept not in client.get(f"{ANA}/labels").text
    users.communities.replace("team", ["ana"], Posterior(1, 1, "f", b"data"))
    assert f"What the community team has {kept}" in client.get(f"{ANA}/labels").text
    assert kept in said(client.post(f"{ANA}/forget").text)
    assert users.find("ana") is None


def test_beliefs_and_ranking_say_what_the_reward_says(tmp_path: Path) -> None:
    reward = make_worded_reward()
    users = Users(str(tmp_path / "users.db"))
    turned = Preference(PAIRS[1].prompt, PAIRS[1].rejected, PAIRS[1].chosen)
    users.append("ana", [*PAIRS[:2], turned])
    texts = ["One. \U0001f600", "Two sentences. And more words here."]
    with TestClient(make_app(reward, users, SETTINGS), "http://127.0.0.1", headers=SAME) as client:
        client.cookies.set("fspo_token", "token-of-ana-0000", path="/teach")
        ana = reward.adapt([*PAIRS[:2], turned])
        shown = html.unescape(client.get(f"{ANA}/beliefs").text)
        strongest = ana.beliefs(list(bundled_pool().pairs.values()))[0]
        assert strongest.words in shown and f"{strongest.effect:+.2f} ± {strongest.deviation:.2f}" in shown
        assert "The other labels speak against this one" in shown
        ranked = html.unescape(
            client.post(f"{ANA}/rank", data={"prompt": "q", "candidate": [*texts, "", texts[0]]}).text
        )
        explained = {one.text: one for one in ana.explain("q", texts)}
        best, worst = sorted(texts, key=lambda text: -explained[text].above_mean)
        assert ranked.index(best) < ranked.index(worst)
        assert f"{explained[best].above_mean:+.2f} nats from the mean" in ranked
        pull = max(explained[best].pulls, key=abs)
        assert abs(pull) < 0.02 or f"{pull:+.2f}: liked “" in ranked
        parts = reasoned(client.app.state.service, "ana", "q", texts)[0].parts  # type: ignore[attr-defined]
        told = [f"{part.nats:+.2f}: {'more' if part.more else 'less'} of “{part.words}”" for part in parts]
        assert told and all(one in ranked for one in told)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"prompt": ""}, "0 different candidates"),
        ({"candidate": ["a", " a "]}, "1 different candidates"),
        ({"candidate": ["a", "b" * 60_000]}, "60,000 characters"),
        ({"prompt": "p" * 60_000, "candidate": ["a", "b"]}, "60,000 characters"),
        ({"candidate": [str(i) for i in range(21)]}, "21 different candidates"),
    ],
)
def test_wrong_candidates_are_told_above_the_form(serve: Serve, form: dict[str, Any], words: str) -> None:
    wrong = opened(serve).post(f"{ANA}/rank", data=form)
    assert wrong.status_code == 400 and words in said(wrong.text)
    assert "<textarea" in wrong.text


def test_reward_that_cannot_ask_well_asks_at_random(tiny: PersonalizedReward, serve: Serve) -> None:
    client = opened(serve)
    client.app.state.service.asks_well = False  # type: ignore[attr-defined]
    answer(client, "first")
    assert [label.guess and label.guess.asked for label in labels_of(client)] == ["random"]


def test_hits_count_fair_guesses_only() -> None:
    def label(asked: str | None, own: float = 0.0, general: float = 0.0) -> Label:
        return Label(1, PAIRS[0], 0.0, None, Guess(asked, own, general) if asked else None)

    labels = [label(None), label("bald", 0.9, 0.9), label("random", 0.7, 0.5), label("random", 0.2, 0.9)]
    found = hits_of(labels)
    assert (found.count, found.own, found.general) == (2, 1.0, 1.5)
    assert (found.low, found.high) == wilson(1.0, 2)
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_database_from_before_the_page_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "users.db"
    users = Users(str(path))
    users.append("ana", PAIRS[:1])
    users.close()
    with sqlite3.connect(path) as connection:
        for name in ("asked", "guess", "general_guess"):
            connection.execute(f"ALTER TABLE fspo_labels DROP COLUMN {name}")
        connection.execute("DROP TABLE fspo_passes")
        connection.execute("UPDATE fspo_format SET number = 1")
    connection.close()
    users = Users(str(path))
    users.append("ana", PAIRS[1:2], guess=Guess("random", 0.7, 0.5))
    assert users.pass_over("ana", PAIRS[2], "tie") == users.pass_over("ana", PAIRS[2], "skip") == 1
    assert [label.guess for label in users.labels("ana")[1]] == [None, Guess("random", 0.7, 0.5)]
    with pytest.raises(LimitError, match="passed over 1"):
        users.pass_over("ana", PAIRS[3], "tie", most=1)
    assert users.delete("ana") and users.passes("ana") == []
    users.close()


def test_label_that_is_edited_loses_a_guess_that_was_about_other_texts(tmp_path: Path) -> None:
    users = Users(str(tmp_path / "users.db"))
    (label,) = users.append("ana", PAIRS[:1], guess=Guess("random", 0.7, 0.5))
    users.edit("ana", label, PAIRS[0])
    assert users.labels("ana")[1][0].guess == Guess("random", 0.7, 0.5)
    users.edit("ana", label, PAIRS[1])
    assert users.labels("ana")[1][0].guess is None
    users.close()


def test_labels_are_shown_page_by_page(serve: Serve) -> None:
    client = opened(serve)
    rows = [pair_json(Preference(f"number {i}.", "a", "b")) for i in range(60)]
    client.post("/v1/users/ana/preferences", json=rows, headers={"Authorization": "Bearer token-of-ana-0000"})
    first, second = (client.get(f"{ANA}/labels", params={"page": page}).text for page in (0, 1))
    if "number 59." in first:  # a reward that reads so many
        assert "number 9." not in first and "number 9." in second and "Older" in first and "Newer" in second
