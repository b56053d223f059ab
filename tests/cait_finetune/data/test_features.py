"""The features of a frozen backbone are computed once, match its outputs, and come in batches."""

import dataclasses
import io
import itertools
import logging
import os
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from cait_finetune import model as models
from cait_finetune.config import AugmentConfig, ColumnsConfig, DatasetConfig, ModelConfig
from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.feature_cache import FeatureCache
from cait_finetune.data.features import FrozenFeatures
from cait_finetune.data.image_files.files import Files, FileSource
from cait_finetune.data.pipeline import evaluation_batches, train_batches
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.data.sequence import Shard
from cait_finetune.data.targets import NUMBERS
from cait_finetune.errors import UserError
from cait_finetune.optim.adamw import AdamW
from cait_finetune.optim.parameters import parameter_table
from cait_finetune.scores.evaluation import Evaluator
from cait_finetune.train.loss import CrossEntropy
from cait_finetune.train.step import TrainStep
from tests.cait_finetune.data.made_images import from_table, image, table
from tests.cait_finetune.stand_ins import examples, source_of, write_set
from tests.cait_finetune.tiny import one_device, optimizer_config, tiny_model

COUNT = 10
PREPROCESSING = Preprocessing(32, 1.0, "bicubic", (0.5,) * 3, (0.5,) * 3)
PLAIN = AugmentConfig(crop_scale=[1.0, 1.0], crop_ratio=[1.0, 1.0], flip=0.0)
CONFIG = ModelConfig(name="tiny", weights="none")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return source_of(write_set(tmp_path_factory.mktemp("data"), {"train": examples(COUNT)}))


def small_model(**options):
    return tiny_model(2, depth=1, depth_token_only=1, **options)


@pytest.fixture(scope="module")
def model():
    return small_model()


class Counted:
    """A backbone that counts the images it receives."""

    def __init__(self, model):
        self.model = model
        self.images = 0

    def __call__(self, images, training):
        assert training is False
        tf.py_function(self._count, [tf.shape(images)[0]], [])
        return self.model.backbone(images, training=training)

    def _count(self, number):
        self.images += int(number)


class Probe:
    """The features that a model computes for a source, with an optional cache and the console output."""

    def __init__(
        self,
        source,
        model,
        cache=None,
        on_corrupt="stop",
        preprocessing=PREPROCESSING,
        batches=None,
    ):
        self.backbone = Counted(model)
        self.corrupt = CorruptImages(on_corrupt)
        self.output = io.StringIO()
        self.features = FrozenFeatures(
            source,
            preprocessing,
            self.backbone,
            models.backbone_facts(model, CONFIG),
            cache,
            self.corrupt,
            4,
            Console(file=self.output, width=500),
            batches,
        )

    def __call__(self, split="train"):
        return self.features(split)

    @property
    def computed(self) -> bool:
        return self.backbone.images > 0


@pytest.mark.slow
def test_features_equal_the_backbone_outputs_in_file_order(source, model):
    probe = Probe(source, model)
    features = probe()
    batches = evaluation_batches(source, "train", PREPROCESSING, COUNT, CorruptImages("stop"))
    ((images, labels, _),) = batches
    expected = model.backbone(images)
    assert features.values.shape == (COUNT, 48)
    assert features.values.dtype == np.float32
    np.testing.assert_allclose(features.values, expected, atol=1e-5)
    np.testing.assert_array_equal(features.labels, labels)
    assert "features of train 10 x 48, computed in" in probe.output.getvalue()


@pytest.mark.slow
def test_features_are_computed_once(source, model):
    probe = Probe(source, model)
    assert probe() is probe()
    assert probe.backbone.images == 12  # three batches of four; the last one is padded


@pytest.mark.slow
def test_the_next_run_reads_features_from_the_cache(source, model, tmp_path):
    first, second = (Probe(source, model, FeatureCache(tmp_path / "cache")) for _ in range(2))
    np.testing.assert_array_equal(first().values, second().values)
    np.testing.assert_array_equal(first().labels, second().labels)
    assert first.computed
    assert not second.computed
    (file,) = (tmp_path / "cache").iterdir()
    assert f"kept in {file}" in first.output.getvalue()
    assert f"used again from {file}" in second.output.getvalue()
    assert len(second.output.getvalue().splitlines()) == 1


