"""The page on which a person teaches their taste, over plain HTTP: what it keeps, whom it shows, what it lets run."""

from __future__ import annotations

import html
import json
import re
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from service_settings import SETTINGS, TOKENS
from starlette.testclient import TestClient
from tiny_reward import PAIRS, make_worded_reward

from fspo_jax.errors import DataError, LimitError
from fspo_jax.reward import PersonalizedReward
from fspo_jax.serving.app import make_app
from fspo_jax.serving.limits import Limits
from fspo_jax.serving.page.hits import hits_of, wilson
from fspo_jax.serving.page.questions import sides_of
from fspo_jax.serving.page.rendering import FILES, HERE
from fspo_jax.serving.pool import Pool, bundled_pool, question_id, read_pool
from fspo_jax.serving.reasons import reasoned
from fspo_jax.serving.requests import pair_json
from fspo_jax.serving.stored import Guess, Label, Posterior
from fspo_jax.serving.tokens import Tokens
from fspo_jax.serving.users import Users
from fspo_jax.types import Preference

Serve = Callable[..., TestClient]

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'{{ 7 * 7 }}"
POOL = Pool([(f"question {i} {EVIL}", [f"answer {i} {EVIL}", f"other {i}", f"third {i}"]) for i in range(6)])
ANA = "/teach/ana"
SAME = {"Sec-Fetch-Site": "same-origin"}


def opened(serve: Serve, token: str = "token-of-ana-0000", **changes: Any) -> TestClient:
    """A browser that has signed in with a token."""
    client = serve("", pool=POOL, **changes)
    if token:
        client.cookies.set("fspo_token", token, path="/teach")
    client.headers.update(SAME)
    return client


def fields_of(text: str) -> dict[str, str]:
    return dict(re.findall(r'name="(question|asked|key|kind|id)" value="([^"]*)"', text))


def answer(client: TestClient, given: str, **changes: str) -> str:
    """Answers the question that is shown; returns the next page."""
    form = fields_of(client.get(ANA).text) | {"answer": given, "seconds": "1.5"} | changes
    return client.post(f"{ANA}/answer", data=form).raise_for_status().text


def labels_of(client: TestClient) -> list[Label]:
    return client.app.state.service.users.labels("ana")[1]  # type: ignore[attr-defined]


def said(text: str) -> str:
    found = re.search(r'<p id="said"[^>]*>(.*?)</p>', text, re.DOTALL)
    assert found
    return html.unescape(found[1]).strip()


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


PAGES = ["", "/beliefs", "/labels", "/rank"]


def test_texts_are_shown_and_never_run(serve: Serve) -> None:
    client = opened(serve)
    client.app.state.service.users.append("ana", [Preference(EVIL, EVIL, "b")])  # type: ignore[attr-defined]
    answer(client, "first")
    pages = [client.get(ANA + path) for path in PAGES]
    pages.append(client.post(f"{ANA}/rank", data={"prompt": EVIL, "candidate": [EVIL, "b"]}))
    pages.append(client.get(f"/teach/{EVIL.replace('/', '')}"))
    pages.append(client.get("/teach/", params={"user": EVIL}))
    for page in pages:
        body = page.text
        assert "<script>" not in body and "<img" not in body and "49" not in said(body)
        assert not re.search(r"\son\w+=|style=|javascript:", re.sub(r"&[#\w]+;[^<>]*", "", body))
        policy = page.headers["content-security-policy"]
        assert "unsafe" not in policy and "script-src 'self'" in policy and "default-src 'none'" in policy
        assert page.headers["cache-control"] == "no-store"
    assert html.escape("<script>alert(1)</script>") in pages[0].text.replace("&#34;", "&quot;")


def test_page_asks_no_other_server_for_anything() -> None:
    for path in HERE.glob("templates/*.html"):
        assert "//" not in path.read_text().replace("{#", ""), path
    assert b"http" not in FILES["page.css"] + FILES["page.js"]


