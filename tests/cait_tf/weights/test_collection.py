import json
import shutil

import numpy as np
import pytest

from cait_tf import WeightsError
from cait_tf.weights import collection
from tests.cait_tf import golden

pytest.importorskip("tensorflow", reason="the collection's checkpoints are read by TensorFlow")
import tensorflow as tf

CLASSIFIER = golden.COLLECTION / "cait_tiny_64"
FEATURE_EXTRACTOR = golden.COLLECTION / "cait_tiny_64_fe"


@pytest.mark.parametrize("path", [CLASSIFIER, FEATURE_EXTRACTOR], ids=lambda path: path.name)
def test_every_variable_of_the_checkpoint_is_read(path):
    variables = json.loads((golden.COLLECTION / f"{path.name}_variables.json").read_text())
    assert len(collection.read(path)) == len(variables)


@pytest.mark.parametrize("inside", ["", "variables"])
def test_the_checkpoint_is_found_from_either_directory(inside):
    assert collection.checkpoint_prefix(CLASSIFIER / inside) == CLASSIFIER / "variables/variables"


def test_a_directory_without_a_checkpoint_is_refused(tmp_path):
    assert collection.checkpoint_prefix(tmp_path) is None
    with pytest.raises(WeightsError, match="expected a SavedModel with variables/variables"):
        collection.read(tmp_path)


def test_a_checkpoint_of_something_else_lists_what_has_no_place(tmp_path):
    checkpoint = tf.train.Checkpoint(stem=tf.Variable([1.0, 2.0]), step=tf.Variable(3))
    checkpoint.write(str(tmp_path / "variables" / "variables"))
    with pytest.raises(WeightsError, match="1 variables are unknown: stem/"):
        collection.read(tmp_path)


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(CLASSIFIER, tmp_path / "copy") / "variables"


def test_a_damaged_index_is_refused(copy):
    (copy / "variables.index").write_bytes(b"not a table")
    with pytest.raises(WeightsError, match="whose checkpoint is damaged"):
        collection.read(copy)


def test_missing_data_is_refused(copy):
    (copy / "variables.data-00000-of-00001").unlink()
    with pytest.raises(WeightsError, match="whose checkpoint is damaged"):
        collection.read(copy)


@pytest.mark.parametrize("kept", [100, 100_000], ids=lambda kept: f"{kept} bytes")
def test_truncated_data_is_refused(kept, copy):
    data = copy / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:kept])
    with pytest.raises(WeightsError, match="whose checkpoint is damaged"):
        collection.read(copy)


def test_kernels_need_no_transpose():
    tensors = collection.read(CLASSIFIER)
    assert tensors["blocks.0.attn.qkv.weight"].shape == (96, 3 * 96)
    assert tensors["patch_embed.proj.weight"].shape == (16, 16, 3, 96)
    assert {array.dtype for array in tensors.values()} == {np.dtype("float32")}