@pytest.mark.slow
def test_the_features_of_numbers_keep_the_numbers(model, tmp_path):
    rows = [f"{image(tmp_path / f'{number:02}.png').name},{number + 0.1}" for number in range(20)]
    path = table(tmp_path / "list.csv", rows, "path,age")
    columns = ColumnsConfig(targets=["age"])
    source = from_table(path, NUMBERS, columns=columns)
    first, second = (Probe(source, model, FeatureCache(tmp_path / "cache")) for _ in range(2))
    np.testing.assert_array_equal(first().labels, source.labels("train"))
    np.testing.assert_array_equal(second().labels, source.labels("train"))
    assert not second.computed
    path.write_text(path.read_text().replace(".1\n", ".2\n"))
    other = Probe(
        from_table(path, NUMBERS, columns=columns), model, FeatureCache(tmp_path / "cache")
    )
    assert other().labels.shape == first().labels.shape
    assert not np.isin(other().labels, first().labels).any()
    batch = next(iter(other.features.train_batches(4, seed=0)))
    assert batch[1].shape == (4, 1)
    evaluated = list(other.features.evaluation_batches("train", 4).as_numpy_iterator())
    labels = np.concatenate([labels[real] for _, labels, real in evaluated])
    np.testing.assert_array_equal(labels, other().labels)


@pytest.mark.slow
def test_without_a_cache_nothing_is_written(source, model, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Probe(source, model)()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_some_batches_alone_are_not_kept_for_those_who_want_all(source, model, tmp_path):
    probe = Probe(source, model, FeatureCache(tmp_path / "cache"), batches=2)
    assert len(probe().labels) == 8
    assert probe.backbone.images == 8
    assert not (tmp_path / "cache").exists()


@pytest.fixture(scope="module")
def kept(source, model, tmp_path_factory):
    """Return the directory of a cache that holds the features of `model`."""
    cache = FeatureCache(tmp_path_factory.mktemp("kept") / "cache")
    Probe(source, model, cache)()
    assert not _recomputed(source, model, cache)
    return cache.directory


@pytest.fixture
def filled(kept, tmp_path):
    """Return a cache of one test that holds the features of `model`."""
    return FeatureCache(shutil.copytree(kept, tmp_path / "cache"))


def _recomputed(*arguments, split="train", **keywords) -> bool:
    probe = Probe(*arguments, **keywords)
    probe(split)
    return probe.computed


@pytest.mark.slow
def test_other_weights_are_other_features(source, filled):
    assert _recomputed(source, small_model(seed=1), filled)
    changed = small_model()
    assert not _recomputed(source, changed, filled)
    changed.head.kernel.assign_add(tf.ones_like(changed.head.kernel))
    assert not _recomputed(source, changed, filled)  # features do not depend on the head
    changed.backbone.norm.beta.assign_add(tf.one_hot(3, 48) * 1e-6)
    assert _recomputed(source, changed, filled)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"crop_pct": 0.875},
        {"interpolation": "bilinear"},
        {"mean": (0.5, 0.5, 0.4)},
        {"std": (0.5, 0.5, 0.4)},
        {"resize_mode": "pad"},
        {"antialias": False},
        {"upright": False},
    ],
)
def test_other_preprocessing_is_other_features(change, source, model, filled):
    other = dataclasses.replace(PREPROCESSING, **change)
    assert _recomputed(source, model, filled, preprocessing=other)


@pytest.mark.slow
def test_another_split_is_other_features(source, model, filled):
    fewer = dataclasses.replace(
        source, splits={**source.splits, "train": "train[:6]"}, sizes={**source.sizes, "train": 6}
    )
    probe = Probe(fewer, model, filled)
    assert len(probe().labels) == 6
    assert probe.computed


@pytest.mark.slow
def test_other_class_names_are_other_features(source, model, filled):
    other = dataclasses.replace(source, class_names=source.class_names[::-1])
    assert _recomputed(other, model, filled)


@pytest.mark.slow
@pytest.mark.parametrize("package", [tf, keras])
def test_another_version_makes_other_features(package, source, model, filled, monkeypatch):
    monkeypatch.setattr(package, "__version__", "9.9")
    assert _recomputed(source, model, filled)


@pytest.mark.slow
def test_another_treatment_of_corrupt_images_is_other_features(source, model, filled):
    assert _recomputed(source, model, filled, on_corrupt="skip")


@pytest.mark.slow
def test_other_files_of_the_same_name_are_other_features(model, tmp_path):
    first = source_of(write_set(tmp_path / "one", {"train": examples(4)}))
    second = source_of(write_set(tmp_path / "two", {"train": list(reversed(examples(4)))}))
    cache = FeatureCache(tmp_path / "cache")
    assert _recomputed(first, model, cache)
    for path in second.builder.data_path.iterdir():
        os.utime(path, (1e9, 1e9))
    assert _recomputed(second, model, cache)
    assert not _recomputed(first, model, cache)


def test_the_stamp_of_a_folder_changes_with_its_files_and_labels(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"one")
    path = np.array([str(tmp_path / "a.jpg")])
    files = Files(path, path, np.array([0]))
    folder = FileSource(("a",), {"train": 1}, files={"train": files})
    before = folder.stamp("train")
    assert before == folder.stamp("train")
    (tmp_path / "a.jpg").write_bytes(b"other")
    assert folder.stamp("train") != before
    relabelled = dataclasses.replace(folder, files={"train": Files(path, path, np.array([1]))})
    assert relabelled.stamp("train") != folder.stamp("train")


