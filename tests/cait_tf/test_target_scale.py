"""The scale of a regressor's targets: its statistics against numpy, and its fold into a head."""

import numpy as np
import pytest

import cait_tf
from cait_tf.heads import build_head, is_batch_statistic, is_statistic
from cait_tf.target_scale import TargetScale, folded

LABELS = np.random.default_rng(0).normal([1e6, -2.0], [3.0, 1e-3], (50, 2))


def test_outputs_are_scaled_in_float32():
    scale = TargetScale(2, dtype="mixed_bfloat16")
    outputs = np.array([[0.5, -1.0], [0.1, 3.0]], "float32")
    np.testing.assert_array_equal(scale(outputs), outputs)
    scale.set([10.0, -1.0], [2.0, 0.5])
    assert scale.compute_dtype == "float32"
    np.testing.assert_allclose(scale(outputs), outputs * [2.0, 0.5] + [10.0, -1.0], rtol=1e-6)


def test_adapt_takes_mean_and_population_std_in_float64():
    scale = TargetScale(2)
    scale.adapt(LABELS)
    np.testing.assert_allclose(scale.mean, LABELS.mean(0), rtol=1e-7)
    np.testing.assert_allclose(scale.std, LABELS.std(0), rtol=1e-6)
    single = TargetScale(1)
    single.adapt([1, 3])
    assert (float(single.mean[0]), float(single.std[0])) == (2.0, 1.0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[1.0, 2.0], [3.0, 2.0]], "labels: got 2 in all rows for target b, expected at least two"),
        ([[1.0, 2.0], [np.nan, 3.0]], "labels: got nan for target a, expected finite numbers"),
        ([[1.0, 2.0], [2.0, np.inf]], "labels: got inf for target b, expected finite numbers"),
        ([[1.0], [2.0]], r"labels: got shape \(2, 1\), expected \(N, 2\)"),
        ([1.0, 2.0], r"labels: got shape \(2,\), expected \(N, 2\)"),
        (np.zeros((0, 2)), r"labels: got shape \(0, 2\), expected \(N, 2\) with N above 0"),
        ([[1.0, 2.0], [2.0, 1e300]], "mean: got 5e.299, expected finite float32 numbers"),
        ([[1.0, 2e-60], [2.0, 1e-60]], "std: got 5e-61, expected finite float32 numbers above 0"),
    ],
)
def test_labels_without_a_scale_are_refused(labels, message):
    scale = TargetScale(2)
    scale.set([5.0, 6.0], [7.0, 8.0])
    with pytest.raises(cait_tf.CaiTError, match=message):
        scale.adapt(labels, ["a", "b"])
    np.testing.assert_array_equal(scale.mean, [5.0, 6.0])
    np.testing.assert_array_equal(scale.std, [7.0, 8.0])


def test_its_variables_are_statistics_of_targets():
    paths = ["model/target_scale/mean", "model/target_scale/std"]
    assert [is_statistic(path) for path in paths] == [True, True]
    assert [is_batch_statistic(path) for path in paths] == [False, False]
    assert is_statistic("model/head/norm/moving_mean")
    assert is_batch_statistic("model/head/norm/moving_mean")
    assert not is_statistic("model/head/kernel")


def test_a_folded_head_gives_the_same_numbers():
    features = np.random.default_rng(1).normal(size=(5, 8)).astype("float32")
    head, scale = build_head("linear", 2, "float32"), TargetScale(2)
    head.build((None, 8))
    head.bias.assign([0.3, -0.2])
    scale.set([4.0, -1.0], [2.0, 0.1])
    kernel, bias = folded(head, scale)
    assert kernel.dtype == bias.dtype == "float32"
    np.testing.assert_allclose(features @ kernel + bias, scale(head(features)), atol=1e-5)
    with pytest.raises(cait_tf.CaiTError, match="head: got CosineHead, expected a linear head"):
        folded(build_head("cosine", 2, "float32"), scale)
