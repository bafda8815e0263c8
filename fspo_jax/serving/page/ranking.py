"""Ranking on the page: a prompt and some candidates, in a person's order, with reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from fspo_jax.errors import DataError, FspoError
from fspo_jax.rerank import rerank
from fspo_jax.serving.bodies import check_lengths, read_form
from fspo_jax.serving.page.believing import bar_of, beliefs_of
from fspo_jax.serving.page.rendering import render
from fspo_jax.serving.page.visiting import visit
from fspo_jax.serving.service import Service

FIELDS, SPARE_FIELDS, MOST_FIELDS = 3, 1, 20
MOST_REASONS = 3
SMALLEST_REASON = 0.02
"""Nats below which a part of a score is not told."""


async def show_ranking(request: Request) -> Response:
    """The form, empty."""
    visit(request, "rank", "read")
    return render(request, "rank.html", form_values("", []))


async def rank_candidates(request: Request) -> Response:
    """The candidates in a person's order; what was wrong with the form is said above it."""
    service, user = visit(request, "rank", "read")
    limits = service.settings.limits
    form = await read_form(request, limits)
    prompt = form.get("prompt", [""])[0].strip()
    texts = list(dict.fromkeys(text.strip() for text in form.get("candidate", []) if text.strip()))
    values = form_values(prompt, texts)
    try:
        if not 2 <= len(texts) <= MOST_FIELDS:
            raise DataError(f"{len(texts)} different candidates were given. Give 2 to {MOST_FIELDS} of them.")
        check_lengths([prompt], "the prompt", limits)
        check_lengths(texts, "a candidate", limits)
        lines = await service.computing.run(lambda: ranked(service, user, prompt, texts))
    except FspoError as error:
        return render(request, "rank.html", values | {"said": str(error)}, 400)
    return render(request, "rank.html", values | {"lines": lines, "said": f"{len(lines)} candidates ranked."})


def form_values(prompt: str, texts: list[str]) -> dict[str, Any]:
    """What the form shows: the texts, and empty fields for more."""
    empty = max(FIELDS - len(texts), SPARE_FIELDS if len(texts) < MOST_FIELDS else 0)
    return {"prompt": prompt, "texts": texts + [""] * empty, "lines": []}


def ranked(service: Service, user: str, prompt: str, texts: list[str]) -> list[dict[str, Any]]:
    """The candidates in order, each with its place on a common scale and what moved it there."""
    derived = service.rewards.of(user) or service.rewards.everybody
    labels = {label.id: label for label in service.users.labels(user)[1]}
    beliefs = beliefs_of(derived.reward, service.pool)
    words = {(one.block, one.column): one.words for one in beliefs}
    explained = derived.reward.explain(prompt, texts)
    order = rerank(derived.reward, prompt, texts)
    deviations = {
        line.index: 0.0 if line.uncertainty != line.uncertainty else line.uncertainty for line in order
    }
    most = max(abs(one.above_mean) + 2 * deviations[i] for i, one in enumerate(explained))
    lines = []
    for line in order:
        found = explained[line.index]
        pulls = [
            {"label": labels[label], "nats": pull}
            for label, pull in zip(derived.labels, found.pulls, strict=True)
            if label in labels and abs(pull) >= SMALLEST_REASON  # also leaves out NaN
        ]
        lines.append(
            {
                "text": line.text,
                "above": found.above_mean,
                "deviation": deviations[line.index],
                "bar": bar_of(found.above_mean, deviations[line.index], most),
                "parts": parts_of(found.columns, words),
                "pulls": sorted(pulls, key=lambda pull: -abs(pull["nats"]))[:MOST_REASONS],
            }
        )
    return lines


def parts_of(
    columns: Mapping[str, Mapping[str, float]], words: Mapping[tuple[str, str], str]
) -> list[dict[str, Any]]:
    """The largest parts of a score that have words."""
    parts = [
        {"words": words[block, column], "nats": nats}
        for block, named in columns.items()
        for column, nats in named.items()
        if (block, column) in words and abs(nats) >= SMALLEST_REASON
    ]
    return sorted(parts, key=lambda part: -abs(part["nats"]))[:MOST_REASONS]
