"""Labels are read once and cached. The next start uses the cache if the data set is unchanged."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from cait_finetune.config import ColumnsConfig, DatasetConfig
from cait_finetune.data import label_index, tfds_source
from cait_finetune.data.changes import differences
from cait_finetune.data.fingerprint import fingerprint
from cait_finetune.data.label_index import LabelIndex, cache_directory, kept_index, read_index
from cait_finetune.data.load import load_source
from cait_finetune.data.source import SPLITS
from cait_finetune.errors import UserError
from tests.cait_finetune.stand_ins import encode, picture, write_set

LISTS = LabelIndex(
    np.array([b"a", b"b", b"c", b"d"]),
    np.array([11, 12, 13, 14]),
    np.array([5, 7, 7, 1]),
    np.array([1, 0, 2, 1]),
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cait_finetune" / "labels"


@pytest.fixture
def reads(monkeypatch):
    """Return a function that lists the splits whose records were read since its last call."""
    done = []

    def counted(examples, size, words):
        done.append(words.removeprefix("labels of "))
        return read_index(examples, size, words)

    monkeypatch.setattr(tfds_source, "read_index", counted)

    def since():
        told = list(done)
        done.clear()
        return told

    return since


def written(directory, labels=(0, 1) * 15, test=(1, 0) * 3, side=4):
    data = encode(picture(side, side))
    splits = {"train": [(data, one) for one in labels], "test": [(data, one) for one in test]}
    write_set(directory, splits, "pets")


def opened(directory, **options):
    return load_source(DatasetConfig(name="pets", data_dir=str(directory), **options))


def contents(source):
    return [
        (
            source.ids(split).tolist(),
            source.labels(split).tolist(),
            source.strangers(split)[0].tolist(),
        )
        for split in SPLITS
    ]


@pytest.mark.slow
def test_a_second_start_reads_nothing_and_knows_the_same(cache, reads, tmp_path):
    written(tmp_path)
    first = opened(tmp_path)
    assert reads() == ["train[:90%]", "train[90%:]", "test"]
    second = opened(tmp_path)
    assert contents(second) == contents(first)
    assert reads() == []
    assert len(list(cache.glob("pets-*.npz"))) == 3
    assert [path for path in cache.iterdir() if path.suffix != ".npz"] == []
    records = list(second.records("train").as_numpy_iterator())
    assert [one["id"].decode() for one in records] == second.ids("train").tolist()
    assert [one["label"] for one in records] == second.labels("train").tolist()


def test_derived_sources_read_no_labels_again(cache, reads, tmp_path):
    written(tmp_path)
    source = opened(tmp_path)
    reads()
    other = source.in_order(["dog", "cat"])
    assert other.labels("train").tolist() == [1 - one for one in source.labels("train")]
    few = other.select({split: [("train", np.array([5, 3]))] for split in SPLITS})
    assert few.labels("test").tolist() == other.labels("train")[[3, 5]].tolist()
    assert few.ids("test").tolist() == other.ids("train")[[3, 5]].tolist()
    opened(tmp_path, examples_per_class=2)
    opened(tmp_path, folds=3)
    assert reads() == []


@pytest.mark.slow
def test_a_set_that_was_prepared_anew_is_read_anew(cache, reads, tmp_path):
    written(tmp_path)
    assert opened(tmp_path).labels("test").tolist() == [1, 0] * 3
    reads()
    for path in sorted((tmp_path / "pets").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    written(tmp_path, test=(0, 1) * 3)  # the files have the same names and sizes
    assert opened(tmp_path).labels("test").tolist() == [0, 1] * 3
    assert reads() == ["train[:90%]", "train[90%:]", "test"]
    # A set in another directory is read too.
    written(tmp_path / "other", test=(1, 1, 0) * 2)
    assert opened(tmp_path / "other").labels("test").tolist() == [1, 1, 0] * 2


@pytest.mark.slow
def test_other_pictures_with_the_same_labels_are_other_data(tmp_path, cache):
    """TFDS' ids are positions, so only the contents differ."""
    written(tmp_path / "one")
    written(tmp_path / "same")
    written(tmp_path / "other", side=5)
    (one, listed), (same, _), (other, relisted) = (
        fingerprint(opened(tmp_path / name)) for name in ("one", "same", "other")
    )
    assert same == one
    assert other.splits["train"].sha256 == one.splits["train"].sha256
    assert not other.matches(one)
    assert differences(listed, relisted)[0].startswith("36 images with other content (pets-train")


@pytest.mark.slow
def test_a_file_that_changed_is_read_anew(cache, reads, tmp_path):
    written(tmp_path)
    opened(tmp_path)
    reads()
    (path,) = (tmp_path / "pets").rglob("*-test.tfrecord*")
    os.utime(path, (1, 1))
    opened(tmp_path)
    assert reads() == ["train[:90%]", "train[90%:]", "test"]


@pytest.mark.slow
def test_another_order_of_reading_is_another_file(cache, reads, tmp_path):
    written(tmp_path)
    opened(tmp_path)
    reads()
    opened(tmp_path, parallel_files=1)
    assert len(reads()) == 3


@pytest.mark.slow
def test_a_copy_of_another_file_is_read_anew(cache, reads, tmp_path):
    written(tmp_path)
    expected = contents(opened(tmp_path))
    one, two, *_ = sorted(cache.glob("*.npz"))
    one.write_bytes(two.read_bytes())
    reads()
    assert contents(opened(tmp_path)) == expected
    assert len(reads()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b"", b"no zip", None])
