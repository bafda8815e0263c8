"""Ranking over HTTP: the bodies of Cohere (v1, v2), Jina and vLLM have `documents`, and that of TEI has `texts`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fspo_jax.arguments import check_integer, check_number
from fspo_jax.reward.caution import MOST_CAUTION, judged
from fspo_jax.reward.user_reward import UserReward
from fspo_jax.serving.bodies import Body, flag_in, prompt_in, texts_in
from fspo_jax.serving.routes.answers import new_id, number_or_none, usage
from fspo_jax.serving.service import Scored, ask_for_scores

PATHS = ("/rerank", "/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking")


async def rerank(request: Request) -> Response:
    """Orders documents for one person, the best first."""
    service, bearer, body, user = await ask_for_scores(request)
    limits = service.settings.limits
    of_tei = "texts" in body and "documents" not in body
    prompt, texts = (
        prompt_in(body, "query", limits),
        texts_in(body, "texts" if of_tei else "documents", limits),
    )
    top = check_integer(body.get("top_n", 0), "request: top_n", 0) or None
    activate = not flag_in(body, "raw_scores", False) and flag_in(body, "use_activation", True)
    with_text = flag_in(body, "return_text", False)
    with_document = flag_in(body, "return_documents", True) and not request.url.path.endswith("/v2/rerank")
    caution = check_number(body.get("caution", 0.0), "request: caution", 0.0, MOST_CAUTION)
    certainty = check_number(body.get("certainty", 0.0), "request: certainty", 0.0, 1.0)

    def work(reward: UserReward) -> Scored:
        return Scored(*judged(reward, prompt, texts, caution=caution, certainty=certainty))

    scored = await service.compute(bearer, user, work)
    order = (-scored.rewards).argsort(kind="stable").tolist()
    scores = scored.activated(activate)
    if of_tei:
        lines = [{"index": i, "score": scores[i]} | ({"text": texts[i]} if with_text else {}) for i in order]
        return JSONResponse(lines)
    results = [_result(scored, scores, i, texts[i] if with_document else None) for i in order[:top]]
    return JSONResponse(_around(body, service.settings.name, results, usage([prompt], texts)))


def _result(scored: Scored, scores: list[float], i: int, text: str | None) -> dict[str, Any]:
    document = {} if text is None else {"document": {"text": text}}
    uncertainty = number_or_none(float(scored.uncertainty[i]))
    return {"index": i, "relevance_score": scores[i], "uncertainty": uncertainty, **document}


def _around(body: Body, name: str, results: list[dict[str, Any]], used: dict[str, int]) -> dict[str, Any]:
    return {
        "id": new_id("rerank"),
        "model": body.get("model") or name,
        "results": results,
        "usage": used,
        "meta": {
            "api_version": {"version": "2"},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": used["prompt_tokens"]},
        },
    }


ROUTES = [Route(path, rerank, methods=["POST"]) for path in PATHS]
