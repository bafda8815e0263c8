"""A description of all routes for machines (OpenAPI 3.1), made from the routes themselves.

What a route answers stands in the docstring of its function. The table below says what its body is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from starlette.routing import BaseRoute, Mount, Route

Schema = Mapping[str, Any]

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_NUMBER: Schema = {"type": "number"}
_USER_FIELDS: dict[str, Schema] = {
    "model": {"type": "string", "description": "the reward, or REWARD:USER"},
    "user": {"type": "string", "description": "whose taste"},
}
_PROMPT: Schema = {"anyOf": [_TEXT, {"type": "array", "items": {"$ref": "#/components/schemas/Message"}}]}
_PAIR: Schema = {"$ref": "#/components/schemas/Pair"}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _object(required: Sequence[str] = (), /, **fields: Schema) -> dict[str, Any]:
    return {"type": "object", "properties": fields, **({"required": list(required)} if required else {})}


_TEXTS: Schema = {"anyOf": [_TEXT, _list({"anyOf": [_TEXT, _object(("text",), text=_TEXT)]})]}

SCHEMAS: Mapping[str, Schema] = {
    "Message": _object(("role", "content"), role=_TEXT, content=_TEXT),
    "Pair": _object(
        ("prompt", "chosen", "rejected"),
        prompt=_PROMPT,
        chosen=_TEXT,
        rejected=_TEXT,
        response_seconds=_NUMBER,
    ),
    "Problem": _object(
        ("title", "status", "detail"),
        type=_TEXT,
        title=_TEXT,
        status=_COUNT,
        detail={"type": "string", "description": "what was given, what is allowed and what to do"},
    ),
}

_LEFT_RIGHT: dict[str, Schema] = {
    "queries": _TEXTS,
    "documents": _TEXTS,
    "text_1": _TEXTS,
    "text_2": _TEXTS,
    "use_activation": _FLAG,
}
_REWARDED: dict[str, Schema] = {
    "input": _TEXTS,
    "messages": _list({"$ref": "#/components/schemas/Message"}),
    "use_activation": _FLAG,
}

BODIES: Mapping[str, Schema] = {
    "append": {"anyOf": [_PAIR, _list(_PAIR), _object(("pairs",), pairs=_list(_PAIR))]},
    "edit": _PAIR,
    "ask_next": _object(
        ("pool",),
        pool=_list(_object(("prompt", "candidates"), prompt=_PROMPT, candidates=_TEXTS)),
        count=_COUNT,
        by={"enum": ["bald", "eubo", "random"]},
        seed=_COUNT,
    ),
    "explain": _object(("prompt", "candidates"), prompt=_PROMPT, candidates=_TEXTS),
    "learn_community": _object(members=_list(_TEXT), people=_list(_list(_PAIR)), description=_TEXT),
    "join_community": _object(("community",), community=_TEXT),
    "rerank": _object(
        ("query",),
        query=_PROMPT,
        documents=_TEXTS,
        texts=_TEXTS,
        top_n=_COUNT,
        return_documents=_FLAG,
        return_text=_FLAG,
        raw_scores=_FLAG,
        use_activation=_FLAG,
        caution={"type": "number", "minimum": 0, "maximum": 100},
        certainty={"type": "number", "minimum": 0, "maximum": 1},
        **_USER_FIELDS,
    ),
    "score": _object(**_LEFT_RIGHT, **_USER_FIELDS),
    "classify": _object(**_REWARDED, **_USER_FIELDS),
    "pooling": _object(**_REWARDED, **_USER_FIELDS),
    "decide": _object(
        ("input", "questions"),
        input=_PROMPT,
        questions=_list(
            _object(
                ("type",),
                type=_TEXT,
                name=_TEXT,
                choices=_list(_object(("value",), value=_TEXT, description=_TEXT)),
            )
        ),
        **_USER_FIELDS,
    ),
    "openrlhf": _object(query=_TEXTS, prompts=_TEXTS, labels=_list(_TEXT)),
}
"""The body of each route that has one, by the name of its function."""


def describe(routes: Sequence[BaseRoute], name: str) -> dict[str, Any]:
    """The description of the routes of a service.

    Args:
        routes: Of the application.
        name: What the reward is called.
    """
    paths: dict[str, dict[str, Any]] = {}
    for path, route in _leaves(routes):
        plain = re.sub(r"{(\w+)(:\w+)?}", r"{\1}", path)
        for method in sorted((route.methods or set()) - {"HEAD"}):
            paths.setdefault(plain, {})[method.lower()] = _operation(plain, method, route)
    return {
        "openapi": "3.1.0",
        "info": {"title": f"fspo serve {name}", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _leaves(routes: Sequence[BaseRoute], before: str = "") -> Iterator[tuple[str, Route]]:
    for route in routes:
        if isinstance(route, Route) and route.include_in_schema:
            yield before + route.path, route
        elif isinstance(route, Mount):
            yield from _leaves(route.routes or (), before + route.path)


def _operation(path: str, method: str, route: Route) -> dict[str, Any]:
    said = " ".join((route.endpoint.__doc__ or "").split())
    summary, _, rest = said.partition(". ")
    problem = {
        "description": "a problem",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    operation: dict[str, Any] = {
        "operationId": f"{method.lower()}{re.sub(r'[^a-z0-9]+', '_', path)}",
        "summary": summary.rstrip("."),
        "responses": {"2XX": {"description": "the answer"}, "4XX": problem, "5XX": problem},
    }
    if rest:
        operation["description"] = rest
    if names := re.findall(r"{(\w+)}", path):
        operation["parameters"] = [
            {"name": one, "in": "path", "required": True, "schema": _COUNT if one == "label" else _TEXT}
            for one in names
        ]
    if method in ("POST", "PUT") and (body := BODIES.get(route.endpoint.__name__)):
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation
