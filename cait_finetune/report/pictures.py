"""Files of figures that exist once for each label: ``confusion.png``, ``confusion-2.png``, …"""

from __future__ import annotations

from pathlib import Path


def picture_path(folder: Path, name: str, place: int = 0) -> Path:
    """Return the path of the figure `name` of label number `place`, from 0."""
    return folder / (f"{name}-{place + 1}.png" if place else f"{name}.png")


def pictures(folder: Path, name: str) -> list[Path]:
    """Return the paths of all figures `name`, in the order of the labels; the first even if it is missing."""
    found = [picture_path(folder, name)]
    while (path := picture_path(folder, name, len(found))).exists():
        found.append(path)
    return found


def keep_pictures(folder: Path, name: str, count: int) -> None:
    """Remove the figures `name` after the first `count`. An earlier report may have had more."""
    for path in pictures(folder, name)[count:]:
        path.unlink()