def test_static_files_need_no_token_and_nothing_else_is_served(serve: Serve) -> None:
    client = serve("")
    for name in FILES:
        found = client.get(f"/teach/in/static/{name}")
        assert found.content == FILES[name] and "immutable" in found.headers["cache-control"]
    for name in ("..%2f..%2fapp.py", "htmx.LICENSE.txt", "x"):
        assert client.get(f"/teach/in/static/{name}").status_code == 404


POSTS = ["/answer", "/undo", "/labels/swap", "/labels/forget", "/forget", "/rank"]


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("tokens", [Tokens(TOKENS), Tokens()], ids=["tokens", "open"])
def test_form_of_another_site_changes_nothing(serve: Serve, path: str, tokens: Tokens) -> None:
    client = opened(serve, tokens=tokens)
    client.app.state.service.users.append("ana", PAIRS[:1])  # type: ignore[attr-defined]
    del client.headers["sec-fetch-site"]
    form = fields_of(client.get(ANA).text) | {"answer": "first", "id": "1", "candidate": ["a", "b"]}
    for headers in (
        {},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        refused = client.post(ANA + path, data=form, headers=headers)
        assert refused.status_code == 403 and "another web site" in refused.text
    assert [label.pair for label in labels_of(client)] == PAIRS[:1]
    allowed = client.post(ANA + path, data=form, headers={"Origin": "http://127.0.0.1"})
    assert allowed.status_code == 200


def test_every_token_reaches_only_whom_it_may(serve: Serve) -> None:
    for token, bound in TOKENS.items():
        client = opened(serve, token)
        client.app.state.service.users.append("bo", [Preference("secret", "of bo", "x")])  # type: ignore[attr-defined]
        scopes = set(bound.get("scopes", ["rank", "read", "write"]))
        for path in [*PAGES, "/export"]:
            may = bound.get("user", "bo") == "bo" and scopes >= (
                {"read"} if path in ("/labels", "/export") else {"read", "rank"}
            )
            page = client.get(f"/teach/bo{path}")
            assert page.status_code == (200 if may else 403), (token, path)
            assert may or "of bo" not in page.text
        if (bound.get("user") != "bo" and "write" not in scopes) or bound.get("user") == "ana":
            for path in POSTS:
                assert client.post(f"/teach/bo{path}", data={"id": "1"}).status_code == 403
    assert len(client.app.state.service.users.labels("bo")[1]) == len(TOKENS)  # type: ignore[attr-defined]


def test_signing_in_leads_to_the_questions_and_out_again(serve: Serve) -> None:
    client = serve("", pool=POOL)
    client.headers.update(SAME)
    assert "Your token" in client.get(ANA).text and client.get(ANA).url.path == "/teach/"
    for wrong in ("", "token-of-ana-000", "é" * 20, "a; Path=/", 'x"' * 10):
        refused = client.post("/teach/in/session", data={"token": wrong})
        assert refused.status_code == 401 and "not known" in said(refused.text), wrong
        assert "set-cookie" not in refused.headers
    entered = client.post("/teach/in/session", data={"token": " token-of-ana-0000 "}, follow_redirects=False)
    cookie = entered.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=strict", "path=/teach"))
    assert "secure" not in cookie and "max-age" not in cookie
    assert client.get("/teach/").url.path == ANA
    assert client.post("/rerank", json={"query": "q", "documents": ["a"]}).status_code == 401
    client.post("/teach/in/session/end")
    assert client.get(ANA).url.path == "/teach/"


def test_cookie_goes_over_tls_only_except_on_this_machine(serve: Serve) -> None:
    entered = serve("").post(
        "/teach/in/session",
        data={"token": "token-of-ana-0000"},
        headers=SAME | {"Host": "taste.example"},
        follow_redirects=False,
    )
    assert "secure" in entered.headers["set-cookie"].lower()


def test_application_is_asked_whose_taste(serve: Serve) -> None:
    client = opened(serve, "token-of-shop-000")
    assert "Whose taste?" in client.get("/teach").text
    assert client.get("/teach", params={"user": " bo "}).url.path == "/teach/bo"
    wrong = client.get("/teach/", params={"user": "a b"})
    assert wrong.status_code == 400 and "letters, digits" in said(wrong.text)


@pytest.mark.parametrize("host", ["evil.example", ""])
def test_without_tokens_only_loopback_names_see_the_page(serve: Serve, host: str) -> None:
    client = opened(serve, "", tokens=Tokens())
    assert client.get(ANA).status_code == 200
    assert client.get(ANA, headers={"Host": host}).status_code == 421


def test_trusted_header_that_names_another_user_is_refused(serve: Serve) -> None:
    client = opened(serve, "token-of-shop-000", trusted_header="X-User")
    assert client.get(ANA, headers={"X-User": "ana"}).status_code == 200
    assert client.get(ANA, headers={"X-User": "bo"}).status_code == 400
    assert client.get("/teach/", headers={"X-User": "bo"}).url.path == "/teach/bo"


def test_errors_are_pages_and_forms_are_bounded(serve: Serve) -> None:
    client = opened(serve, limits=replace(SETTINGS.limits, body=200, rate=0.01))
    assert client.get("/teach/ana/nothing").text.count("<h1") == 1
    slowed = client.get(ANA)
    assert slowed.status_code == 200
    slowed = client.get(ANA)
    assert slowed.status_code == 429 and "retry-after" in slowed.headers and "<h1" in slowed.text
    client = opened(serve, limits=replace(SETTINGS.limits, body=200))
    assert client.post(f"{ANA}/rank", data={"prompt": "x" * 300}).status_code == 413
    assert client.post(f"{ANA}/rank", json={}).status_code == 415
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    for content in (b"\xff", b"a=%ff"):
        assert client.post(f"{ANA}/rank", content=content, headers=kind).status_code == 400


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


def test_pool_of_the_package_has_enough_pairs_of_readable_length() -> None:
    pool = bundled_pool()
    assert 200 <= len(pool.pairs) <= 300
    assert max(len(pair.chosen) for pair in pool.pairs.values()) < 1500
    assert not any(
        "http" in pair.chosen + pair.rejected for pair in pool.pairs.values()
    )  # links lead nowhere


@pytest.mark.parametrize("form", ["lines", "list"])
def test_pool_is_read_from_a_file(tmp_path: Path, form: str) -> None:
    rows = [
        '{"prompt": "q", "candidates": ["a", {"text": "b"}, "b"]}',
        '{"prompt": [{"role": "user", "content": "p"}], "candidates": ["c", "d"]}',
    ]
    path = tmp_path / "pool.json"
    path.write_text("\n\n".join(rows) if form == "lines" else f"[{','.join(rows)}]")
    assert [(pair.chosen, pair.rejected) for pair in read_pool(path, Limits()).pairs.values()] == [
        ("a", "b"),
        ("c", "d"),
    ]


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("", DataError, "pool must be a list"),
        ("{", DataError, "cannot be read as JSON"),
        ('{"prompt": "q"}', DataError, r"pool.json: pool\[0\]: request: 'candidates' is missing"),
        ('{"prompt": "q", "candidates": ["a", "a"]}', DataError, "has no pair"),
        ('{"prompt": "q", "candidates": ["a", 1]}', DataError, r"candidates\[1\]"),
        ('["q"]', DataError, r"pool\[0\]"),
        (
            json.dumps({"prompt": "q", "candidates": [str(i) for i in range(200)]}),
            LimitError,
            "10,000",
        ),
    ],
)
def test_pool_with_a_fault_is_refused(tmp_path: Path, text: str, kind: type, words: str) -> None:
    path = tmp_path / "pool.json"
    path.write_text(text)
    with pytest.raises(kind, match=words):
        read_pool(path, Limits())


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
