"""Keys of the data set: which images, their splits, and how the pipeline reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from cait_finetune.config.checks import on_disk, within
from cait_finetune.config.keys import check_keys, key
from cait_finetune.errors import bad_value

SOURCES = ("tfds", "digits", "folder", "csv", "imagenet_folder")
METRICS = ("top1", "mean_per_class", "mean_average_precision")


@dataclass
class SplitsConfig:
    """The train, validation and test split.

    The loader splits the images of each class that have no split, and writes the result to
    `file`. Images in the file keep their split. The loader refuses `shares` or a `seed` that differ
    from the file's.
    """

    train: str | None = key(
        "Split expression of TFDS, name of a subfolder, or value in a table's column `split`. null: the "
        "data set's own split.", None,
    )  # fmt: skip
    validation: str | None = key("As `train`.", None)
    test: str | None = key("As `train`.", None)
    shares: list[float] | None = key(
        "Shares of train, validation and test among images without a split. null: those in the file, or "
        "[0.8,0.1,0.1].", None,
    )  # fmt: skip
    seed: int | None = key("Seed of the division. null: the seed in the file, or 0.", None,
                           low=0, high=2**31 - 1)  # fmt: skip
    file: str | None = key(
        "File that records the division. null: a file beside the images, or in the user's cache.",
        None,
    )

    SHARES: ClassVar[tuple[float, ...]] = (0.8, 0.1, 0.1)  # train, validation, test

    @property
    def split_shares(self) -> tuple[float, ...]:
        """The fractions of train, validation and test for a split without a file."""
        return self.SHARES if self.shares is None else tuple(self.shares)

    @property
    def split_seed(self) -> int:
        """The seed of a split without a file."""
        return 0 if self.seed is None else self.seed

    def __post_init__(self) -> None:
        shares = self.split_shares
        sound = len(shares) == 3 and all(0 < share < 1 for share in shares)
        if not sound or not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
            raise bad_value(
                "dataset.splits.shares",
                list(shares),
                "three fractions (train, validation, test), each above 0, that add up to 1",
            )
        check_keys(self, "dataset.splits")


@dataclass
class ColumnsConfig:
    """Names of a table's columns, or of a TFDS data set's features. null: the usual name."""

    image: str | None = key("Column with the path of the image.", None)
    label: str | None = key(
        "Column with the class, or with several classes and `separator` between them.", None
    )
    split: str | None = key("Column with the split: a value of `dataset.splits`.", None)
    weight: str | None = key(
        "Column with the weight of the image in the training loss. null: no weights.", None
    )
    classes: list[str] | None = key(
        "Columns of 0 and 1, one for each class. null: the classes are in `label`.", None
    )
    targets: list[str] | None = key(
        "Columns of numbers, one for each target of task=regression. null: the number is in `label`.",
        None,
    )
    labels: list[str] | None = key(
        "Columns of a table, or features of a TFDS set, with one class each: the labels of task=several.",
        None,
    )
    separator: str = key("Text between the classes in a cell of `label`.", "|")

    def __post_init__(self) -> None:
        if not self.separator:
            raise bad_value("dataset.columns.separator", "nothing", "one character or more")


@dataclass
class DatasetConfig:
    """The images, and how the pipeline reads them."""

    source: str = key("Where the images are. `dataset=NAME` sets it.", "tfds", choices=SOURCES)
    name: str = key("Name of the data set: in TFDS, on the model card and in the run's directory.")
    homepage: str | None = key("Web address of the data set, for the model card.", None)
    license: str | None = key("Name of the images' licence, for the model card.", None)
    data_dir: str | None = key("Folder or table of the images. null: TFDS' default folder.", None)
    accept_changes: bool = key(
        "Use images that changed since the run began. The run records the change.",
        False,
    )
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    splits: SplitsConfig = field(default_factory=SplitsConfig)
    num_classes: int | None = key("Number of classes that the images must have. null: any.", None)
    class_names: list[str] | None = key("Names of the classes. null: the data set's own.", None)
    metric: str | None = key(
        "Metric that decides which epoch is best. null: top1, or that of the task.", None,
        choices=METRICS,
    )  # fmt: skip
    evaluation_only: bool = key("Refuse to train on these images.", False)
    examples_per_class: int | None = key(
        "Training images of each class to keep. null: all.", None, low=1
    )
    train_share: float | None = key("Fraction of the training images to keep. null: all.", None)
    folds: int | None = key(
        "Divide the images of train and validation into this number of folds. null: no folds.",
        None,
        low=2,
    )
    fold: int = key("Number of the fold that is the validation split, from 0.", 0)
    seed: int | None = key(
        "Seed of `examples_per_class`, `train_share` and `folds`. null: `dataset.splits.seed`, or `seed` "
        "if that is null.", None, low=0, high=2**31 - 1,
    )  # fmt: skip
    sampling: str = key(
        "all: train on each image equally often. balanced: on each class equally often.",
        "all",
        choices=("all", "balanced"),
    )
    allow_flip: bool = key(
        "A mirrored image keeps its class. false: images are not mirrored.", True
    )
    upright: bool = key("Rotate photographs by their EXIF orientation.", True)
    on_corrupt: str = key("stop: refuse a file that cannot be decoded. skip: leave the file out.", "stop",
                          choices=("stop", "skip"))  # fmt: skip
    check: bool = key(
        "Read each file before the first training on it, to find files that are not images and to "
        "record content hashes.", True,
    )  # fmt: skip
    shuffle_buffer: int = key("Size of the shuffle buffer in images.", 4096, low=1)
    cache: str = key("Where decoded images are kept.", "none", choices=("none", "memory", "disk"))
    cache_dir: str = key("Folder of `cache=disk`.", "~/.cache/cait_finetune/images")
    parallel_files: int | None = key(
        "TFDS files whose examples are interleaved. null: 16, TFDS' default.", None, low=1
    )
    parallel_calls: int | None = key(
        "Images that are prepared in parallel. null: TensorFlow's choice.", None, low=1
    )
    prefetch: int | None = key(
        "Batches that are prepared in advance. null: TensorFlow's choice.", None, low=1
    )

    def __post_init__(self) -> None:
        check_keys(self, "dataset")
        on_disk("dataset.cache_dir", self.cache_dir)
        if self.num_classes is not None:
            within("dataset.num_classes", self.num_classes, 1)
        if self.train_share is not None:
            self._check_share(self.train_share)
        self._check_folds()
        for path, names in (
            ("dataset.class_names", self.class_names),
            ("dataset.columns.classes", self.columns.classes),
            ("dataset.columns.targets", self.columns.targets),
            ("dataset.columns.labels", self.columns.labels),
        ):
            if names is not None:
                twice = [name for name in names if names.count(name) > 1]
                if twice or not names:
                    got = f"{twice[0]} twice" if twice else "[]"
                    raise bad_value(path, got, "a list of different names")

    def _check_share(self, share: float) -> None:
        if not 0 < share <= 1:
            raise bad_value(
                "dataset.train_share", share, "a fraction above 0, at most 1: 0.05 is 5 %"
            )
        if self.examples_per_class is not None:
            raise bad_value(
                "dataset.train_share",
                f"{share} beside dataset.examples_per_class={self.examples_per_class}",
                "only one of the two keys, the other null",
            )

    def _check_folds(self) -> None:
        if self.folds is None:
            return
        within("dataset.fold", self.fold, 0, self.folds - 1)

    @property
    def draw_seed(self) -> int:
        """The seed of `examples_per_class`, `train_share` and `folds`.

        A run records `seed`. Runs of older versions have no `seed`: these versions drew with `splits.seed`.
        """
        return self.splits.split_seed if self.seed is None else self.seed
