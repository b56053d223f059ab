"""Find a TFDS data set, its classes and its splits."""

import dataclasses
import io
import socket

import numpy as np
import pytest
import tensorflow_datasets as tfds

from cait_finetune.cli.compose import configure
from cait_finetune.config import ColumnsConfig, DatasetConfig, SplitsConfig
from cait_finetune.data.aircraft import FgvcAircraft
from cait_finetune.data.decode import decode
from cait_finetune.data.load import load_source
from cait_finetune.data.source import SPLITS
from cait_finetune.data.targets import ANY_CLASSES, ONE_CLASS
from cait_finetune.data.tfds_features import find_keys
from cait_finetune.errors import UserError
from tests.cait_finetune.stand_ins import Patches, image_file, prepare


@pytest.mark.slow
def test_digits_are_three_disjoint_stratified_splits(tmp_path):
    source = load_source(DatasetConfig(source="digits", name="digits", data_dir=str(tmp_path)))
    assert source.sizes == {"train": 1257, "validation": 180, "test": 360}
    assert source.class_names == tuple("0123456789")
    seen = [[e["image"] for e in source.examples(r).as_numpy_iterator()] for r in source.sizes]
    assert len(set().union(*seen)) <= sum(len(images) for images in seen) == 1797
    counts = [0] * 10
    for example in source.examples("test"):
        counts[int(example["label"])] += 1
    assert min(counts) >= 34
    assert max(counts) <= 38


@pytest.mark.parametrize("source", ["digits", "tfds"])
def test_a_bucket_without_its_plugin(source):
    with pytest.raises(UserError, match=r"^dataset\.data_dir: got s3://b/x, expected a path that"):
        load_source(DatasetConfig(source=source, name="digits", data_dir="s3://b/x"))


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ({"train": 20}, ("train[:80%]", "train[80%:90%]", "train[90%:]")),
        ({"train": 20, "test": 5}, ("train[:90%]", "train[90%:]", "test")),
        ({"train": 20, "validation": 5}, ("train[:90%]", "train[90%:]", "validation")),
        ({"train": 20, "val": 5, "test": 6}, ("train", "val", "test")),
    ],
)
def test_splits_follow_what_the_set_has(has, expected, tmp_path):
    name = prepare(tmp_path, "patches_" + "_".join(has), SIZES=has)
    source = load_source(DatasetConfig(name=name, data_dir=str(tmp_path)))
    assert tuple(source.splits.values()) == expected
    assert sum(source.sizes.values()) == sum(has.values())


def test_unknown_name_suggests_a_near_one():
    with pytest.raises(
        UserError, match=r"dataset.name: got 'tf_flower'(.|\n)*did you mean tf_flowers"
    ):
        load_source(DatasetConfig(name="tf_flower"))


@pytest.mark.parametrize("splits", [{"train": "training"}, {"test": "train[:0]"}, {"test": "tr[["}])
def test_splits_that_are_not_there_or_empty(splits, tmp_path):
    name = prepare(tmp_path)
    config = DatasetConfig(name=name, data_dir=str(tmp_path), splits=SplitsConfig(**splits))
    with pytest.raises(UserError, match=f"dataset.splits.{next(iter(splits))}: got"):
        load_source(config)


def test_fewer_classes_than_labels(tmp_path):
    config = DatasetConfig(name=prepare(tmp_path), data_dir=str(tmp_path), num_classes=2)
    with pytest.raises(UserError, match=r"dataset.num_classes: got 2, expected at least 3"):
        load_source(config)


def test_plain_integer_labels_are_counted(tmp_path):
    name = prepare(tmp_path, "plain_patches", LABEL=tfds.features.Scalar(np.int64))
    config = DatasetConfig(name=name, data_dir=str(tmp_path))
    with pytest.raises(UserError, match=r"dataset.num_classes: got nothing"):
        load_source(config)
    config.num_classes = 2
    with pytest.raises(UserError, match=r"labels outside the class list: 2 (.|\n)*num_classes=3"):
        load_source(config)
    config.num_classes = 3
    assert load_source(config).class_names == ("class_0", "class_1", "class_2")


def test_without_a_network_the_error_names_the_download_command(tmp_path, monkeypatch):
    def fail(*_):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with pytest.raises(UserError) as error:
        load_source(DatasetConfig(name="tf_flowers", data_dir=str(tmp_path)))
    for part in ("tf_flowers", str(tmp_path), "download_and_prepare", "dataset.data_dir=DIR"):
        assert part in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["valid", "dev"])
