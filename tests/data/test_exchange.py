import math

import pytest

from fspo_jax.data.cards import data_card
from fspo_jax.data.exchange import COLUMNS, export_users, import_users
from fspo_jax.data.sources import load_users
from fspo_jax.errors import DataError
from fspo_jax.types import CandidateSet, Preference, User

TURNS = [{"role": "user", "content": "Hi | 你好"}, {"role": "assistant", "content": "\n"}]
USERS = [
    User(
        "a",
        (Preference("p", "x y", "z"), Preference(TURNS, "é", '"')),
        "s",
        "g",
        (CandidateSet("p", ("x", "y", "z"), (1.0, 0.1 + 0.2, -3.0)),),
    ),
    User(
        "b", (Preference("[1]", "x", "z"),), "s", "g", (CandidateSet("p", ("x", "y", "z"), (0.0, 1.0, -3.0)),)
    ),
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))


def test_export_users_round_trip_is_lossless(tmp_path):
    export_users({"train": USERS, "test": USERS[:1]}, tmp_path / "out", card="# A card\n")
    assert import_users(tmp_path / "out") == {"train": USERS, "test": USERS[:1]}
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# A card") and all(f"`{name}`" in text for name in COLUMNS)
    assert not list(tmp_path.glob(".out*"))


def test_options_of_rows_are_not_passed_over_for_exported_users(tmp_path):
    export_users({"train": USERS}, tmp_path / "out")
    rejects = tmp_path / "bad.rejects.jsonl"
    rejects.write_text("of an earlier load")
    assert len(load_users(tmp_path / "out", rejects=rejects)) == 2
    assert not rejects.exists()
    with pytest.raises(DataError, match="was written by 'fspo data make'"):
        load_users(tmp_path / "out", columns={"prompt": "question"})
    with pytest.raises(DataError, match="cannot be used for rejects"):
        load_users(tmp_path / "out", rejects=tmp_path / "out" / "train.parquet")


def test_export_users_non_empty_directory_raises_and_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="not an empty directory"):
        export_users({"train": USERS}, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_import_users_wrong_content_says_where(tmp_path):
    from datasets import Dataset

    with pytest.raises(DataError, match="has no parquet file"):
        import_users(tmp_path)
    Dataset.from_list([{"user_id": "a"}]).to_parquet(str(tmp_path / "train.parquet"))
    with pytest.raises(DataError, match=r"columns .*'source'.* are missing"):
        import_users(tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(DataError, match="cannot be read"):
        import_users(tmp_path)


def test_data_card_figures_by_hand():
    card = data_card(USERS)
    assert (card.users, card.pairs, card.prompts) == (2, 3, 3)
    assert card.pairs_per_user == (1, 1.5, 2)
    assert card.users_by_group == {"s / g": 2}
    # "x y" is longer than "z"; the two others are as long as their opposites.
    assert card.longer_chosen == pytest.approx((1 + 0.5 + 0.5) / 3)
    # Of x > y, x > z, y > z the two users differ on the first alone.
    assert card.disagreement == pytest.approx(1 / 3)
    assert math.isnan(card.similarity)

    def entropy(margin):
        p = 1 / (1 + math.exp(-margin))
        return -p * math.log(p) - (1 - p) * math.log(1 - p)

    margins = [0.7, 4.0, 3.3, 1.0, 3.0, 4.0]
    assert card.label_entropy == pytest.approx(sum(map(entropy, margins)) / 6)
    text = card.to_markdown(licence="CC0")
    assert "| disagreement of two users of a group | 0.333 |" in text and "CC0" in text


def test_data_card_without_utilities_uses_shared_pairs():
    users = [
        User(name, (Preference("p", *texts),), "s") for name, texts in (("a", "xy"), ("b", "yx"), ("c", "xy"))
    ]
    card = data_card(users)
    assert card.disagreement == pytest.approx(2 / 3)
    share = 2 / 3
    assert card.label_entropy == pytest.approx(-share * math.log(share) - (1 - share) * math.log(1 - share))


def test_data_card_similarity_is_the_mean_cosine():
    import numpy as np

    vectors = {"x": [1.0, 0.0], "y": [0.6, 0.8], "z": [0.0, 1.0]}
    users = [User("a", (Preference("p", "x", "y"), Preference("p", "x", "z")), "s")]
    card = data_card(users, embed=lambda texts: np.array([vectors[text] for text in texts]))
    assert card.similarity == pytest.approx((0.6 + 0.0 + 0.8) / 3)
