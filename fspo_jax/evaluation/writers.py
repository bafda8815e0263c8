"""Writes a report: JSON, Markdown, one self-contained HTML page, and the few-shot curve as PNG."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fspo_jax.errors import DataError
from fspo_jax.evaluation.plots import k_curve, reliability, save_png, to_svg
from fspo_jax.evaluation.report import Report
from fspo_jax.evaluation.tables import Table, headline, tables

TITLE = "Evaluation of a personalised reward"

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .3rem; }
.lead { font-size: 1.1rem; } .note { color: #555; font-size: .9rem; margin: .2rem 0 .6rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem .3rem 0; text-align: left; border-bottom: 1px solid #e5e5e5; white-space: nowrap; }
th { color: #555; font-weight: 600; } tr.model td { font-weight: 600; }
figure { display: inline-block; margin: 0 1rem 0 0; max-width: 100%; vertical-align: top; }
figure svg { max-width: 100%; height: auto; }
pre { font-size: .8rem; background: #f6f6f6; padding: .8rem; overflow-x: auto; }
"""


def write_report(report: Report, directory: str | Path) -> dict[str, Path]:
    """Writes `report.json`, `report.md`, `report.html` and `k_curve.png`, each whole or not at all.

    Returns:
        The paths by file name.

    Raises:
        DataError: The directory cannot be written.
    """
    curve = k_curve(report)
    writers: dict[str, Callable[[Path], object]] = {
        "report.json": lambda path: path.write_text(report.to_json(), encoding="utf-8"),
        "report.md": lambda path: path.write_text(to_markdown(report), encoding="utf-8"),
        "report.html": lambda path: path.write_text(to_html(report), encoding="utf-8"),
        "k_curve.png": lambda path: save_png(curve, path),
    }
    return write_files(Path(directory), writers)


def write_files(directory: Path, writers: Mapping[str, Callable[[Path], object]]) -> dict[str, Path]:
    """Writes files by name into a directory, each whole or not at all.

    Raises:
        DataError: The directory cannot be written.
    """
    paths = {}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, write in writers.items():
            temporary = directory / f".{name}.{os.getpid()}.tmp"
            try:
                write(temporary)
                os.replace(temporary, directory / name)
            finally:
                temporary.unlink(missing_ok=True)
            paths[name] = directory / name
    except OSError as error:
        raise DataError(f"the report cannot be written to {directory}: {error}.") from error
    return paths


def to_markdown(report: Report) -> str:
    """The report as Markdown."""
    return markdown_page(TITLE, headline(report), tables(report), _facts(report))


def to_html(report: Report) -> str:
    """The report as one page without any outside resource."""
    provenance = "\n".join(f"{key}: {value}" for key, value in report.provenance.items())
    return html_page(
        TITLE,
        headline(report),
        tables(report),
        _facts(report),
        figures=(to_svg(k_curve(report)), to_svg(reliability(report))),
        provenance=provenance,
    )


def markdown_page(title: str, lead: str, tables: Sequence[Table], facts: str) -> str:
    """Tables as a Markdown document."""

    def cell(text: str) -> str:
        return re.sub(r"\s+", " ", text).replace("\\", "\\\\").replace("|", "\\|")

    def block(table: Table) -> str:
        lines = [table.header, ("---",) * len(table.header), *table.rows]
        body = "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)
        return f"## {table.title}\n\n{table.note}\n\n{body}\n"

    return "\n".join([f"# {title}\n", lead + "\n", *map(block, tables), facts + "\n"])


def html_page(
    title: str,
    lead: str,
    tables: Sequence[Table],
    facts: str,
    *,
    figures: Sequence[str] = (),
    provenance: str = "",
    emphasis: Sequence[str] = ("model", "personal"),
) -> str:
    """Tables and figures (SVG) as one page without any outside resource; rows named in `emphasis` stand out."""

    def block(table: Table) -> str:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in table.header)
        rows = "".join(
            f"<tr{' class=model' if row[0] in emphasis else ''}>"
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
            + "</tr>"
            for row in table.rows
        )
        return (
            f"<h2>{html.escape(table.title)}</h2><p class=note>{html.escape(table.note)}</p>"
            f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        )

    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<h1>{html.escape(title)}</h1><p class=lead>{html.escape(lead)}</p>"
        + "".join(f"<figure>{figure}</figure>" for figure in figures)
        + "".join(map(block, tables))
        + f"<h2>Where it comes from</h2><p class=note>{html.escape(facts)}</p>"
        f"<pre>{html.escape(provenance)}</pre></body></html>\n"
    )


def _facts(report: Report) -> str:
    facts = report.provenance
    return (
        f"{report.users:,} users; {report.left_out:,} without a query were left out. Seed {facts['seed']}, at most "
        f"{facts['queries']} queries a user, reward {facts['fingerprint']} at temperature "
        f"{facts['temperature']:.2f}, fspo_jax {facts['fspo_jax']}, jax {facts['jax']}, Python {facts['python']}, "
        f"{facts['device']}."
    )
