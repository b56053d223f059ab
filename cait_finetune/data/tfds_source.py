"""Read TFDS data sets, including our own sets with a TFDS builder."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from cait_finetune.data.bands import tensor_bytes
from cait_finetune.data.corrupt import damaged_records
from cait_finetune.data.image_files import storage
from cait_finetune.data.label_index import LabelIndex, content_hash, kept_index, read_index
from cait_finetune.data.source import Selection, Source, new_numbers, renumbered
from cait_finetune.data.targets.target import Target


@dataclasses.dataclass(frozen=True)
class TfdsSource(Source):
    """A prepared TFDS set; ``splits`` maps each split to a TFDS split expression.

    ``numbers`` maps each label of the set to this source's label. `None`: the same numbers.
    ``label_key`` names the feature of the label. With several labels it is a tuple of features.
    """

    builder: tfds.core.DatasetBuilder = None
    image_key: str = "image"
    as_array: bool = False  # the image is stored as numbers, not as an encoded file
    label_key: str | tuple[str, ...] = "label"
    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    default_slices: tuple[str, ...] = ()
    parallel_files: int | None = None
    selection: Selection | None = None
    numbers: tuple[int, ...] | None = None
    _stats: list[list[Any]] = dataclasses.field(default_factory=list, compare=False)
    _indices: dict[str, LabelIndex] = dataclasses.field(default_factory=dict, compare=False)
    _labels: dict[str, np.ndarray] = dataclasses.field(default_factory=dict, compare=False)

    hash_kind: str = "farmhash"

    def records(self, split: str) -> tf.data.Dataset:
        """As `Source.records`. The records already have ``image``, stored with the label."""
        return self._dataset(split, (self.image_key, "tfds_id", *self._label_keys))

    @property
    def _label_keys(self) -> tuple[str, ...]:
        return (self.label_key,) if isinstance(self.label_key, str) else self.label_key

    @property
    def _stored_target(self) -> Target:
        """The kind of label with the class names in the set's own order."""
        if self.numbers is None:
            return self.target
        return self.target.named([self.class_names[number] for number in self.numbers])

    def _label(self, example: dict[str, tf.Tensor]) -> Any:
        """Return the stored label of an example; with several, a dictionary in their order."""
        if isinstance(self.label_key, str):
            return example[self.label_key]
        return {key: example[key] for key in self.label_key}

    def read(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """As `Source.read`."""
        return record

    def labels(self, split: str) -> np.ndarray:
        """As `Source.labels`. The first call reads the whole split, without decoding an image."""
        if split not in self._labels:
            self._labels[split] = self._numbered(self._index(split))
        return self._labels[split]

    def ids(self, split: str) -> np.ndarray:
        """As `Source.ids`: TFDS' ids, such as ``tf_flowers-train.tfrecord-00000-of-00002__12``."""
        return np.array([one.decode() for one in self._index(split).ids.tolist()], object)

    def content_hashes(self, split: str) -> np.ndarray:
        """As `Source.content_hashes`."""
        return self._index(split).content_hashes

    def split_names(self) -> tuple[str, ...]:
        """As `Source.split_names`."""
        return tuple(self.builder.info.splits)

    def strangers(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """As `Source.strangers`, also with several labels per example."""
        if not self.target.has_classes:
            return super().strangers(split)
        return self._stored_target.index_strangers(self._index(split), len(self.class_names))

    def select(self, selection: Selection) -> TfdsSource:
        """As `Source.select`."""
        if self.selection is not None:
            selection = _of_the_set(self.selection, selection)
        sizes = {split: sum(len(rows) for _, rows in parts) for split, parts in selection.items()}
        return dataclasses.replace(self, sizes=sizes, selection=selection, _labels={})

    def in_order(self, class_names: Sequence[str]) -> TfdsSource:
        """As `Source.in_order`."""
        moved = new_numbers(self.class_names, class_names)
        numbers = moved if self.numbers is None else moved[list(self.numbers)]
        return dataclasses.replace(
            self,
            class_names=tuple(class_names),
            target=self.target.named(class_names),
            numbers=tuple(numbers.tolist()),
            _labels={},
        )

    def stamp(self, split: str) -> dict[str, Any]:
        """As `Source.stamp`."""
        parts = [(split, None)] if self.selection is None else self.selection[split]
        return {
            "set": self.builder.info.full_name,
            "keys": [self.image_key, *self._label_keys],
            "classes": list(self.class_names),
            "numbers": self.numbers and list(self.numbers),
            "labels": self.target.task,
            "parallel_files": self.parallel_files,  # the order of the examples depends on it
            "split": [
                [self.splits[part], None if rows is None else np.sort(rows).tolist()]
                for part, rows in parts
            ],
            "examples": self.sizes[split],
            "files": self._files(),
        }

    def _files(self) -> list[list[Any]]:
        """Return name, size and times of each file of the set."""
        if not self._stats:  # keep them: files in a bucket are slow to query
            paths = sorted(self.builder.data_path.iterdir())
            self._stats.extend([path.name, *storage.size_and_times(str(path))] for path in paths)
        return self._stats

    def _index(self, split: str) -> LabelIndex:
        """Return the index of a split's examples, in the order of `records`."""
        if self.selection is None:
            return self._whole_index(split)
        chosen = [
            self._whole_index(part).rows(np.sort(rows))
            for part, rows in self.selection[split]
            if len(rows)
        ]
        return functools.reduce(operator.add, chosen)

    @tf.autograph.experimental.do_not_convert
    def _whole_index(self, part: str) -> LabelIndex:
        """Return the index of one of the set's own splits, read once per process."""
        split = self.splits[part]
        if split not in self._indices:

            def read() -> LabelIndex:
                examples = self._read(part, ("tfds_id", self.image_key, *self._label_keys)).map(
                    lambda example: {
                        "id": example["tfds_id"],
                        "label": self.target.stored(self._label(example)),
                        "content_hash": content_hash(example[self.image_key]),
                    }
                )
                # Not `sizes`, which can be the sizes of a selection.
                size = self.builder.info.splits[split].num_examples
                try:
                    return read_index(examples, size, f"labels of {split}")
                except tf.errors.DataLossError as error:
                    raise damaged_records(error) from error

            facts = {
                "set": self.builder.info.full_name,
                "path": str(self.builder.data_path),
                "files": self._files(),
                "split": split,
                "image": self.image_key,
                "label": self.label_key,
                "parallel_files": self.parallel_files,  # the order of reading depends on it
                "tfds": tfds.__version__,
            }
            if not self.target.has_classes:  # an integer feature can also be indexed as classes
                facts["labels"] = self.target.task
            self._indices[split] = kept_index(self.builder.name, facts, read)
        return self._indices[split]

    def _numbered(self, index: LabelIndex) -> np.ndarray:
        """Return the labels of an index in the form of `Source.labels`."""
        labels = self._stored_target.array(index, len(self.class_names))
        return labels if self.numbers is None else renumbered(labels, np.array(self.numbers))

    @tf.autograph.experimental.do_not_convert
    def _dataset(self, split: str, keys: tuple[str, ...]) -> tf.data.Dataset:
        if self.selection is None:
            return self._whole(split, keys)
        parts = [
            _rows(self._whole(part, keys), rows)
            for part, rows in self.selection[split]
            if len(rows)
        ]
        whole = parts[0]
        for part in parts[1:]:
            whole = whole.concatenate(part)
        return whole

    def _whole(self, split: str, keys: tuple[str, ...]) -> tf.data.Dataset:
        """Return the features `keys` of one of the set's own splits, named as in `records`."""

        def renamed(example: dict) -> dict[str, tf.Tensor]:
            label, classes = self._label(example), len(self.class_names)
            named = {"label": self._stored_target.tensor(label, classes, self.numbers)}
            if "tfds_id" in keys:
                named["id"] = example["tfds_id"]
            if self.image_key in keys:
                named["image"] = example[self.image_key]
            return named

        return self._read(split, keys).map(renamed)

    def _read(self, split: str, keys: tuple[str, ...]) -> tf.data.Dataset:
        """Return the features `keys` of one of the set's own splits. Images are bytes."""
        with_image = self.image_key in keys
        encoded = with_image and not self.as_array
        skip = {self.image_key: tfds.decode.SkipDecoding()} if encoded else {}
        wanted = {key: True for key in keys if key != "tfds_id"}
        reading = {"interleave_cycle_length": self.parallel_files} if self.parallel_files else {}
        examples = self.builder.as_dataset(
            split=self.splits[split],
            decoders=tfds.decode.PartialDecoding(wanted, decoders=skip),
            read_config=tfds.ReadConfig(
                add_tfds_id="tfds_id" in keys,
                skip_prefetch=True,  # the pipeline prefetches its batches
                **reading,
            ),
        )
        if not (with_image and self.as_array):
            return examples
        return examples.map(
            lambda example: {
                **example,
                self.image_key: tensor_bytes(example[self.image_key]),
            }
        )


def _of_the_set(selected: Selection, selection: Selection) -> Selection:
    """Convert a selection of rows of `selected` to a selection of rows of the set's own splits."""
    composed = {}
    for split, parts in selection.items():
        composed[split] = []
        for part, rows in parts:
            first = 0
            for own, own_rows in selected[part]:
                inside = rows[(rows >= first) & (rows < first + len(own_rows))] - first
                composed[split].append((own, np.sort(own_rows)[inside]))
                first += len(own_rows)
    return composed


def _rows(dataset: tf.data.Dataset, rows: np.ndarray) -> tf.data.Dataset:
    wanted = np.zeros(int(rows.max()) + 1, bool)
    wanted[rows] = True
    chosen = tf.constant(wanted)
    return (
        dataset.take(len(wanted))
        .enumerate()
        .filter(lambda row, _: chosen[row])
        .map(lambda _, example: example)
    )
