"""Ranking on the page: a prompt and some candidates, in a person's order, with reasons."""

from __future__ import annotations

import math
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from fspo_jax.errors import DataError, FspoError
from fspo_jax.serving.bodies import check_lengths, read_form
from fspo_jax.serving.page.believing import bar_of
from fspo_jax.serving.page.rendering import render
from fspo_jax.serving.page.visiting import visit
from fspo_jax.serving.reasons import Reasoned, reasoned

FIELDS, SPARE_FIELDS, MOST_FIELDS = 3, 1, 20


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
        lines = await service.computing.run(lambda: reasoned(service, user, prompt, texts))
    except FspoError as error:
        return render(request, "rank.html", values | {"said": str(error)}, 400)
    return render(
        request, "rank.html", values | {"lines": drawn(lines), "said": f"{len(lines)} candidates ranked."}
    )


def form_values(prompt: str, texts: list[str]) -> dict[str, Any]:
    """What the form shows: the texts, and empty fields for more."""
    empty = max(FIELDS - len(texts), SPARE_FIELDS if len(texts) < MOST_FIELDS else 0)
    return {"prompt": prompt, "texts": texts + [""] * empty, "lines": []}


def drawn(lines: list[Reasoned]) -> list[dict[str, Any]]:
    """Ranked candidates with their bars, on one scale."""
    deviations = [0.0 if math.isnan(line.deviation) else line.deviation for line in lines]
    most = max(abs(line.above) + 2 * deviation for line, deviation in zip(lines, deviations, strict=True))
    return [
        line._asdict() | {"deviation": deviation, "bar": bar_of(line.above, deviation, most)}
        for line, deviation in zip(lines, deviations, strict=True)
    ]