def test_a_damaged_file_is_read_anew(damage, cache, reads, tmp_path):
    written(tmp_path)
    expected = contents(opened(tmp_path))
    reads()
    for path in cache.glob("*.npz"):
        path.write_bytes(path.read_bytes()[:-30] if damage is None else damage)
    assert contents(opened(tmp_path)) == expected
    assert len(reads()) == 3
    opened(tmp_path)
    assert reads() == []


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_costs_nothing_else(cache, reads, tmp_path, caplog):
    cache.parent.parent.write_text("a file where the directory would be")
    written(tmp_path)
    assert contents(opened(tmp_path)) == contents(opened(tmp_path))
    assert len(reads()) == 6
    assert [record for record in caplog.records if "pets-" in record.getMessage()] == []


def test_one_split_for_several_roles_is_read_once(cache, reads, tmp_path):
    written(tmp_path)
    config = DatasetConfig(name="pets", data_dir=str(tmp_path), evaluation_only=True)
    for split in SPLITS:
        setattr(config.splits, split, "test")
    load_source(config)
    assert reads() == ["test"]


@pytest.mark.slow
def test_other_labels_of_the_same_set_are_another_file(cache, reads, tmp_path):
    names = tfds.features.ClassLabel(names=["cat", "dog"])
    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(shape=(4, 4, 3)), "label": names, "wild": names}
    )

    def generate(self):
        for number in range(30):
            image = np.zeros((4, 4, 3), np.uint8)
            yield number, {"image": image, "label": number % 2, "wild": number // 2 % 2}

    body = {
        "__module__": write_set.__module__,
        "VERSION": tfds.core.Version("1.0.0"),
        "name": "pets",
        "_info": lambda self: self.dataset_info_from_configs(features=features),
        "_split_generators": lambda self, _: {"train": generate(self)},
        "_generate_examples": generate,
    }
    with tfds.core.registered.skip_registration():
        builder = type("Pets", (tfds.core.GeneratorBasedBuilder,), body)(data_dir=tmp_path)
    builder.download_and_prepare()
    plain = opened(tmp_path).labels("train")
    wild = opened(tmp_path, columns=ColumnsConfig(label="wild")).labels("train")
    assert not np.array_equal(plain, wild)
    assert len(reads()) == 6


def test_lists_of_labels_are_kept_end_to_end(cache):
    examples = tf.data.Dataset.from_generator(
        lambda: zip((b"a", b"b", b"c", b"d"), ([5], [], [7, 7], [1]), strict=True),
        output_signature=(tf.TensorSpec((), tf.string), tf.TensorSpec((None,), tf.int64)),
    ).map(
        lambda name, label: {
            "id": name,
            "label": label,
            "content_hash": 11 + tf.cast(tf.io.decode_raw(name, tf.uint8)[0], tf.int64) - 97,
        }
    )
    read = read_index(examples, 4, "labels")
    again = kept_index("a/b c", {"of": 1}, lambda: read)
    (file,) = cache.iterdir()
    assert file.name.startswith("a-b-c-")
    kept = kept_index("a/b c", {"of": 1}, lambda: pytest.fail("it is kept"))
    assert kept_index("a/b c", {"of": 2}, lambda: LISTS) is LISTS
    for index in (read, again, kept):
        for name in ("ids", "content_hashes", "labels", "counts"):
            np.testing.assert_array_equal(getattr(index, name), getattr(LISTS, name))
        assert index.example_of_label().tolist() == [0, 2, 2, 3]
    rows = LISTS.rows(np.array([2, 1]))
    assert rows.ids.tolist() == [b"c", b"b"]
    assert rows.labels.tolist() == [7, 7]
    assert rows.content_hashes.tolist() == [13, 12]
    assert rows.counts.tolist() == [2, 0]
    both = rows + LISTS
    assert both.content_hashes.tolist() == [13, 12, 11, 12, 13, 14]
    assert both.example_of_label().tolist() == [0, 0, 2, 4, 4, 5]
    assert len(both) == 6


def test_more_examples_than_are_read_at_a_time(monkeypatch):
    monkeypatch.setattr(label_index, "_AT_A_TIME", 4)
    examples = tf.data.Dataset.range(10).map(
        lambda number: {
            "id": tf.strings.as_string(number),
            "label": number * 2,
            "content_hash": -number,
        }
    )
    index = read_index(examples, 10, "labels")
    assert index.labels.tolist() == list(range(0, 20, 2))
    assert index.content_hashes.tolist() == list(range(0, -10, -1))
    assert index.ids.tolist() == [b"%d" % number for number in range(10)]


def test_the_cache_is_where_the_user_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative"):  # the XDG specification ignores both
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_directory() == tmp_path / ".cache" / "cait_finetune" / "labels"


def test_records_that_are_damaged_are_named(cache, tmp_path):
    written(tmp_path, side=40)
    for path in tmp_path.rglob("*train.tfrecord*"):
        os.truncate(path, path.stat().st_size - 30)
    with pytest.raises(
        UserError, match=r"^dataset: got a damaged file of records \(truncated record"
    ):
        opened(tmp_path)


def test_a_description_that_is_damaged_is_named(cache, tmp_path):
    written(tmp_path)
    (described,) = tmp_path.rglob("dataset_info.json")
    os.truncate(described, 50)
    with pytest.raises(UserError, match=r"^dataset\.name: got 'pets', which TFDS cannot open: "):
        opened(tmp_path)
