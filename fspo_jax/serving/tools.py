"""Five tools for assistants that speak the Model Context Protocol: adapt, rank, explain, next, forget. Of one user."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from sqlalchemy.exc import SQLAlchemyError

from fspo_jax.errors import FspoError
from fspo_jax.rerank import rerank
from fspo_jax.serving.bodies import check_pairs
from fspo_jax.serving.choosing import choose_question, everything_known
from fspo_jax.serving.problems import DATABASE_FAILED
from fspo_jax.serving.reasons import reasoned
from fspo_jax.serving.routes.answers import number_or_none
from fspo_jax.serving.service import Service
from fspo_jax.serving.stored import check_user_id
from fspo_jax.types import Preference

P = ParamSpec("P")
T = TypeVar("T")

INSTRUCTIONS = (
    "These tools know what one person likes, learned from pairs of responses of which the person preferred one. Write "
    "several candidates and rank them before you answer. When the person says which of two responses they like more, "
    "call adapt; never call it with a choice that the person did not make."
)
READS, ADDS = ToolAnnotations(read_only_hint=True), ToolAnnotations(destructive_hint=False)
DELETES = ToolAnnotations(destructive_hint=True, idempotent_hint=True)


def make_tools(service: Service, user: str) -> MCPServer:
    """Makes the server. It asks nobody for a token, so it is for programs that the person started: `run()` uses stdio.

    Args:
        service: The reward and the store of users.
        user: Whose taste it knows; made by the first label.

    Raises:
        DataError: The id of the user is not allowed.
    """
    check_user_id(user)
    server = MCPServer("fspo", instructions=INSTRUCTIONS, log_level="WARNING")

    @server.tool(annotations=ADDS)
    @_told
    def adapt(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
        """Learns that the person prefers one response to another. Only for a choice that the person made."""
        pair = Preference(prompt, chosen, rejected)
        check_pairs([pair], service.settings.limits)
        (label,) = service.users.append(user, [pair], most=service.most_labels)
        return {"label": label, "labels": len(service.users.labels(user)[1])}

    @server.tool(annotations=READS)
    @_told
    def rank(prompt: str, candidates: list[str]) -> dict[str, Any]:
        """Orders responses by how much the person likes them, the best first. Scores are in nats, within one prompt."""
        lines = rerank(service.reward_of(user).reward, prompt, candidates)
        return {
            "ranking": [line._asdict() | {"uncertainty": number_or_none(line.uncertainty)} for line in lines]
        }

    @server.tool(annotations=READS)
    @_told
    def explain(prompt: str, candidates: list[str]) -> dict[str, Any]:
        """Says why responses have their order: what their style is worth to the person, and which labels pull."""
        return {
            "explanations": [
                {
                    "text": line.text,
                    "above_mean": line.above,
                    "style": [
                        {"has": "more" if part.more else "less", "of": part.words, "nats": part.nats}
                        for part in line.parts
                    ],
                    "labels": [
                        {
                            "label": pull.label.id,
                            "nats": pull.nats,
                            "chosen": pull.label.pair.chosen,
                            "rejected": pull.label.pair.rejected,
                        }
                        for pull in line.pulls
                    ],
                }
                for line in reasoned(service, user, prompt, candidates)
            ]
        }

    @server.tool(name="next", annotations=READS)
    @_told
    def next_question() -> dict[str, Any]:
        """Which two responses to show the person next, because their choice tells most. Then call adapt with it."""
        found = choose_question(service, user, everything_known(service, user))
        if found is None:
            return {"question": None}
        question, _ = found
        return {"question": {"prompt": question.answered("a").prompt, "a": question.a, "b": question.b}}

    @server.tool(annotations=DELETES)
    @_told
    def forget(label: int) -> dict[str, Any]:
        """Forgets one label, by its number from adapt or explain. False if there is none of this number."""
        return {"forgotten": service.users.forget(user, label)}

    return server


def _told(tool: Callable[P, T]) -> Callable[P, T]:
    """Tells what a caller can mend, and that the database fails; the package of the protocol hides all other errors."""

    @functools.wraps(tool)
    def told(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return tool(*args, **kwargs)
        except FspoError as error:
            raise ToolError(str(error)) from error
        except SQLAlchemyError as error:
            raise ToolError(DATABASE_FAILED) from error

    return told
