"""HTML elements as strings, for the report's page and for notebooks. They need no other files.

The functions escape text, but not arguments that hold HTML.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path


def heading(text: str) -> str:
    """Return the heading of a subsection."""
    return f"<h3>{escape(text)}</h3>"


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph of plain text. `kind` is a class of the style sheet."""
    return f'<p class="{escape(kind)}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def image(data: bytes, kind: str = "png", description: str = "", style: str = "") -> str:
    """Return an image with its file embedded.

    Args:
        data: the content of the file.
        kind: ``png`` or ``jpeg``.
        description: the alt text.
        style: CSS, for a notebook.
    """
    encoded = base64.b64encode(data).decode()
    more = f' style="{escape(style)}"' if style else ""
    return f'<img src="data:image/{kind};base64,{encoded}" alt="{escape(description)}"{more}>'


def picture(path: Path, description: str) -> str:
    """Return a figure with an embedded PNG file. `description` is its caption and alt text."""
    caption = f"<figcaption>{escape(description)}</figcaption>"
    return f"<figure>{image(path.read_bytes(), 'png', description)}{caption}</figure>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], texts: int = 1) -> str:
    """Return a scrollable table. The first `texts` columns hold text, the others numbers."""

    def cells(tag: str, values: Sequence[object]) -> str:
        return "".join(
            f"<{tag}{'' if number < texts else ' class=n'}>{escape(str(value))}</{tag}>"
            for number, value in enumerate(values)
        )

    body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{cells("th", head)}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def notebook_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table for a notebook, which has no style sheet of ours. The cells are HTML."""

    def line(tag: str, cells: Sequence[str]) -> str:
        inside = "".join(f'<{tag} style="text-align: left">{cell}</{tag}>' for cell in cells)
        return f"<tr>{inside}</tr>"

    lines = [line("th", head)] if head else []
    return f"<table>{''.join([*lines, *(line('td', row) for row in rows)])}</table>"


def listed(title: str, lines: Iterable[str]) -> str:
    """Return a highlighted box with a title and a list of lines."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<div class="missing"><b>{escape(title)}</b><ul>{items}</ul></div>'


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Return a two-column list of names and values."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in pairs)
    return f"<dl>{rows}</dl>"


def tiles(pairs: Iterable[tuple[str, str]]) -> str:
    """Return tiles that show key metrics in large type, from pairs of name and value."""
    shown = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in pairs
    )
    return f'<div class="tiles">{shown}</div>'


def code(text: str) -> str:
    """Return preformatted text."""
    return f"<pre>{escape(text)}</pre>"


def folded(summary: str, *content: str) -> str:
    """Return HTML `content` that is hidden until the reader clicks the summary."""
    return f"<details><summary>{escape(summary)}</summary>\n" + "\n".join(content) + "</details>"


def document(title: str, subtitle: str, sections: Sequence[tuple[str, str]], top: str) -> str:
    """Return the whole page. `sections` are pairs of title and HTML; `top` is HTML above them."""
    links = "".join(
        f'<a href="#{number}">{escape(name)}</a>' for number, (name, _) in enumerate(sections)
    )
    body = "\n".join(
        f'<section id="{number}"><h2>{escape(name)}</h2>\n{content}\n</section>'
        for number, (name, content) in enumerate(sections)
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p><nav>{links}</nav></header>
<main>
{top}
{body}
</main>
</body>
</html>
"""


_STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --soft: #5c6773; --line: #d9dee4; --page: #fff;
  --panel: #f4f6f8; --accent: #2f6db3; --warn: #fff4df; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ed; --soft: #9aa5b1; --line: #39424d;
  --page: #171c22; --panel: #1f262e; --accent: #7fb2e8; --warn: #3d3320; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 2rem 1.5rem 4rem; background: var(--page);
  color: var(--ink); font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.25; letter-spacing: -.01em;
  overflow-wrap: anywhere; }
h2 { margin: 2.6rem 0 .8rem; padding-top: 1.1rem; border-top: 1px solid var(--line);
  font-size: 1.2rem; }
h3 { margin: 1.6rem 0 .5rem; font-size: 1rem; }
header p { margin: .3rem 0 0; color: var(--soft); overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin-top: 1rem; }
a { color: var(--accent); text-decoration: none; }
p { max-width: 75ch; margin: .5rem 0 .9rem; }
.note { color: var(--soft); font-size: .9rem; }
.missing { background: var(--warn); border-radius: 8px; padding: .8rem 1.1rem; margin: 1.4rem 0; }
.missing ul { margin: .3rem 0 0; padding-left: 1.2rem; }
.missing li { overflow-wrap: anywhere; white-space: pre-line; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(125px, 1fr)); gap: .7rem;
  margin: 1.6rem 0 0; }
.tile { background: var(--panel); border-radius: 8px; padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.4rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .85rem; }
figure { margin: 1rem 0; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; padding: 10px;
  background: #fff; border: 1px solid var(--line); border-radius: 8px; }
figcaption { margin-top: .4rem; color: var(--soft); font-size: .9rem; text-align: center; }
.scroll { overflow: auto; max-height: 27rem; margin: .8rem 0; border: 1px solid var(--line);
  border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { padding: .38rem .8rem; text-align: left; vertical-align: top; }
td:first-child { overflow-wrap: anywhere; min-width: 7rem; }
th { position: sticky; top: 0; background: var(--panel); font-weight: 600; white-space: nowrap; }
td { border-top: 1px solid var(--line); }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
dl { display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; gap: .3rem 1.4rem;
  margin: .8rem 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
pre { margin: .8rem 0; padding: .9rem 1.1rem; background: var(--panel); border-radius: 8px;
  overflow-x: auto; font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace;
  white-space: pre-wrap; overflow-wrap: anywhere; }
details { margin: .8rem 0; }
summary { cursor: pointer; color: var(--accent); }
@media print {
  :root { --ink: #000; --soft: #444; --line: #ccc; --page: #fff; --panel: #f6f6f6; --warn: #f6f6f6; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  nav { display: none; }
  .scroll { overflow: visible; max-height: none; }
  th { position: static; }
  figure, .tile, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
"""
