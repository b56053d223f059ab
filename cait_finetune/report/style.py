"""The style of all report figures, and the shortening of class names."""

from __future__ import annotations

import contextlib
import logging
import textwrap
import warnings
from collections.abc import Iterator

#: Fonts for scripts that matplotlib's own font lacks. `drawing` uses the installed ones.
_OTHER_SCRIPTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei",
    "Microsoft YaHei", "PingFang SC", "Hiragino Sans", "Arial Unicode MS", "Noto Sans Arabic",
    "Noto Sans Devanagari", "Noto Sans Thai",
)  # fmt: skip

BLUE, ORANGE, GREEN, GREY = "#2f6db3", "#d9822b", "#3a8f5c", "#8a8f98"


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Apply the style to figures drawn inside the block.

    ``$`` is a plain character. A character that no font has is drawn as a box, without a warning.
    """
    from matplotlib import font_manager, rc_context

    installed = {font.name for font in font_manager.fontManager.ttflist}
    style = {
        "text.parse_math": False,
        "font.family": ["DejaVu Sans", *(name for name in _OTHER_SCRIPTS if name in installed)],
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#9aa0a8",
        "axes.grid": False,
        "grid.alpha": 0.3,
        "legend.frameon": False,
    }
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with rc_context(style), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
            yield
    finally:
        log.setLevel(level)


def short(name: str, width: int = 24) -> str:
    """Return the name on one line, shortened to at most `width` characters."""
    words = " ".join(name.split())
    cut = textwrap.shorten(words, width, placeholder="…")
    return cut if len(cut) > 1 or len(words) <= width else words[: width - 1] + "…"