@pytest.mark.slow
def test_a_truncated_file_is_computed_anew_and_mended(source, model, filled, caplog):
    (file,) = filled.directory.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        assert _recomputed(source, model, filled)
    assert "cannot be read" in caplog.text
    assert not _recomputed(source, model, filled)


@pytest.mark.slow
def test_corrupt_images_are_known_to_the_next_run_too(model, tmp_path):
    files = examples(COUNT)
    files[3] = (b"broken", 1)
    source = source_of(write_set(tmp_path / "data", {"train": files}))
    cache = FeatureCache(tmp_path / "cache")
    first, second = (Probe(source, model, cache, "skip") for _ in range(2))
    assert len(first().labels) == len(second().labels) == COUNT - 1
    assert not second.computed
    assert first.corrupt.ids == second.corrupt.ids
    assert len(first.corrupt) == 1
    with pytest.raises(UserError, match="the corrupt image"):
        Probe(source, model, cache, "stop")()


@pytest.mark.slow
def test_evaluation_batches_hold_every_image_once(source, model):
    probe = Probe(source, model)
    batches = list(probe.features.evaluation_batches("validation", 4))
    assert [tuple(values.shape) for values, _, _ in batches] == [(4, 48)] * 3
    real = np.concatenate([real for _, _, real in batches])
    assert real.tolist() == [True] * COUNT + [False] * 2
    for position, expected in enumerate((probe("validation").values, probe("validation").labels)):
        joined = np.concatenate([batch[position] for batch in batches])
        np.testing.assert_array_equal(joined[real], expected)
        assert not joined[~real].any()


@pytest.mark.slow
def test_train_batches_shuffle_every_pass_anew_and_are_full(source, model):
    probe = Probe(source, model)

    def order(seed):
        values = {row.tobytes(): i for i, row in enumerate(probe().values)}
        batches = probe.features.train_batches(4, seed).take(5)
        taken = [(v.numpy(), y.numpy()) for v, y, _ in batches]
        assert all(len(labels) == 4 for _, labels in taken)
        rows = [values[row.tobytes()] for batch, _ in taken for row in batch]
        assert [probe().labels[row] for row in rows] == [y for _, ys in taken for y in ys]
        return rows

    rows = order(0)
    assert sorted(rows[:COUNT]) == sorted(rows[COUNT:]) == list(range(COUNT))
    assert rows[:COUNT] != rows[COUNT:]
    assert order(0) == rows != order(1)


@pytest.mark.slow
def test_the_feature_stream_can_start_at_any_position_and_be_sharded(source, model):
    features = Probe(source, model).features
    whole = list(features.train_batches(4, 0).take(6).as_numpy_iterator())
    rest = list(features.train_batches(4, 0, int(whole[1][2])).take(4).as_numpy_iterator())
    slices = [
        list(features.train_batches(4, 0, shard=Shard(index, 2)).take(6).as_numpy_iterator())
        for index in range(2)
    ]
    for one, other in zip(whole[2:], rest, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    for number, (values, labels, _) in enumerate(whole):
        parts = [made[number] for made in slices]
        np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), values)
        np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), labels)


@pytest.mark.slow
def test_training_on_features_is_training_on_images_without_augmentation(source):
    """Dropout in the backbone has no effect, because it is off when only the head is trained."""
    dataset = DatasetConfig(name="some_files", shuffle_buffer=64)
    corrupt = CorruptImages("stop")
    heads, losses = [], []
    for on_features in (False, True):
        strategy = one_device()
        with strategy.scope():
            model = small_model(drop_path_rate=0.5, drop_rate=0.3)
            table = parameter_table(model, "linear_probe", 0.75, 0.05)
            optimizer = AdamW(table, optimizer_config())
        probe = Probe(source, model)
        if on_features:
            frozen, scored = None, models.Head(model)
            stream = probe.features.train_batches(4, 0)
            validation = probe.features.evaluation_batches("validation", 4)
        else:
            frozen, scored = model.backbone, model
            stream = train_batches(source, dataset, PLAIN, PREPROCESSING, 4, 0, corrupt)
            validation = evaluation_batches(source, "validation", PREPROCESSING, 4, corrupt)
        step = TrainStep(
            models.Head(model), optimizer, strategy, CrossEntropy(0.1), clip_norm=1.0, frozen=frozen
        )
        for images, labels, _ in itertools.islice(stream, 6):
            step(images, labels, tf.constant(0.01))
        heads.append(np.concatenate([np.ravel(variable) for variable in model.head.weights]))
        losses.append(Evaluator(scored)(validation).loss)
        whole = evaluation_batches(source, "validation", PREPROCESSING, 4, corrupt)
        assert Evaluator(model)(whole).loss == pytest.approx(losses[-1], abs=1e-5)
    start = np.concatenate([np.ravel(variable) for variable in small_model().head.weights])
    np.testing.assert_allclose(heads[0], heads[1], atol=1e-5)
    assert np.abs(heads[0] - start).max() > 1e-2
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
