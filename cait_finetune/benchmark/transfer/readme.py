"""A passage of a Markdown file that a command writes: from its mark to the next."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cait_finetune.errors import bad_value
from cait_tf.atomic import write_text

_PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Passage:
    """What stands between the lines ``<!-- NAME -->`` and ``<!-- /NAME -->``."""

    file: Path
    name: str

    def check(self) -> None:
        """Whether there is one, with the place of a picture in it.

        Raises:
            UserError: there is none.
        """
        text = self.file.read_text(encoding="utf-8") if self.file.is_file() else None
        if text is None:
            raise bad_value("readme", self.file, "a Markdown file")
        if len(self._pattern.findall(text)) != 1:
            raise bad_value(
                "readme",
                f"{self.file} without its passage",
                f"the lines <!-- {self.name} --> and <!-- /{self.name} -->, once",
            )
        if not _PICTURE.search(self._pattern.search(text)[2]):
            raise bad_value(
                "readme",
                f"{self.file} without a picture in its passage",
                "![words](path/of/the/picture.png) there, which will be written",
            )

    def write(self, text: str, draw: Callable[[Path], None]) -> None:
        """Put `text` there, and below it the picture, which is drawn where it was before."""
        whole = self.file.read_text(encoding="utf-8")
        picture = _PICTURE.search(self._pattern.search(whole)[2])
        path = self.file.parent / picture[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(path)
        inside = f"\n{text.strip()}\n\n{picture[0]}\n"
        text = self._pattern.sub(lambda found: found[1] + inside + found[3], whole)
        write_text(self.file, text)

    @property
    def _pattern(self) -> re.Pattern:
        name = re.escape(self.name)
        return re.compile(rf"(<!-- {name} -->\n)(.*?)(<!-- /{name} -->)", re.DOTALL)
