"""Whether a response must still answer: how often an off-topic text in the person's style is ranked first.

    python benchmarks/style_against_content.py REWARD [--part final]

REWARD is a trained run or `fspo-mini`. A person likes one of six styles, and labelled 8 pairs about other things. For
each prompt the candidates are a right plain response, a right one in the person's style where there is one, and one
text in the person's style about something else; or, instead of it, all degenerate texts: none, spaces, placeholder
text, a repeated sentence, the repeated prompt, and refusals. Prints the share of prompts at which such a text is first,
at 0 and 8 shots, apart for prompts without a right response in the person's style, and how often the right response in
the person's style is first among the right ones. One JSON object.

Prompts with even numbers (`development`) are for choosing, those with odd numbers (`final`) for numbers to report.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from machine import provenance, run_benchmark

from fspo_jax import PersonalizedReward, Preference, UserReward

TEXTS = Path(__file__).with_suffix(".toml")
PARTS = ("development", "final")


def people(reward: PersonalizedReward, texts: dict[str, Any]) -> dict[str, UserReward]:
    """For each style someone who labelled eight pairs: the style against plain responses and other styles."""
    styles = list(texts["off_topic"])
    found = {}
    for style in styles:
        others = ["plain", *(other for other in styles if other != style)]
        found[style] = reward.adapt(
            [
                Preference(row["prompt"], row[style], row[others[i % len(others)]])
                for i, row in enumerate(texts["pairs"])
            ]
        )
    return found


def measured(
    user: UserReward, style: str, texts: dict[str, Any], prompts: list[dict[str, str]]
) -> dict[str, Any]:
    """Shares in per cent, and the texts that were ranked above every right response."""
    styles, off_topic = list(texts["off_topic"]), texts["off_topic"][style]
    off, plain_only, degenerate, own, worst = [], [], [], [], []
    for row in prompts:
        right = [row[name] for name in ("plain", style) if name in row]
        others = [row[name] for name in styles if name in row and name != style]
        bad = [*texts["degenerate"], row["prompt"]]
        scores = user.score(row["prompt"], [*right, *others, *off_topic, *bad])
        best, of_others, of_topic, of_bad = np.split(
            scores, np.cumsum([len(right), len(others), len(off_topic)])
        )
        (off if style in row else plain_only).extend((of_topic > best.max()).tolist())
        degenerate.append(bool(of_bad.max() > best.max()))
        if style in row:
            own.append(bool(best[1] > max(best[0], *of_others)))
        for text, score in zip([*off_topic, *bad], [*of_topic, *of_bad], strict=True):
            if score > best.max():
                worst.append(f"{row['prompt'][:40]} | {text[:40]}")

    def share(values: list[bool]) -> float:
        return round(100 * float(np.mean(values)), 1)

    return {
        "off_topic_first": share(off),
        "off_topic_before_plain_only": share(plain_only),
        "degenerate_first": share(degenerate),
        "own_style_first": share(own),
        "above_all_right_ones": worst,
    }


def against_content(reward: PersonalizedReward, part: str) -> dict[str, dict[str, Any]]:
    """The rows of the table: for 0 and 8 shots, for each style and in the mean."""
    texts = tomllib.loads(TEXTS.read_text(encoding="utf-8"))
    prompts = texts["prompts"][PARTS.index(part) :: 2]
    adapted = people(reward, texts)
    rows = {}
    for shots, users in ((0, dict.fromkeys(adapted, reward.adapt())), (8, adapted)):
        of_styles = {style: measured(user, style, texts, prompts) for style, user in users.items()}
        for style, row in of_styles.items():
            rows[f"{shots} shots, {style}"] = row
        rows[f"{shots} shots"] = {
            name: round(float(np.mean([row[name] for row in of_styles.values()])), 1)
            for name in (
                "off_topic_first",
                "off_topic_before_plain_only",
                "degenerate_first",
                "own_style_first",
            )
        }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reward")
    parser.add_argument("--part", choices=PARTS, default="development")
    arguments = parser.parse_args()
    rows = against_content(PersonalizedReward.load(arguments.reward), arguments.part)
    print(
        json.dumps(
            {**provenance(), "reward": arguments.reward, "part": arguments.part, "rows": rows}, indent=1
        )
    )


if __name__ == "__main__":
    run_benchmark(main)
