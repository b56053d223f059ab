import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.train.loss import cross_entropy

LOGITS = np.array([[2.0, -1.0, 0.5, 3.0], [0.0, 0.0, 0.0, 0.0], [-5.0, 9.0, 1.0, 1.0]], "float32")
LABELS = np.array([0, 3, 2])


def reference(smoothing: float) -> np.ndarray:
    logits = LOGITS.astype("float64")
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    target = np.eye(4)[LABELS] * (1 - smoothing) + smoothing / 4
    return -(target * log_p).sum(-1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_label_smoothing_is_the_papers(smoothing):
    got = cross_entropy(tf.constant(LABELS), tf.constant(LOGITS), smoothing)
    assert got.shape == (3,)
    np.testing.assert_allclose(got, reference(smoothing), rtol=1e-6)


def test_the_default_is_the_plain_cross_entropy():
    got = cross_entropy(tf.constant(LABELS), tf.constant(LOGITS))
    plain = tf.nn.sparse_softmax_cross_entropy_with_logits(LABELS, LOGITS)
    np.testing.assert_allclose(got, plain, rtol=1e-6)


def test_smoothing_lifts_the_floor_and_equal_logits_cost_log_c():
    sure = tf.constant([[0.0, 50.0, 0.0, 0.0]])
    assert float(cross_entropy(tf.constant([1]), sure)[0]) < 1e-6
    assert float(cross_entropy(tf.constant([1]), sure, 0.1)[0]) == pytest.approx(0.075 * 50)
    flat = cross_entropy(tf.constant([2]), tf.zeros((1, 4)), 0.1)
    assert float(flat[0]) == pytest.approx(np.log(4))


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64])
def test_labels_of_either_integer_type(dtype):
    got = cross_entropy(tf.constant(LABELS, dtype), tf.constant(LOGITS), 0.1)
    np.testing.assert_allclose(got, reference(0.1), rtol=1e-6)