def test_other_words_for_validation(name, tmp_path):
    prepare(tmp_path, SIZES={"train": 9, name: 3, "test": 3})
    source = load_source(DatasetConfig(name="colour_patches", data_dir=str(tmp_path)))
    assert source.splits == {"train": "train", "validation": name, "test": "test"}


def test_a_chosen_split_goes_before_the_usual_one(tmp_path):
    prepare(tmp_path, SIZES={"train": 20, "test": 6})
    splits = SplitsConfig(test="test[:50%]")
    source = load_source(
        DatasetConfig(name="colour_patches", data_dir=str(tmp_path), splits=splits)
    )
    assert source.splits["test"] == "test[:50%]"
    assert source.splits["validation"] == "train[90%:]"
    assert source.sizes == {"train": 18, "validation": 2, "test": 3}


@pytest.mark.slow
def test_the_usual_splits_have_no_example_in_common(tmp_path):
    prepare(tmp_path, SIZES={"train": 20})
    source = load_source(DatasetConfig(name="colour_patches", data_dir=str(tmp_path)))
    ids = [e["id"] for split in source.sizes for e in source.examples(split).as_numpy_iterator()]
    assert len(ids) == len(set(ids)) == 20


def test_without_train_all_three_have_to_be_named(tmp_path):
    prepare(tmp_path, SIZES={"complete": 20})
    config = DatasetConfig(name="colour_patches", data_dir=str(tmp_path))
    with pytest.raises(
        UserError, match=r"^dataset\.splits: .*colour_patches has complete and no train"
    ):
        load_source(config)
    config.splits = SplitsConfig(
        train="complete[:50%]", validation="complete[50%:75%]", test="complete[75%:]"
    )
    assert load_source(config).sizes == {"train": 10, "validation": 5, "test": 5}


def test_more_classes_than_labels(tmp_path):
    config = DatasetConfig(name=prepare(tmp_path), data_dir=str(tmp_path), num_classes=5)
    assert load_source(config).class_names == ("red", "green", "blue", "class_3", "class_4")


@pytest.mark.parametrize(
    "label", [tfds.features.Text(), tfds.features.Scalar(np.float32), tfds.features.BBoxFeature()]
)
def test_a_set_without_class_labels(label, tmp_path, monkeypatch):
    """The description of the set is enough for the error. Nothing is downloaded."""

    def describe(self):
        features = {"image": tfds.features.Image(), "label": label}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    attributes = {
        "__module__": __name__,
        "VERSION": tfds.core.Version("1.0.0"),
        "name": "unlabelled",
        "_info": describe,
        "_split_generators": lambda self, dl_manager: {},
        "_generate_examples": lambda self: iter(()),
    }
    with tfds.core.registered.skip_registration():
        kind = type("Unlabelled", (tfds.core.GeneratorBasedBuilder,), attributes)
    monkeypatch.setattr(tfds, "builder", lambda name, **options: kind(data_dir=tmp_path))
    with pytest.raises(UserError) as error:
        load_source(DatasetConfig(name="unlabelled"))
    message = str(error.value)
    assert message.startswith("dataset.name: got unlabelled, expected a set with one image and")
    fits = "" if isinstance(label, tfds.features.Text) else "label fits with task=regression, or "
    assert f"it has image, label\n  {fits}name them with dataset.columns.image=" in message


def test_a_builder_that_fails_to_open(monkeypatch):
    def fail(name, **options):
        raise ImportError("no module named pycocotools")

    monkeypatch.setattr(tfds, "builder", fail)
    with pytest.raises(UserError, match=r"dataset\.name: got 'coco'.*no module named pycocotools"):
        load_source(DatasetConfig(name="coco"))


def several(number: int) -> list[int]:
    """Return the classes of image `number`: none, one, two different, or the same class twice."""
    return [[], [0], [2, 0], [1, 1]][number % 4]


WEATHER = ("fog", "hail", "ice", "mist", "rain", "snow", "sun", "wind")


