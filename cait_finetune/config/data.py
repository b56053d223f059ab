"""Keys of the data set: which images, their splits, and how the pipeline reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from omegaconf import MISSING

from cait_finetune.config.checks import on_disk, one_of, within
from cait_finetune.errors import bad_value

SOURCES = ("tfds", "digits", "folder", "csv", "imagenet_folder")
METRICS = ("top1", "mean_per_class", "mean_average_precision")


@dataclass
class SplitsConfig:
    """The train, validation and test split. `null`: the split that the data set has.

    `train`, `validation` and `test` are split expressions of TFDS, names of a folder's subfolders,
    or values in the split column of a table. Images without a split are divided by `shares` within
    each class, in an order drawn by `seed`. The division is written to `file`, and images in the
    file keep their split. `file` null: a file beside the images, or in the user's cache.

    `shares` and `seed` null: the values in the file, or `SHARES` and 0 without a file. Values that
    differ from those in the file are refused.
    """

    train: str | None = None
    validation: str | None = None
    test: str | None = None
    shares: list[float] | None = None
    seed: int | None = None
    file: str | None = None

    SHARES: ClassVar[tuple[float, ...]] = (0.8, 0.1, 0.1)  # train, validation, test

    @property
    def split_shares(self) -> tuple[float, ...]:
        """The fractions of train, validation and test for a division without a file."""
        return self.SHARES if self.shares is None else tuple(self.shares)

    @property
    def split_seed(self) -> int:
        """The seed of a division without a file."""
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
        within("dataset.splits.seed", self.split_seed, 0, 2**31 - 1)


@dataclass
class ColumnsConfig:
    """Columns of a table, or features of a TFDS data set. `null`: the usual name.

    A multi-label table either lists an image's labels in `label`, with `separator` between them, or
    holds a zero or one for each class in the columns `classes`. `weight` is the weight of an image in
    the training loss.
    """

    image: str | None = None
    label: str | None = None
    split: str | None = None
    weight: str | None = None
    classes: list[str] | None = None
    separator: str = "|"

    def __post_init__(self) -> None:
        if not self.separator:
            raise bad_value("dataset.columns.separator", "nothing", "one character or more")


@dataclass
class DatasetConfig:
    """The images, and how the pipeline reads them.

    `homepage` is the source of the images, and `license` is their licence in words. The model card
    of a trained model shows both.

    `accept_changes` resumes a run although its images have changed since it began. The run records
    the change.

    `metric` decides which epoch is best. `null`: top-1, or the mean average precision with several
    labels. Training refuses a data set that is `evaluation_only`.

    `class_names` null: the names that the data set has. `examples_per_class` keeps this number of
    training images of each class, and `train_share` keeps this fraction. `folds` divides the images
    of train and validation into equal folds; fold number `fold` is the validation split. `seed`
    draws all three choices. `seed` null: `splits.seed`, or without it the run's `seed`. `sampling`
    ``balanced`` shows each class equally often.

    `upright` rotates photographs by their EXIF orientation. `cache` keeps decoded images in
    ``memory`` or on ``disk``, in `cache_dir`. `check` reads each file before the first training on
    it, to find files that are no images, and to record content hashes. A resumed run recognises its
    images by the hashes. `parallel_files` is the number of TFDS files whose examples are
    interleaved (`null`: 16, TFDS' default). `parallel_calls` is the number of images that are
    prepared in parallel (`null`: chosen by TensorFlow). `prefetch` is the number of batches prepared
    in advance (`null`: chosen by TensorFlow).
    """

    source: str = "tfds"
    name: str = MISSING
    homepage: str | None = None
    license: str | None = None
    data_dir: str | None = None
    accept_changes: bool = False
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    splits: SplitsConfig = field(default_factory=SplitsConfig)
    num_classes: int | None = None
    class_names: list[str] | None = None
    multi_label: bool = False
    metric: str | None = None
    evaluation_only: bool = False
    examples_per_class: int | None = None
    train_share: float | None = None
    folds: int | None = None
    fold: int = 0
    seed: int | None = None
    sampling: str = "all"
    allow_flip: bool = True
    upright: bool = True
    on_corrupt: str = "stop"
    check: bool = True
    shuffle_buffer: int = 4096
    cache: str = "none"
    cache_dir: str = "~/.cache/cait_finetune/images"
    parallel_files: int | None = None
    parallel_calls: int | None = None
    prefetch: int | None = None

    def __post_init__(self) -> None:
        one_of("dataset.source", self.source, SOURCES)
        one_of("dataset.on_corrupt", self.on_corrupt, ("stop", "skip"))
        one_of("dataset.cache", self.cache, ("none", "memory", "disk"))
        on_disk("dataset.cache_dir", self.cache_dir)
        one_of("dataset.sampling", self.sampling, ("all", "balanced"))
        for key in ("shuffle_buffer", "parallel_files", "parallel_calls", "prefetch"):
            if getattr(self, key) is not None:
                within(f"dataset.{key}", getattr(self, key), 1)
        if self.num_classes is not None:
            within("dataset.num_classes", self.num_classes, 1 if self.multi_label else 2)
        if self.examples_per_class is not None:
            within("dataset.examples_per_class", self.examples_per_class, 1)
        if self.train_share is not None:
            self._check_share(self.train_share)
        if self.seed is not None:
            within("dataset.seed", self.seed, 0, 2**31 - 1)
        self._check_folds()
        self._check_metric()
        for key, names in (
            ("dataset.class_names", self.class_names),
            ("dataset.columns.classes", self.columns.classes),
        ):
            if names is not None:
                twice = [name for name in names if names.count(name) > 1]
                if twice or not names:
                    got = f"{twice[0]} twice" if twice else "[]"
                    raise bad_value(key, got, "a list of different names")
        if self.multi_label and self.sampling == "balanced":
            raise bad_value(
                "dataset.sampling",
                "balanced with dataset.multi_label=true",
                "all, because an image can have a rare and a frequent class",
                "weigh the classes in the loss instead: loss.class_weights=balanced",
            )

    def _check_share(self, share: float) -> None:
        if not 0 < share <= 1:
            raise bad_value("dataset.train_share", share, "a share above 0, at most 1: 0.05 is 5 %")
        if self.examples_per_class is not None:
            raise bad_value(
                "dataset.train_share",
                f"{share} beside dataset.examples_per_class={self.examples_per_class}",
                "only one of the two keys, the other null",
            )

    def _check_folds(self) -> None:
        if self.folds is None:
            if self.fold:
                raise bad_value("dataset.fold", self.fold, "0 without dataset.folds")
            return
        within("dataset.folds", self.folds, 2)
        within("dataset.fold", self.fold, 0, self.folds - 1)

    @property
    def draw_seed(self) -> int:
        """The seed of `examples_per_class`, `train_share` and `folds`.

        A run records `seed`. A run without `seed` is from an older version, which drew by
        `splits.seed`.
        """
        return self.splits.split_seed if self.seed is None else self.seed

    @property
    def judged_by(self) -> str:
        """`metric`, or its default."""
        return self.metric or ("mean_average_precision" if self.multi_label else "top1")

    def _check_metric(self) -> None:
        one_of("dataset.metric", self.judged_by, METRICS)
        if (self.judged_by == "mean_average_precision") != self.multi_label:
            raise bad_value(
                "dataset.metric",
                f"{self.metric} with dataset.multi_label={str(self.multi_label).lower()}",
                "mean_average_precision where an image has several labels, else top1 or mean_per_class",
            )
