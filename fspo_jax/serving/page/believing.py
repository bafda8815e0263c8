"""What the model believes about a person, how often it was right, and which labels contradict each other."""

from __future__ import annotations

from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from fspo_jax.errors import FspoError
from fspo_jax.reward.explaining import LIKELY, Belief
from fspo_jax.serving.page.hits import hits_of
from fspo_jax.serving.page.rendering import render
from fspo_jax.serving.page.visiting import visit
from fspo_jax.serving.reasons import beliefs_over
from fspo_jax.serving.service import Service

MOST_SURE, MOST_UNSURE, MOST_CONTRADICTIONS = 12, 6, 3
SMALLEST = 0.05
"""Effect in nats below which a belief that is not sure is not worth a line."""
WIDTH = 200.0


class Bar(NamedTuple):
    """A number with its uncertainty as a drawing 200 wide, whose middle is zero.

    Attributes:
        x, width: Of the bar.
        low, high: Of the line from two deviations below the number to two above.
    """

    x: float
    width: float
    low: float
    high: float


def bar_of(value: float, deviation: float, most: float) -> Bar:
    """Draws a number; `most` is what reaches the edge."""

    def place(number: float) -> float:
        return round(WIDTH / 2 * (1 + max(-1.0, min(1.0, number / max(most, 1e-9)))), 1)

    middle, end = place(0.0), place(value)
    return Bar(
        min(middle, end), abs(end - middle), place(value - 2 * deviation), place(value + 2 * deviation)
    )


def said(belief: Belief) -> str:
    """A belief in words, without its numbers."""
    words = str(belief).partition(" (")[0]
    return words[0].upper() + words[1:]


def rows_of(beliefs: list[Belief]) -> list[dict[str, Any]]:
    """Beliefs as the page shows them, on one scale."""
    most = max((abs(one.effect) + 2 * one.deviation for one in beliefs), default=1.0)
    return [
        {"said": said(one), "belief": one, "bar": bar_of(one.effect, one.deviation, most)} for one in beliefs
    ]


def findings(service: Service, user: str) -> dict[str, Any]:
    """What the page on beliefs shows."""
    labels = {label.id: label for label in service.users.labels(user)[1]}
    derived = service.reward_of(user)
    try:
        beliefs = beliefs_over(service, derived.reward)
    except FspoError:  # some rewards have no words for them
        beliefs = []
    sure = [one for one in beliefs if one.certainty >= LIKELY]
    unsure = [one for one in beliefs if one.certainty < LIKELY and abs(one.effect) >= SMALLEST]
    contradictions = [
        {
            "label": labels[derived.labels[found.place]],
            "against": labels[derived.labels[found.against]],
            "probability": found.probability,
        }
        for found in derived.reward.contradictions(MOST_CONTRADICTIONS)
        if {derived.labels[found.place], derived.labels[found.against]} <= labels.keys()
    ]
    return {
        "count": len(labels),
        "speaks": bool(beliefs),
        "sure": rows_of(sure[:MOST_SURE]),
        "unsure": rows_of(unsure[:MOST_UNSURE]),
        "contradictions": contradictions,
        "hits": hits_of(list(labels.values())),
    }


async def show_beliefs(request: Request) -> Response:
    """What the model believes."""
    service, user = visit(request, "read", "rank")
    return render(request, "beliefs.html", await service.computing.run(lambda: findings(service, user)))