def weather(number: int) -> dict[str, bool]:
    return {name: number % (2 + at) == 0 for at, name in enumerate(WEATHER)}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> str:
    """Prepare a set whose images have labels of every kind; return its directory."""
    directory = tmp_path_factory.mktemp("labelled")
    features = {
        "image": tfds.features.Image(encoding_format="jpeg"),
        "thumbnail": tfds.features.Image(encoding_format="jpeg"),
        "colour": tfds.features.ClassLabel(names=["red", "green", "blue"]),
        "shade": tfds.features.ClassLabel(names=["dark", "light"]),
        "labels": tfds.features.Sequence(tfds.features.ClassLabel(names=["cat", "dog", "owl"])),
        "attributes": dict.fromkeys(WEATHER, np.bool_),
    }

    def info(self):
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def generate(self, size):
        for number in range(size):
            yield (
                number,
                {
                    "image": io.BytesIO(image_file((0, 0, 0), seed=number)),
                    "thumbnail": io.BytesIO(image_file((200, 0, 0), (8, 8), seed=number)),
                    "colour": number % 3,
                    "shade": number % 2,
                    "labels": several(number),
                    "attributes": weather(number),
                },
            )

    prepare(
        directory,
        "labelled",
        _info=info,
        _generate_examples=generate,
        _split_generators=lambda self, _: {"train": generate(self, 20), "test": generate(self, 8)},
    )
    return str(directory)


def of_labelled(data_dir: str, target=ONE_CLASS, image=None, label=None, **options):
    columns = ColumnsConfig(image=image, label=label)
    config = DatasetConfig(name="labelled", data_dir=data_dir, columns=columns, **options)
    return load_source(config, target)


def numbers(source, split: str) -> list[int]:
    """Return the numbers of a split's images in order. File bytes identify images of `labelled`."""
    known = {image_file((0, 0, 0), seed=number): number for number in range(20)}
    return [known[example["image"]] for example in source.examples(split).as_numpy_iterator()]


@pytest.mark.slow
def test_a_list_of_labels_becomes_zeros_and_ones(labelled):
    source = of_labelled(labelled, target=ANY_CLASSES)
    assert source.class_names == ("cat", "dog", "owl")
    assert source.target is ANY_CLASSES
    wanted = np.zeros((8, 3), "float32")
    for row, number in enumerate(numbers(source, "test")):
        wanted[row, several(number)] = 1
    labels = source.labels("test")
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels, wanted)
    np.testing.assert_array_equal(source.class_counts("test"), wanted.sum(axis=0))
    got = [example["label"] for example in source.examples("test").as_numpy_iterator()]
    np.testing.assert_array_equal(got, wanted)
    assert source.examples("test").element_spec["label"].shape == (3,)


def test_a_list_of_labels_may_have_more_classes_than_names(labelled):
    source = of_labelled(labelled, target=ANY_CLASSES, num_classes=4)
    assert source.class_names == ("cat", "dog", "owl", "class_3")
    np.testing.assert_array_equal(source.labels("test")[:, 3], 0)


@pytest.mark.slow
def test_attributes_become_zeros_and_ones_in_the_order_of_their_names(labelled):
    source = of_labelled(labelled, label="attributes", target=ANY_CLASSES)
    assert source.class_names == WEATHER
    wanted = [list(weather(number).values()) for number in numbers(source, "test")]
    np.testing.assert_array_equal(source.labels("test"), wanted)


@pytest.mark.slow
def test_one_of_several_class_labels_and_images_is_named(labelled):
    source = of_labelled(labelled, label="shade")
    assert source.class_names == ("dark", "light")
    assert source.labels("test").tolist() == [number % 2 for number in numbers(source, "test")]
    assert source.class_counts("test").tolist() == [4, 4]
    small = of_labelled(labelled, image="thumbnail", label="colour")
    images = {example["image"] for example in small.examples("test").as_numpy_iterator()}
    assert images == {image_file((200, 0, 0), (8, 8), seed=number) for number in range(8)}
    # Without a label column the usual name `labels` is chosen, although `attributes` fits too.
    assert of_labelled(labelled, image="thumbnail", target=ANY_CLASSES).label_key == "labels"


@pytest.mark.parametrize(
    ("columns", "target"),
    [
        ({"label": "weather"}, ONE_CLASS),
        ({"label": "labels"}, ONE_CLASS),
        ({"label": "attributes"}, ONE_CLASS),
        ({"label": "colour"}, ANY_CLASSES),
        ({"label": "colour", "image": "shade"}, ONE_CLASS),
        ({"label": "colour", "image": "picture"}, ONE_CLASS),
    ],
)
def test_columns_that_are_not_there_or_of_another_kind(labelled, columns, target):
    with pytest.raises(UserError) as error:
        of_labelled(labelled, target, **columns)
    message = str(error.value)
    assert f"expected a set with one image and {target.words} in each example; it has" in message
    assert "it has attributes, colour, image, labels, shade, thumbnail\n" in message


