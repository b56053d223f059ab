"""Search the files of a run that are uploaded to the hub or to W&B."""

import zipfile
from pathlib import Path


def naming(run: Path, text: str) -> list[str]:
    """Return the uploaded files and archive members that contain `text` in name or bytes."""
    found = []
    for path in [run / "checkpoints" / "best.safetensors", *(run / "export").rglob("*")]:
        name = path.relative_to(run).as_posix()
        if path.is_file():
            contents = {name: path.read_bytes()}
            if zipfile.is_zipfile(path):  # archive members are compressed
                with zipfile.ZipFile(path) as archive:
                    contents |= {f"{name}/{one}": archive.read(one) for one in archive.namelist()}
            found += [
                where
                for where, content in contents.items()
                if text.encode() in content or text in where
            ]
    return found
