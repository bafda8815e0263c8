"""Rows with one response that is labelled good or bad, as in KTO."""

from __future__ import annotations

from fspo_jax.data.readers import RawRow
from fspo_jax.data.rows.fields import BadRow, flag, prompt, response, response_text
from fspo_jax.data.rows.shape import Columns, FileRows, Label, Labels, Roles, Shape, fields_of, user_fields
from fspo_jax.types import Prompt


def _find(columns: Columns) -> Roles | None:
    roles = {"prompt": columns.prompt()} | {role: columns.of(role) for role in ("completion", "label")}
    return roles if all(roles.values()) else None


def _name(columns: Columns, roles: Roles) -> str:
    return f"KTO labelled responses ({', '.join(roles.values())}), paired within a prompt"


def _convert(rows: FileRows, roles: Roles) -> Labels:
    """Pairs good and bad responses of a user to a prompt, in the order of the file. Each is used once."""
    waiting: dict[tuple[str, Prompt], tuple[list, list]] = {}
    for file, row in rows:
        try:
            fields = fields_of(row)
            user = user_fields(fields, roles)
            asked = prompt(fields, roles["prompt"])
            text = response_text(response(fields, roles["completion"]), roles["completion"])
            good = flag(fields, roles["label"])
        except BadRow as bad:
            yield file, row._replace(problem=(bad.kind, str(bad)))
            continue
        bads, goods = waiting.setdefault((user["user_id"], asked), ([], []))
        (goods if good else bads).append((file, row, text))
        if goods and bads:
            chosen, rejected = goods.pop(0), bads.pop(0)
            yield (
                file,
                Label(row.line, prompt=asked, chosen=chosen[2], rejected=rejected[2], raw=row.raw, **user),
            )
    for bads, goods in waiting.values():
        for left, other in ((bads, "good"), (goods, "bad")):
            for file, row, _ in left:
                yield file, _unpaired(row, other)


def _unpaired(row: RawRow, other: str) -> RawRow:
    reason = f"no other response of this user to this prompt is labelled {other}, so it makes no pair"
    return row._replace(problem=("no partner", reason))


LABELLED = Shape(
    "kto", "prompt, completion, label", ("prompt", "completion", "label"), _find, _name, _convert
)