def test_the_error_suggests_the_task_that_another_column_fits(labelled):
    with pytest.raises(UserError, match=r"colour fits with task=classification") as error:
        of_labelled(labelled, image="picture", target=ANY_CLASSES)
    assert "dataset.columns.label=" in str(error.value)


@pytest.mark.slow
def test_other_label_columns_have_another_stamp(labelled):
    """A cache of a source holds its labels, so other labels need another stamp."""
    sources = [
        of_labelled(labelled, label="colour"),
        of_labelled(labelled, label="shade"),
        of_labelled(labelled, label="shade", image="thumbnail"),
        of_labelled(labelled, target=ANY_CLASSES),
        of_labelled(labelled, target=ANY_CLASSES, num_classes=4),
        of_labelled(labelled, label="attributes", target=ANY_CLASSES),
    ]
    prints = [str(source.stamp("train")) for source in sources]
    assert len(set(prints)) == len(prints)
    assert prints[0] == str(of_labelled(labelled, label="colour").stamp("train"))


@pytest.mark.parametrize(
    ("label", "target", "order"),
    [
        ("colour", ONE_CLASS, ("blue", "red", "green")),
        ("labels", ANY_CLASSES, ("owl", "cat", "dog")),
        ("attributes", ANY_CLASSES, tuple(reversed(WEATHER[:3])) + WEATHER[3:]),
    ],
)
def test_classes_in_another_order_keep_their_images(labelled, label, target, order):
    source = of_labelled(labelled, label=label, target=target)
    other = source.in_order(order)
    assert other.class_names == order
    columns = [source.class_names.index(name) for name in order]
    before, after = source.labels("test"), other.labels("test")
    if target is ANY_CLASSES:
        np.testing.assert_array_equal(after, before[:, columns])
    else:
        assert [order[one] for one in after] == [source.class_names[one] for one in before]
    assert not np.array_equal(before, after)
    assert after.dtype == before.dtype
    got = [example["label"] for example in other.examples("test").as_numpy_iterator()]
    np.testing.assert_array_equal(got, after)
    assert other.examples("test").element_spec == source.examples("test").element_spec
    np.testing.assert_array_equal(
        other.class_counts("train"), source.class_counts("train")[columns]
    )
    assert other.stamp("test") != source.stamp("test")
    back = other.in_order(source.class_names)
    np.testing.assert_array_equal(back.labels("test"), before)
    few = other.select({split: [("train", np.array([4, 2]))] for split in SPLITS})
    np.testing.assert_array_equal(few.labels("test"), other.labels("train")[[2, 4]])


@pytest.mark.parametrize(
    "order", [("blue", "red"), ("blue", "red", "grey"), ("red", "red", "blue")]
)
def test_an_order_of_other_classes_is_none(labelled, order):
    with pytest.raises(ValueError, match="in another order"):
        of_labelled(labelled, label="colour").in_order(order)


def test_class_names_in_another_order_are_other_examples(labelled):
    source = of_labelled(labelled, label="labels", target=ANY_CLASSES)
    other = dataclasses.replace(source, class_names=source.class_names[::-1])
    assert other.stamp("test") != source.stamp("test")


def test_files_read_at_a_time_are_the_order_of_the_examples(labelled):
    source = of_labelled(labelled, label="colour")
    other = dataclasses.replace(source, parallel_files=1)
    assert other.stamp("train") != source.stamp("train")


@pytest.mark.slow
def test_files_read_at_a_time(tmp_path, monkeypatch):
    prepare(tmp_path, SIZES={"train": 20, "test": 4})
    given, plain = [], tfds.ReadConfig

    def config(**options):
        given.append(options.get("interleave_cycle_length"))
        return plain(**options)

    monkeypatch.setattr(tfds, "ReadConfig", config)
    for files, wanted in ((None, None), (1, 1)):
        source = load_source(
            DatasetConfig(name="colour_patches", data_dir=str(tmp_path), parallel_files=files)
        )
        assert len(list(source.examples("test"))) == 4
        assert given.pop() == wanted


VARIANTS = ["707-320", "F/A-18", "Boeing 717", *(f"type {number}" for number in range(97))]


