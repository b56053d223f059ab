"""Parallel micro-batches: their number, and results equal to the whole batch."""

from __future__ import annotations

import functools
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from cait_tf import CaiTBackbone, CaiTClassifier
from cait_tf.fused import micro_batches, thresholds
from cait_tf.fused import tensorflow as kernels
from tests.cait_tf.arrays import normal
from tests.cait_tf.fused.xla import CPU_ALONE

NEAR = {"float32": 1e-5, "mixed_bfloat16": 0.05}


@pytest.fixture
def small(monkeypatch) -> None:
    """Allow micro-batches of two 4-patch images in training and four in inference."""
    monkeypatch.setattr(thresholds, "LEAST_PATCHES", {True: 8, False: 16})
    monkeypatch.setattr(thresholds, "LEAST_PAIRS", {False: 64, True: 64})


def loops(function: tf.types.experimental.GenericFunction, *inputs: object) -> list[int]:
    """Return the number of parallel iterations of each loop of the graph."""
    graph = function.get_concrete_function(*inputs).graph.as_graph_def()
    nodes = [*graph.node, *(node for one in graph.library.function for node in one.node_def)]
    return [node.attr["parallel_iterations"].i for node in nodes if node.op.endswith("While")]


@pytest.mark.parametrize(
    ("images", "patches", "float32", "half_training", "half_inference"),
    [
        (16, 196, (8, 8), 4, 2),
        (64, 196, (32, 32), 16, 8),
        (56, 196, (28, 28), 14, 7),
        (6, 196, (3, 3), 1, 1),  # half precision: 1.5 and 0.75 times the least size
        (10, 196, (5, 5), 2, 1),  # 2.5 and 1.25 times the least size
        (16, 256, (8, 8), 4, 2),
        (97, 196, (1, 1), 1, 1),  # a prime number
        (64, 64, (4, 2), 4, 2),
        (128, 16, (2, 1), 2, 1),  # small images: patches set the limit, not pairs
        (1, 784, (1, 1), 1, 1),
        (4, 576, (4, 4), 4, 4),
        (3, 2000, (3, 3), 3, 3),
        (2, 9, (1, 1), 1, 1),
    ],
)
def test_parts_are_equal_and_not_too_small(images, patches, float32, half_training, half_inference):
    parts = functools.partial(kernels.micro_batch_count, images, patches)
    assert tuple(parts(training=training, half=False) for training in (True, False)) == float32
    assert parts(training=True, half=True) == half_training
    assert parts(training=False, half=True) == half_inference


@CPU_ALONE
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_the_dtype_of_the_backbone_sets_the_number_of_micro_batches(dtype, monkeypatch):
    monkeypatch.setattr(thresholds, "LEAST_PAIRS", {False: 32, True: 128})
    model = CaiTClassifier(
        num_classes=2, image_size=8, patch_size=4, embed_dim=16, depth=1, num_heads=2, dtype=dtype
    )

    @tf.function
    def parts(images: tf.Tensor) -> int:
        of_backbone = kernels.training_micro_batches(model.backbone, images)
        assert kernels.training_micro_batches(model, images) == of_backbone
        return of_backbone

    assert parts(tf.zeros([16, 8, 8, 3])) == (8 if dtype == "float32" else 2)


@pytest.mark.slow
@CPU_ALONE
@pytest.mark.parametrize(
    ("dtype", "patches", "pairs", "number"),
    [("float32", 16, 1000, 3), ("float32", 1000, 16, 12), ("mixed_bfloat16", 1000, 64, 3)],
)
def test_inference_in_micro_batches_equals_whole_inference(
    dtype, patches, pairs, number, monkeypatch
):
    backbone = CaiTBackbone(
        image_size=8, patch_size=4, embed_dim=16, depth=1, num_heads=2, dtype=dtype
    )
    monkeypatch.setattr(thresholds, "LEAST_PATCHES", {False: patches})
    monkeypatch.setattr(thresholds, "LEAST_PAIRS", dict.fromkeys((False, True), pairs))
    images = tf.constant(normal(12, 8, 8, 3), tf.float32)
    parts = tf.function(lambda x: kernels.infer(backbone, x))
    plain = tf.function(lambda x: backbone(x, training=False))(images)
    assert loops(parts, images) == [kernels.concurrent_micro_batches(number)]
    assert parts(images).dtype == plain.dtype
    near = NEAR[dtype] * np.abs(plain).max()
    np.testing.assert_allclose(parts(images), plain, rtol=0, atol=near)


