"""Pieces of HTML for objects that show themselves in a notebook; whole without any other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence


def text(value: object) -> str:
    """A name or a figure, which may hold < and &."""
    return html.escape(str(value))


def picture(data: bytes, kind: str, style: str = "") -> str:
    """The bytes of an image file, ``png`` or ``jpeg``, inside the page."""
    encoded = base64.b64encode(data).decode()
    return f'<img src="data:image/{kind};base64,{encoded}" style="{style}">'


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already."""
    lines = [_row("th", header)] if header else []
    lines += [_row("td", row) for row in rows]
    return f"<table>{''.join(lines)}</table>"


def _row(tag: str, cells: Iterable[str]) -> str:
    row = "".join(f'<{tag} style="text-align: left">{cell}</{tag}>' for cell in cells)
    return f"<tr>{row}</tr>"
