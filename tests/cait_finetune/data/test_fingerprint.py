"""Fingerprints: which changes they detect, and how the changes are described."""

import dataclasses
import json
import zlib

import numpy as np
import pytest

from cait_finetune.data.fingerprint import Fingerprint, fingerprint
from cait_finetune.data.image_files.files import Files, FileSource
from cait_finetune.data.targets import ANY_CLASSES

IDS = {"train": ["ant/1.jpg", "bee/1.jpg", "bee/2.jpg"], "validation": ["ant/2.jpg"]}
IDS["test"] = ["bee/3.jpg", "ant/3.jpg"]
CLASSES = ("ant", "bee")


def source(root="/here", classes=CLASSES, ids=None, weights=None, contents=()):
    """Return a source of images that do not exist as files.

    The content of an image is its id, or the text to which `contents` maps the id. `contents` `None`:
    the contents are unknown, because no file was opened.
    """
    files = {}
    for split, names in (ids or IDS).items():
        labels = [classes.index(name.partition("/")[0]) for name in names]
        paths = np.array([f"{root}/{name}" for name in names], object)
        of_split = None if weights is None else np.full(len(names), weights, np.float32)
        hashes = None
        if contents is not None:
            hashes = np.array(
                [zlib.crc32(dict(contents).get(name, name).encode()) for name in names]
            )
        files[split] = Files(
            paths, np.array(names, object), np.array(labels, np.int32), of_split, hashes
        )
    sizes = {split: len(one) for split, one in files.items()}
    return FileSource(classes, sizes, files=files, weighted=weights is not None)


def test_data_that_moved_is_the_same_data():
    assert fingerprint(source())[0] == fingerprint(source("/there"))[0]


def test_the_order_of_the_classes_does_not_count():
    one, other = fingerprint(source())[0], fingerprint(source(classes=("bee", "ant")))[0]
    assert one.splits == other.splits
    assert one.digest == other.digest


@pytest.mark.parametrize(
    "changed",
    [
        source(ids={**IDS, "train": IDS["train"][:2]}),
        source(ids={**IDS, "train": [*IDS["train"], "ant/9.jpg"]}),
        source(ids={**IDS, "train": IDS["train"][::-1]}),
        source(ids={**IDS, "test": IDS["validation"], "validation": IDS["test"]}),
        source(classes=("ant", "bee", "cow")),
        source(weights=0.5),
        source(contents={"bee/2.jpg": "another picture"}),
    ],
)
def test_every_change_of_the_data_changes_the_digest(changed):
    assert fingerprint(changed)[0].digest != fingerprint(source())[0].digest


def test_a_label_counts_and_not_only_where_the_image_is():
    files = source().files["train"]
    relabelled = dataclasses.replace(files, labels=1 - files.labels)
    changed = dataclasses.replace(source(), files={**source().files, "train": relabelled})
    assert fingerprint(changed)[0].splits["train"] != fingerprint(source())[0].splits["train"]


def test_several_labels_of_an_image():
    labels = {
        split: np.eye(2, dtype="float32")[one.labels] for split, one in source().files.items()
    }
    files = {
        split: dataclasses.replace(one, labels=labels[split])
        for split, one in source().files.items()
    }
    several = dataclasses.replace(source(), files=files, target=ANY_CLASSES)
    assert fingerprint(several)[0] == fingerprint(source())[0]
    labels["test"][0] = 1
    assert fingerprint(several)[0] != fingerprint(source())[0]


def test_a_fingerprint_survives_json():
    found, _ = fingerprint(source())
    values = json.loads(json.dumps(found.as_dict()))
    assert Fingerprint.from_dict(values) == found
    assert values["sha256"] == found.digest
    assert values["splits"]["train"]["size"] == 3


def test_unknown_contents_match_any_contents():
    """Unknown contents match any contents: of unopened files, and in records of an older version."""
    known, unknown = fingerprint(source())[0], fingerprint(source(contents=None))[0]
    assert (known.has_contents, unknown.has_contents) == (True, False)
    assert known.matches(unknown)
    assert unknown.matches(known)
    values = unknown.as_dict()
    for one in values["splits"].values():
        assert one.pop("content_sha256") == ""
    assert Fingerprint.from_dict(values) == unknown
    fewer = fingerprint(source(ids={**IDS, "test": IDS["test"][:1]}, contents=None))[0]
    assert not fewer.matches(known)


def test_absolute_paths_do_not_count():
    def absolute(root):
        ids = {split: [f"{root}/{name}" for name in names] for split, names in IDS.items()}
        names = {f"{root}/{name}": name for names in IDS.values() for name in names}
        one = source(contents=names)
        files = {
            split: dataclasses.replace(files, ids=np.array(ids[split], object))
            for split, files in one.files.items()
        }
        return fingerprint(dataclasses.replace(one, files=files))

    assert absolute("/data/old") == absolute("/mnt/new") == absolute("gs://bucket/a")
    assert absolute("/data/old")[0] == fingerprint(source())[0]
