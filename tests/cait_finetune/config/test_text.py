"""The keys that hold text, and their characters in a YAML file."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from cait_finetune.config.text import Kind, kind_of, texts

TEXT, OPTIONAL = Kind(several=False, optional=False), Kind(several=False, optional=True)


@pytest.mark.parametrize(
    ("key", "kind"),
    [("dataset.name", TEXT), ("dataset.data_dir", OPTIONAL), ("resume", OPTIONAL), ("hydra.run.dir", TEXT),
     ("hydra.sweep.dir", TEXT), ("logger.wandb.name", OPTIONAL), ("dataset.class_names", Kind(True, True)),
     ("logger.wandb.tags", Kind(True, False)), ("export.quantise", Kind(True, False)),
     ("dataset.class_names.0", TEXT), ("hydra.searchpath", Kind(True, False)), ("seed", None), ("dataset", None),
     ("train.epochs", None), ("augment.crop_scale", None), ("dataset.splits.shares.0", None), ("no.such", None)],
)  # fmt: skip
def test_kind_of_names_the_kind_of_each_text_key(key, kind):
    assert kind_of(key) == kind


def found(document, prefix=""):
    return {".".join(map(str, place)): text for place, text in texts(document, prefix)}


def test_text_keys_have_the_characters_of_the_file():
    document = """
    dataset:
      data_dir: 2024_01
      name: 1e3 # a comment
      license: ~
      homepage:
      metric: 'x: y'
      num_classes: 012
      class_names: [no, yes, 012, ~, 1:30]
      columns: {classes: [on, off], label: 0x10}
    seed: 1_0
    """
    assert found(document) == {
        "dataset.data_dir": "2024_01", "dataset.name": "1e3", "dataset.metric": "x: y",
        "dataset.class_names.0": "no", "dataset.class_names.1": "yes", "dataset.class_names.2": "012",
        "dataset.class_names.3": "~", "dataset.class_names.4": "1:30", "dataset.columns.classes.0": "on",
        "dataset.columns.classes.1": "off", "dataset.columns.label": "0x10",
    }  # fmt: skip


def test_a_package_prefix_is_part_of_the_key():
    assert found("name: 1e3\nseed: 1e3", "dataset.") == {"name": "1e3"}
    assert found("") == {}


def test_the_own_key_is_before_a_merged_one():
    document = "dataset:\n  columns: &c {label: 01}\n  splits: {<<: *c, train: 02}\n"
    assert found(document) == {"dataset.columns.label": "01", "dataset.splits.train": "02"}
    document = "dataset:\n  splits: {train: 02, <<: {train: 01, test: 03}}\n"
    assert found(document) == {"dataset.splits.train": "02", "dataset.splits.test": "03"}


@pytest.mark.parametrize(
    "text", ["2024_01", "1e3", "no", "012", "~", "null", "1:30", "0x10", "1.10", "", "2024-01-02", "a: b", "[a]", "# x"]
)  # fmt: skip
def test_a_saved_configuration_is_read_as_it_was(text, tmp_path):
    node = OmegaConf.create({"dataset": {"data_dir": text, "class_names": [text, "b"]}})
    OmegaConf.save(node, tmp_path / "config.yaml")
    assert OmegaConf.load(tmp_path / "config.yaml") == node
    assert found((tmp_path / "config.yaml").read_text())["dataset.data_dir"] == text
