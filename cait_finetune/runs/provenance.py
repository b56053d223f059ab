"""Provenance: facts about a run, stored inside its weights and exports so that moved files keep them.

Safetensors files hold the facts in their metadata. An export holds one JSON object:

- a SavedModel in ``assets.extra/``, which TensorFlow does not use itself;
- an ONNX file in its metadata;
- a LiteRT file in a zip archive after the model, as TensorFlow Lite's metadata library packs labels;
- a ``.keras`` file, which is a zip archive, as an additional member.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cait_finetune.config.places import expanded_path
from cait_finetune.data.seen_images import SeenImages
from cait_finetune.runs.run_id import KEY as RUN
from cait_tf.atomic import write_text
from cait_tf.weights import collection, keras_file, official
from cait_tf.weights.timm import CLASSES

if TYPE_CHECKING:
    from cait_finetune.data.preprocess import Preprocessing
    from cait_finetune.data.source import Source

#: Name of the JSON object in an export, and of the file that holds it.
NAME = "cait_finetune"
FILE = f"{NAME}.json"
EXTRA = Path("assets.extra") / FILE
LABELS = "labels.txt"
#: Keys in the metadata of weights.
PREPROCESSING, SEEN = "preprocessing", "seen_images"


@dataclasses.dataclass(frozen=True)
class Provenance:
    """The origin of a file and the preprocessing of its images.

    Attributes:
        preprocessing: fields of `data.preprocess.Preprocessing`.
        class_names: names of the classes, in column order.
        run: id of the run. Empty: unknown.
        weights: checksum of the checkpoint. Empty: unknown.
        allow_flip: whether mirrored images keep their class.
        seen_images: sketch of the training images, as text.
        files: SHA-256 of each file of a SavedModel, by its path. Empty: a single file.
    """

    preprocessing: Mapping[str, Any]
    class_names: tuple[str, ...]
    run: str = ""
    weights: str = ""
    allow_flip: bool = True
    seen_images: str = ""
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        """Return the provenance as JSON."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    def metadata(self) -> dict[str, str]:
        """Return the metadata for a weights file, without the checksum, which the file has already."""
        return {
            CLASSES: "\n".join(self.class_names),
            RUN: self.run,
            PREPROCESSING: json.dumps(dict(self.preprocessing)),
            SEEN: self.seen_images,
        }

    @classmethod
    def from_json(cls, text: str | bytes | None) -> Provenance | None:
        """Parse the result of `to_json`. Return `None` for `None` or any other text."""
        if text is None:
            return None
        try:
            values = json.loads(text)
            values["class_names"] = tuple(values["class_names"])
            return cls(**values)
        except (ValueError, TypeError, KeyError):
            return None


def add_to_directory(provenance: Provenance, saved_model: Path) -> None:
    """Write the provenance into a SavedModel, with the hashes of its other files.

    Without the hashes, variables copied from another model would answer with wrong class names.
    """
    path = saved_model / EXTRA
    found = sorted(one for one in saved_model.rglob("*") if one.is_file() and one != path)
    files = {one.relative_to(saved_model).as_posix(): _sha256(one) for one in found}
    path.parent.mkdir(exist_ok=True)
    write_text(path, dataclasses.replace(provenance, files=files).to_json() + "\n")


def replaced_file(provenance: Provenance | None, saved_model: Path) -> str | None:
    """Return the first file of a SavedModel that is missing or differs from its hash.

    `None`: no such file, or the SavedModel states no hashes.
    """
    for name, stated in (provenance.files if provenance else {}).items():
        if not (saved_model / name).is_file() or _sha256(saved_model / name) != stated:
            return name
    return None


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def add_to_archive(provenance: Provenance, path: Path, labels: bool = False) -> None:
    """Add the provenance, and with `labels` the class names, to a ``.keras`` or LiteRT file."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(FILE, provenance.to_json())
        if labels:
            names = (" ".join(name.splitlines()) for name in provenance.class_names)
            archive.writestr(LABELS, "".join(f"{name}\n" for name in names))


def read_provenance(path: Path) -> Provenance | None:
    """Read the provenance of a SavedModel, ``.keras`` or LiteRT file. `None`: missing or unreadable."""
    try:
        if path.is_dir():
            return Provenance.from_json((path / EXTRA).read_bytes())
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            return Provenance.from_json(archive.read(FILE))
    except (OSError, KeyError, zipfile.BadZipFile):
        return None


def stated(path: str | Path) -> dict[str, str]:
    """Return what a weights file or an export states about itself, as keys and texts.

    An export's provenance gets the keys of safetensors metadata. The result is empty if `path`
    states nothing or cannot be read. ONNX files are not read.
    """
    from safetensors import SafetensorError, safe_open

    path = expanded_path("model.weights", path)
    if path.suffix != ".safetensors":
        found = read_provenance(path)
        if found is not None:
            return found.metadata()
        if path.is_dir():
            return collection.stated(path)
        reader = official if path.name.endswith(official.ENDINGS) else keras_file
        return reader.stated(path)
    try:
        with safe_open(path, "np") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError):
        return {}


#: Fields that must equal the training preprocessing. The image size and the crop may differ.
_COMPARED = ("mean", "std", "resize_mode", "interpolation", "antialias", "upright")


def notes_on_weights(
    weights: str, preprocessing: Preprocessing, source: Source, splits: Sequence[str]
) -> list[str]:
    """Return warnings about scores of some weights on some images.

    Args:
        weights: `model.weights`.
        preprocessing: the current preprocessing.
        source: the images.
        splits: the splits to score.

    Returns:
        Lines to print: if the weights were trained with another preprocessing; for each split that
        contains training images of the weights, or was not compared with them; if the contents of some
        training images are unknown; and if a local file does not state its training images.
    """
    found = stated(weights)
    notes = []
    try:
        trained = json.loads(found.get(PREPROCESSING, "{}"))
    except ValueError:
        trained = {}
    now = vars(preprocessing)
    other = [
        f"{'dataset' if field == 'upright' else 'preprocessing'}.{field}={_shown(trained[field])}, "
        f"here {_shown(now[field])}"
        for field in _COMPARED
        if field in trained and _plain(trained[field]) != _plain(now[field])
    ]
    if other:
        notes.append(f"model  the weights were trained with {'; '.join(other)}")
    if seen := SeenImages.from_text(found.get(SEEN, "")):
        notes += _seen_of(seen, source, splits)
    elif expanded_path("model.weights", weights).exists():
        # Without this line, the user would conclude that training used no scored image.
        what = "which images its weights were trained on"
        also = "" if trained else ", nor how the images were prepared"
        notes.append(f"data   {weights} does not state {what}{also}")
    return notes


def _seen_of(seen: SeenImages, source: Source, splits: Sequence[str]) -> Iterator[str]:
    training = "the training images of the weights"
    for split in splits:
        hashes = source.content_hashes(split)
        if hashes is None:
            yield f"data   {split} is not compared with {training}: dataset.check=false"
            continue
        if seen.kinds and source.hash_kind not in seen.kinds:
            yield f"data   {split} is not compared with {training}: another kind of data set"
            continue
        known, asked = seen.count(hashes)
        many = f"{known:,} of {asked:,} {split} images"
        if asked < len(hashes):
            share = known / max(asked, 1)
            many = f"about {share:.0%} of the {split} images ({known} in a sample of {asked})"
        if known:
            yield f"data   {'' if seen.complete else 'at least '}{many} are among {training}"
    if not seen.complete:
        yield f"data   the contents of some of {training} are not known"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{','.join(f'{one:g}' for one in value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
