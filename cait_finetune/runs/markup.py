"""Build HTML for objects in notebooks. The HTML needs no other files."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence


def text(value: object) -> str:
    """Return `value` as text with <, > and & escaped."""
    return html.escape(str(value))


def picture(data: bytes, kind: str, style: str = "") -> str:
    """Return an ``<img>`` with the bytes of an image file embedded. `kind`: ``png`` or ``jpeg``."""
    encoded = base64.b64encode(data).decode()
    return f'<img src="data:image/{kind};base64,{encoded}" style="{style}">'


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return an HTML table. Header and cells are HTML, so they are not escaped."""
    lines = [_row("th", header)] if header else []
    lines += [_row("td", row) for row in rows]
    return f"<table>{''.join(lines)}</table>"


def _row(tag: str, cells: Iterable[str]) -> str:
    row = "".join(f'<{tag} style="text-align: left">{cell}</{tag}>' for cell in cells)
    return f"<tr>{row}</tr>"