@CPU_ALONE
def test_results_of_any_structure_come_back_in_the_order_of_the_images(small):
    class Marks:
        patch_size = 4

        def __call__(self, images, training):
            first = images[:, 0, 0, 0]  # (B,)
            return {"first": first, "pair": (tf.cast(first, tf.int32), images[:, :1])}

    images = tf.reshape(tf.range(12 * 8 * 8 * 3, dtype=tf.float32), [12, 8, 8, 3])
    parts = tf.function(lambda x: kernels.infer(Marks(), x))
    result = parts(images)
    assert len(loops(parts, images)) == 1
    np.testing.assert_array_equal(result["first"], images[:, 0, 0, 0])
    np.testing.assert_array_equal(result["pair"][0], images[:, 0, 0, 0])
    np.testing.assert_array_equal(result["pair"][1], images[:, :1])


@pytest.mark.slow
def test_a_batch_of_unknown_size_is_not_divided(small):
    backbone = CaiTBackbone(image_size=8, patch_size=4, embed_dim=16, depth=1, num_heads=2)
    infer = tf.function(lambda x: kernels.infer(backbone, x))
    assert loops(infer, tf.TensorSpec([None, 8, 8, 3])) == []
    assert infer(tf.zeros([12, 8, 8, 3])).shape == (12, 16)


@pytest.mark.slow
def test_a_batch_is_not_divided_eagerly_or_on_an_accelerator(small, monkeypatch):
    backbone = CaiTBackbone(image_size=8, patch_size=4, embed_dim=16, depth=1, num_heads=2)
    images = tf.zeros([12, 8, 8, 3])
    monkeypatch.setattr(micro_batches.tf, "map_fn", None)
    assert kernels.infer(backbone, images).shape == (12, 16)
    monkeypatch.setattr(micro_batches, "cpu_alone", lambda: False)
    assert tf.function(lambda x: kernels.infer(backbone, x))(images).shape == (12, 16)
    assert kernels.concurrent_micro_batches(3) == 1


@pytest.mark.slow
def test_split_patches_computes_every_patch_in_two_halves():
    """Of nine patches, one half is larger."""
    backbone = CaiTBackbone(
        image_size=12, patch_size=4, embed_dim=16, depth=2, num_heads=2, layer_scale_init=0.5
    )
    for variable in backbone.weights:  # biases must not be zero either
        variable.assign(normal(*variable.shape) * 0.5)
    images = tf.constant(normal(3, 12, 12, 3), tf.float32)

    def softmaxes() -> int:
        """Trace the backbone, check its output, and return the number of softmaxes."""
        function = tf.function(lambda x: backbone(x, training=False))
        np.testing.assert_allclose(function(images), backbone(images), rtol=0, atol=1e-5)
        nodes = function.get_concrete_function(images).graph.as_graph_def().node
        return sum(node.op == "Softmax" for node in nodes)

    whole = softmaxes()
    with kernels.split_patches():
        assert softmaxes() == whole + 2  # one more per trunk block
    assert softmaxes() == whole


def test_attention_maps_and_single_blocks_are_of_all_patches_in_halves_too():
    backbone = CaiTBackbone(image_size=8, patch_size=4, embed_dim=16, depth=1, num_heads=2)
    images = tf.constant(normal(1, 8, 8, 3), tf.float32)
    wanted = backbone(images, return_attention=True)[1]["sa_ffn_block_0_att"]
    with kernels.split_patches():
        maps = backbone(images, return_attention=True)[1]["sa_ffn_block_0_att"]
        _, [block] = backbone.forward_intermediates(images)
    np.testing.assert_array_equal(maps, wanted)
    assert block.shape == (1, 2, 2, 16)


@CPU_ALONE
def test_concurrent_micro_batches_are_limited_to_the_cores(monkeypatch):
    monkeypatch.setattr(micro_batches, "_cores", lambda: 4)
    assert [kernels.concurrent_micro_batches(parts) for parts in (1, 4, 16)] == [1, 4, 4]


def test_the_threads_that_tensorflow_was_given_count_as_cores(monkeypatch):
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "3")
    assert micro_batches._cores() == 3


@pytest.mark.slow
def test_operations_have_one_thread_where_parts_keep_all_cores_busy():
    """Each case needs a process of its own, because a process sets its threads once.

    One process imports TensorFlow, which takes seconds, and forks before TensorFlow starts.
    """
    code = """
import os
import tensorflow as tf
from cait_tf.fused.tensorflow import single_threaded_ops
for cores, started, parts in ((2, False, 2), (2, False, 1), (2, True, 2), (1, False, 2)):
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
        continue
    os.environ["TF_NUM_INTEROP_THREADS"] = str(cores)
    if started:
        tf.zeros(1)
    alone = single_threaded_ops(parts)
    print(alone, tf.config.threading.get_intra_op_parallelism_threads(), flush=True)
    os._exit(0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"CUDA_VISIBLE_DEVICES": "-1", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["True 1", "False 0", "False 0", "False 0"]