#: The label of each image in each list of the archive.
IMAGES = {"train": {0: 0, 1: 1, 2: 2, 3: 99}, "val": {4: 1, 5: 99}, "test": {6: 2}}


@pytest.fixture
def aircraft(tmp_path, monkeypatch):
    """Return the set, made from an archive with seven images, and the URLs that were requested."""
    data = tmp_path / "archive" / "fgvc-aircraft-2013b" / "data"
    (data / "images").mkdir(parents=True)
    (data / "variants.txt").write_text("\n".join(VARIANTS) + "\n")
    for name, labels in IMAGES.items():
        lines = []
        for number, label in labels.items():
            image = image_file((90, 120, 200), seed=number)
            (data / "images" / f"{number:07}.jpg").write_bytes(image)
            lines.append(f"{number:07} {VARIANTS[label]}\n")
        (data / f"images_variant_{name}.txt").write_text("".join(lines))
    asked = []

    def archive(self, url):
        asked.append(url)
        return tmp_path / "archive"

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", archive)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    source = load_source(DatasetConfig(name="fgvc_aircraft", data_dir=str(tmp_path / "tfds")))
    return source, asked


def test_aircraft_has_its_own_splits_names_and_images(aircraft):
    source, (url,) = aircraft
    assert url.startswith("https://www.robots.ox.ac.uk/")
    assert source.sizes == {"train": 4, "validation": 2, "test": 1}
    assert source.class_names == tuple(VARIANTS)
    seen = {}
    for split in source.sizes:
        for example in source.examples(split).as_numpy_iterator():
            seen[example["image"]] = (split, int(example["label"]))
    wanted = {
        image_file((90, 120, 200), seed=number): (split, label)
        for split, labels in zip(SPLITS, IMAGES.values(), strict=True)
        for number, label in labels.items()
    }
    assert seen == wanted


def test_aircraft_once_prepared_needs_no_archive(aircraft, tmp_path, monkeypatch):
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", None)
    again = load_source(DatasetConfig(name="fgvc_aircraft", data_dir=str(tmp_path / "tfds")))
    assert again.class_names == tuple(VARIANTS)
    assert again.labels("validation").tolist() in ([1, 99], [99, 1])


def test_aircraft_is_found_by_its_name():
    assert FgvcAircraft.name == "fgvc_aircraft"
    assert FgvcAircraft.name in tfds.list_builders()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("feature", "refused"),
    [
        ({"shape": (8, 8, 1)}, ""),
        ({"shape": (8, 8, 3)}, ""),
        ({"shape": (8, 8, 4)}, ""),
        ({"shape": (None, None, None)}, ""),
        ({"shape": (8, 8, 1), "dtype": np.uint16}, "'image', whose pixels are uint16"),
        ({"shape": (8, 8, 3), "dtype": np.uint16}, "'image', whose pixels are uint16"),
        ({"shape": (8, 8, 1), "dtype": np.float32}, "'image', whose pixels are float32"),
    ],
)
def test_pictures_that_are_not_of_eight_bits_are_refused(feature, refused, tmp_path):
    """Decoded as 8 bits, 12-bit images in uint16 would be black and float images noise."""
    kind = feature.get("dtype", np.uint8)
    shape = tuple(size or 3 for size in feature["shape"])
    image = np.random.default_rng(0).integers(0, 256, shape).astype(kind)

    def info(self):
        names = tfds.features.ClassLabel(names=["cat", "dog"])
        features = {"image": tfds.features.Image(**feature), "label": names}
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def generate(self, split, size):
        for number in range(size):
            yield number, {"image": image, "label": number % 2}

    prepare(tmp_path, "pictures", _info=info, _generate_examples=generate)
    config = DatasetConfig(name="pictures", data_dir=str(tmp_path))
    if not refused:
        source = load_source(config)
        (bytes_,) = {one["image"] for one in source.examples("train").as_numpy_iterator()}
        pixels = np.broadcast_to(image, (*shape[:2], 3)) if shape[2] == 1 else image[..., :3]
        np.testing.assert_array_equal(decode(bytes_), pixels)
        return
    grey = shape[2] == 1 and feature["dtype"] == np.uint16
    advice = (
        "Set model.in_channels=1." if grey else "Prepare the set with pixels scaled to 0 to 255"
    )
    with pytest.raises(UserError) as error:
        load_source(config)
    assert str(error.value) == (
        f"dataset.columns.image: got {refused}, expected pictures of 8 bits (uint8) with model.in_channels=3\n"
        f"  {advice}"
    )


