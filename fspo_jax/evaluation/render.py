"""Writes reports: tables of text, as a Markdown page and as an HTML page."""

from __future__ import annotations

import html
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fspo_jax.errors import DataError
from fspo_jax.metrics import Interval
from fspo_jax.private_files import make_directory
from fspo_jax.text.markdown import escaped

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
.warning { background: #fff4e0; border-left: 4px solid #e69f00; padding: .4rem .8rem; }
pre { font-size: .8rem; background: #f6f6f6; padding: .8rem; overflow-x: auto; }
"""


class Table(NamedTuple):
    """A table with a title and a note on how to read it."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Page(NamedTuple):
    """A report, ready to be written.

    Attributes:
        title: Title of the page.
        lead: The main result, in one or two sentences.
        tables: The tables, in order. Those without rows are left out.
        facts: How it was measured, so that it can be repeated.
        warnings: What a reader must know before reading the numbers.
        figures: `<svg>` elements. The Markdown page has none.
        provenance: Config and versions.
        emphasis: Names of rows to emphasise.
    """

    title: str
    lead: str
    tables: Sequence[Table]
    facts: str
    warnings: Sequence[str] = ()
    figures: Sequence[str] = ()
    provenance: str = ""
    emphasis: Sequence[str] = ()


def percent(value: float, signed: bool = False) -> str:
    """Formats a share in per cent with one decimal; `-` for NaN."""
    if math.isnan(value):
        return "-"
    return f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"


def spread(value: Interval, signed: bool = False) -> str:
    """Formats an interval as `mean [low, high]` in per cent."""
    if math.isnan(value.mean):
        return "-"
    return f"{percent(value.mean, signed)} [{percent(value.low, signed)}, {percent(value.high, signed)}]"


def to_markdown(page: Page) -> str:
    """Returns the page as Markdown, in which texts are no markup."""

    def block(table: Table) -> str:
        lines = [table.header, ("---",) * len(table.header), *table.rows]
        body = "\n".join("| " + " | ".join(map(escaped, line)) + " |" for line in lines)
        return f"## {escaped(table.title)}\n\n{escaped(table.note)}\n\n{body}\n"

    warnings = [f"**Warning:** {escaped(warning)}\n" for warning in page.warnings]
    blocks = [block(table) for table in page.tables if table.rows]
    start, end = [f"# {escaped(page.title)}\n", escaped(page.lead) + "\n"], escaped(page.facts) + "\n"
    return "\n".join([*start, *warnings, *blocks, end])


def to_html(page: Page) -> str:
    """Returns the page as one HTML file that loads nothing else."""

    def row(cells: Sequence[str]) -> str:
        mark = " class=model" if cells[0] in page.emphasis else ""
        return f"<tr{mark}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"

    def block(table: Table) -> str:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in table.header)
        return (
            f"<h2>{html.escape(table.title)}</h2><p class=note>{html.escape(table.note)}</p>"
            f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>"
            + "".join(map(row, table.rows))
            + "</tbody></table></div>"
        )

    title = html.escape(page.title)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body>"
        f"<h1>{title}</h1><p class=lead>{html.escape(page.lead)}</p>"
        + "".join(f"<p class=warning>Warning: {html.escape(warning)}</p>" for warning in page.warnings)
        + "".join(f"<figure>{figure}</figure>" for figure in page.figures)
        + "".join(block(table) for table in page.tables if table.rows)
        + f"<h2>How it was measured</h2><p class=note>{html.escape(page.facts)}</p>"
        + (f"<pre>{html.escape(page.provenance)}</pre>" if page.provenance else "")
        + "</body></html>\n"
    )


def write_page(
    page: Page, directory: str | Path, others: Mapping[str, Callable[[Path], object]] | None = None
) -> dict[str, Path]:
    """Writes `report.md`, `report.html` and further files. Never leaves half a file.

    Args:
        page: The report.
        directory: Created if it does not exist.
        others: For each further file name, the function that writes it to a path.

    Returns:
        The paths by file name.

    Raises:
        DataError: The directory cannot be written.
    """
    writers: dict[str, Callable[[Path], object]] = {
        **(others or {}),
        "report.md": lambda path: path.write_text(to_markdown(page), encoding="utf-8"),
        "report.html": lambda path: path.write_text(to_html(page), encoding="utf-8"),
    }
    return _write_files(Path(directory), writers)


def _write_files(directory: Path, writers: Mapping[str, Callable[[Path], object]]) -> dict[str, Path]:
    paths = {}
    try:
        make_directory(directory)
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
