"""Small image files in folders, all different, and tables that list them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from cait_finetune.config import DatasetConfig
from cait_finetune.data.image_files.files import FileSource
from cait_finetune.data.load import load_source
from cait_finetune.data.targets import ONE_CLASS
from cait_finetune.data.targets.target import Target
from tests.cait_finetune.stand_ins import encode, picture

THREE = {"cat": 10, "dog": 10, "owl": 10}
_numbers = itertools.count()


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(picture(4, 5, seed=next(_numbers)), "PNG"))
    return path


def folders(root: Path, counts: Mapping[str, int] = THREE) -> Path:
    """Write ``root/CLASS/00.png`` and so on, with `counts` images per class; return `root`."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image(root / name / f"{number:02}.png")
    return root


def table(path: Path, rows: Sequence[str], header: str = "path,label") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def from_folder(root: object, target: Target = ONE_CLASS, **options: object) -> FileSource:
    config = DatasetConfig(source="folder", name="folder", data_dir=str(root), **options)
    return load_source(config, target)


def from_table(path: object, target: Target = ONE_CLASS, **options: object) -> FileSource:
    config = DatasetConfig(source="csv", name="csv", data_dir=str(path), **options)
    return load_source(config, target)


def ids(source: FileSource, split: str) -> list[str]:
    return list(source.files[split].ids)