def test_pictures_with_other_channels_are_refused(tmp_path):
    builder = prepare_description(tmp_path, tfds.features.Image(shape=(8, 8, 5)))
    with pytest.raises(
        UserError, match=r"dataset\.columns\.image: got 'image' with 5 channels, expected"
    ):
        find_keys(builder, DatasetConfig(name="strange"), ONE_CLASS)


def prepare_description(directory, image):
    features = {"image": image, "label": tfds.features.ClassLabel(num_classes=2)}
    body = {
        "__module__": __name__,
        "VERSION": tfds.core.Version("1.0.0"),
        "name": "strange",
        "_info": lambda self: self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features)
        ),
        "_split_generators": lambda self, _: {},
        "_generate_examples": lambda self: iter(()),
    }
    with tfds.core.registered.skip_registration():
        return type("Strange", (tfds.core.GeneratorBasedBuilder,), body)(data_dir=directory)


def test_class_names_in_another_order_number_the_labels_anew(labelled):
    plain = of_labelled(labelled, label="colour")
    names = ["blue", "red", "green"]
    source = of_labelled(labelled, label="colour", class_names=names)
    assert source.class_names == tuple(names)
    assert [names[label] for label in source.labels("test")] == [
        plain.class_names[label] for label in plain.labels("test")
    ]
    assert not np.array_equal(source.labels("test"), plain.labels("test"))
    several = of_labelled(labelled, target=ANY_CLASSES, class_names=["owl", "dog", "cat"])
    np.testing.assert_array_equal(
        several.labels("test"), of_labelled(labelled, target=ANY_CLASSES).labels("test")[:, ::-1]
    )
    names = list(reversed(WEATHER))
    assert of_labelled(
        labelled, label="attributes", target=ANY_CLASSES, class_names=names
    ).class_names == tuple(names)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["red", "green"], "got 2 names, without blue, expected the 3 classes of labelled in any"),
        (
            ["red", "gren", "blue"],
            "got 3 names, among them gren, without green, expected the 3 classes of labelled in any "
            "order: red, green, blue\n  did you mean green?",
        ),
        (["red", "green", "blue", "grey"], "got 4 names, among them grey, expected the 3 classes"),
    ],
)
def test_class_names_that_the_set_does_not_have_are_refused(labelled, names, said):
    with pytest.raises(UserError) as error:
        of_labelled(labelled, label="colour", class_names=names)
    assert str(error.value).startswith(f"dataset.class_names: {said}")


@pytest.mark.slow
def test_class_names_for_labels_that_are_numbers(tmp_path):
    names = ["ant", "bee", "cow"]
    plain = prepare(tmp_path, "plain", LABEL=tfds.features.Scalar(np.int64), SIZES={"train": 30})
    config = DatasetConfig(name=plain, data_dir=str(tmp_path))
    before = load_source(dataclasses.replace(config, num_classes=3))
    source = load_source(dataclasses.replace(config, class_names=names))
    assert source.class_names == tuple(names)
    assert source.labels("train").tolist() == before.labels("train").tolist()
    with pytest.raises(UserError, match="outside the class list: 2 "):
        load_source(dataclasses.replace(config, class_names=names[:2]))
    with pytest.raises(UserError, match=r"dataset\.class_names: got 3 names(.|\n)*the 4 classes"):
        load_source(dataclasses.replace(config, class_names=names, num_classes=4))
    numbered = prepare(
        tmp_path, "numbered", LABEL=tfds.features.ClassLabel(num_classes=3), SIZES={"train": 30}
    )
    config = DatasetConfig(name=numbered, data_dir=str(tmp_path))
    assert load_source(config).class_names == ("0", "1", "2")
    assert load_source(dataclasses.replace(config, class_names=names)).class_names == tuple(names)
    turned = load_source(dataclasses.replace(config, class_names=["2", "1", "0"]))
    assert turned.labels("train").tolist() == [
        2 - label for label in load_source(config).labels("train")
    ]
    for mixed in (["2", "bee", "0"], ["1", "0", "cow"], ["class_1", "ant", "cow"]):
        with pytest.raises(UserError, match="at the place of another number, beside names"):
            load_source(dataclasses.replace(config, class_names=mixed))
    kept = dataclasses.replace(config, class_names=["0", "bee", "2"])
    assert load_source(kept).class_names == ("0", "bee", "2")
    more = DatasetConfig(name=prepare(tmp_path), data_dir=str(tmp_path), num_classes=4)
    more.class_names = ["red", "green", "blue", "grey"]
    assert load_source(more).class_names == ("red", "green", "blue", "grey")


def test_class_names_that_are_learnt_by_preparing(tmp_path, monkeypatch):
    """The builder knows its class names only after it has read its archive."""

    def learn(self, dl_manager):
        self.info.features["label"].names = ["ant", "bee", "cow"]
        return {"train": self._generate_examples("train", 30)}

    kinds = {}

    def build(name, data_dir, **options):
        return kinds[name](data_dir=data_dir)

    with tfds.core.registered.skip_registration():
        label = tfds.features.ClassLabel()
        body = {"LABEL": label, "_split_generators": learn, "name": "learnt"}
        kinds["learnt"] = type("Learnt", (Patches,), {**body, "__module__": __name__})
    monkeypatch.setattr(tfds, "builder", build)
    source = load_source(DatasetConfig(name="learnt", data_dir=str(tmp_path)))
    assert source.class_names == ("ant", "bee", "cow")


FOLDER_NAMES = ("green", "red", "blue")


@pytest.fixture(params=[False, True], ids=["one label", "several labels"])
def renamed(request, tmp_path, monkeypatch):
    """Prepare a set, then write its class names into the folder in another order than its code's.

    Returns:
        The configuration of the set, and the file with the class names.
    """
    with tfds.core.registered.skip_registration():
        label = tfds.features.ClassLabel(names=["red", "green", "blue"])
        body = {"name": "renamed", "__module__": __name__, "LABEL": label}
        if request.param:

            def examples(self, split, size):
                for number, example in Patches._generate_examples(self, split, size):
                    yield number, {**example, "label": [example["label"]]}

            body |= {"LABEL": tfds.features.Sequence(label), "_generate_examples": examples}
        kind = type("Renamed", (Patches,), body)
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir, **_: kind(data_dir=data_dir))
    builder = kind(data_dir=tmp_path)
    builder.download_and_prepare()
    file = builder.data_path / "label.labels.txt"
    file.write_text("\n".join(FOLDER_NAMES) + "\n")
    config = DatasetConfig(name="renamed", data_dir=str(tmp_path))
    return config, ANY_CLASSES if request.param else ONE_CLASS, file


@pytest.mark.slow
def test_the_names_in_the_prepared_folder_precede_those_in_the_code(renamed):
    config, target, file = renamed
    source = load_source(config, target)
    assert source.class_names == FOLDER_NAMES
    assert source.notes == (
        f"data   class names of {file}, which differ from those in the code of renamed",
        "split  train is train[:80%], validation is train[80%:90%], test is train[90%:]",
    )
    turned = load_source(dataclasses.replace(config, class_names=["red", "green", "blue"]), target)
    assert turned.class_names == ("red", "green", "blue")
    column = np.argmax if target is ANY_CLASSES else int
    names = [
        [one.class_names[column(label)] for label in one.labels("test")] for one in (source, turned)
    ]
    assert names[0] == names[1]
    file.write_text("red\ngreen\nblue\n")
    assert [
        note for note in load_source(config, target).notes if not note.startswith("split  ")
    ] == []
    file.unlink()
    assert load_source(config, target).class_names == ("red", "green", "blue")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"red\ngreen\n", r"\(2 names\), expected the names of its 3 classes"),
        (b"red\ngreen\nred\n", r"duplicated.*expected"),
        (b"red\n\xff\nblue\n", r"codec.*expected"),
    ],
)
def test_names_in_the_prepared_folder_that_cannot_be_right(renamed, content, said):
    config, target, file = renamed
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"dataset\.name: got renamed with .*{said}"):
        load_source(config, target)


def test_a_folder_of_ones_own_images_is_no_place_for_a_tfds_set(tmp_path):
    (tmp_path / "ant").mkdir()
    (tmp_path / "ant" / "1.JPG").touch()
    with pytest.raises(
        UserError, match=r"dataset\.data_dir: got .*images in ant, .*\n  Set dataset=folder"
    ):
        load_source(configure(f"dataset.data_dir={tmp_path}").dataset)
    assert [path.name for path in tmp_path.iterdir()] == ["ant"]
