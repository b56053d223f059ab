import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from cait_finetune.config import LossConfig
from cait_finetune.train.loss import (
    AsymmetricLoss,
    BinaryCrossEntropy,
    CrossEntropy,
    LabelCrossEntropy,
    NumberLoss,
    class_loss,
    class_weights,
    cross_entropy,
    label_loss,
    needs_counts,
    number_loss,
    positive_weights,
)

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


ONE_HOT = np.eye(4, dtype="float32")[LABELS]
SEVERAL = np.array([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]], "float32")
COUNTS = np.array([6, 1, 0, 3])
EXTREME = np.array([[100.0, -100.0, 100.0, -100.0], [-100.0, 100.0, 0.0, 30.0]], "float32")


def with_gradient(loss, labels, logits) -> tuple[np.ndarray, np.ndarray]:
    """Return the losses ``(B,)`` and the gradient of their sum ``(B, C)``."""
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = loss(tf.constant(labels), logits)
    return losses.numpy(), tape.gradient(losses, logits).numpy()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x.astype("float64")))


def binary(targets: np.ndarray, logits: np.ndarray = LOGITS, yes: object = 1.0) -> np.ndarray:
    """Return each class's binary cross-entropy ``(B, C)``; `yes` is PyTorch's ``pos_weight``."""
    x = logits.astype("float64")
    return yes * targets * np.logaddexp(0, -x) + (1 - targets) * np.logaddexp(0, x)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_an_examples_weight_multiplies_its_loss_and_gradient(smoothing):
    weights = np.array([2.0, 0.25, 0.0], "float32")
    plain, gradient = with_gradient(CrossEntropy(smoothing), LABELS, LOGITS)
    weighted = CrossEntropy(smoothing, weighted=True)
    losses, moved = with_gradient(weighted, ONE_HOT * weights[:, None], LOGITS)
    np.testing.assert_allclose(losses, plain * weights, rtol=1e-6)
    np.testing.assert_allclose(moved, gradient * weights[:, None], rtol=1e-5, atol=1e-7)
    assert (losses[2], moved[2].any()) == (0.0, False)
    softmax = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    targets = ONE_HOT * (1 - smoothing) + smoothing / 4
    np.testing.assert_allclose(gradient, softmax - targets, atol=1e-6)


def test_mixed_images_of_different_weight():
    """The weight of each image multiplies its share."""
    shares = np.array([[0.6 * 2, 0, 0, 0.4 * 0.5]], "float32")
    log_p = LOGITS[:1].astype("float64") - np.log(np.exp(LOGITS[:1].astype("float64")).sum())
    got = CrossEntropy(weighted=True)(tf.constant(shares), tf.constant(LOGITS[:1]))
    np.testing.assert_allclose(got, -(shares * log_p).sum(-1), rtol=1e-6)


@pytest.mark.parametrize("kind", [CrossEntropy, BinaryCrossEntropy])
def test_class_weights_of_one_label_each_weigh_examples(kind):
    weights = np.array([0.5, 1.0, 7.0, 3.0])
    plain, gradient = with_gradient(kind(0.1), LABELS, LOGITS)
    of_the_class = weights[LABELS]
    for labels in (LABELS, ONE_HOT):
        losses, moved = with_gradient(kind(0.1, weights), labels, LOGITS)
        np.testing.assert_allclose(losses, plain * of_the_class, rtol=1e-6)
        np.testing.assert_allclose(moved, gradient * of_the_class[:, None], rtol=1e-5, atol=1e-7)


def test_class_weights_and_an_examples_own_multiply():
    own, of_classes = np.array([2.0, 0.5, 0.0]), np.array([0.5, 1.0, 7.0, 3.0])
    loss = CrossEntropy(0.0, of_classes, weighted=True)
    losses, _ = with_gradient(loss, (ONE_HOT * own[:, None]).astype("float32"), LOGITS)
    np.testing.assert_allclose(losses, reference(0.0) * own * of_classes[LABELS], rtol=1e-6)


def test_balanced_is_scikit_learns():
    labels = np.repeat(np.arange(4), COUNTS)
    present = np.unique(labels)
    got = class_weights(LossConfig("auto", "balanced"), COUNTS)
    wanted = compute_class_weight("balanced", classes=present, y=labels)
    np.testing.assert_allclose(got[present], wanted)
    assert got[2] == 1.0  # a class without images: its weight has no effect


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999, 0.999999])
def test_effective_is_cui_et_als_with_a_mean_of_1_over_the_images(beta):
    config = LossConfig("auto", "effective", effective_beta=beta)
    got = class_weights(config, COUNTS)
    present = COUNTS > 0
    effective = (1 - beta ** COUNTS[present]) / (1 - beta)
    wanted = 1 / effective / (COUNTS[present] / effective).sum() * 10
    np.testing.assert_allclose(got[present], wanted, rtol=1e-6)
    assert (got * COUNTS).sum() / COUNTS.sum() == pytest.approx(1)
    assert got[2] == 1.0


def test_effective_goes_from_none_to_balanced():
    weights = [
        class_weights(LossConfig("auto", name, effective_beta=beta), COUNTS)
        for name, beta in (("effective", 0.0), ("effective", 1 - 1e-9), ("balanced", 0.5))
    ]
    np.testing.assert_allclose(weights[0], 1)
    np.testing.assert_allclose(weights[1], weights[2], rtol=1e-5)


def test_balanced_for_several_labels_evens_yeses_and_noes():
    counts, examples = np.array([5, 1, 0, 9, 10]), 10
    got = positive_weights(LossConfig("auto", "balanced"), counts, examples)
    np.testing.assert_allclose(got, [1, 9, 1, 1 / 9, 0])
    present = counts > 0
    np.testing.assert_allclose((got * counts)[present], (examples - counts)[present])


def test_logit_adjustment_adds_tau_times_the_log_prior():
    config = LossConfig("auto", logit_adjustment=1.5)
    prior = np.array([0.6, 0.1, 0.1, 0.3])  # a class without images counts as one image
    shift = 1.5 * np.log(prior)
    got, _ = with_gradient(class_loss(config, 0.1, counts=COUNTS, examples=10), LABELS, LOGITS)
    plain, _ = with_gradient(CrossEntropy(0.1), LABELS, (LOGITS + shift).astype("float32"))
    np.testing.assert_allclose(got, plain, rtol=1e-5)
    of_yes_and_no = class_loss(
        LossConfig("bce", logit_adjustment=1.5), 0.0, counts=COUNTS, examples=10
    )
    got, _ = with_gradient(of_yes_and_no, LABELS, LOGITS)
    np.testing.assert_allclose(got, binary(ONE_HOT, LOGITS + shift).mean(-1), rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_cross_entropy_of_one_label(smoothing):
    targets = ONE_HOT * (1 - smoothing) + smoothing / 4
    for labels in (LABELS, ONE_HOT):
        losses, gradient = with_gradient(BinaryCrossEntropy(smoothing), labels, LOGITS)
        np.testing.assert_allclose(losses, binary(targets).mean(-1), rtol=1e-6)
        np.testing.assert_allclose(gradient, (sigmoid(LOGITS) - targets) / 4, atol=1e-6)


def test_binary_cross_entropy_of_one_label_weighs_whole_examples():
    weights = np.array([[3.0], [0.0], [0.5]], "float32")
    losses, gradient = with_gradient(BinaryCrossEntropy(0.1), ONE_HOT * weights, LOGITS)
    plain, moved = with_gradient(BinaryCrossEntropy(0.1), LABELS, LOGITS)
    np.testing.assert_allclose(losses, plain * weights[:, 0], rtol=1e-6)
    np.testing.assert_allclose(gradient, moved * weights, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("yes", [None, np.array([1.0, 9.0, 0.0, 0.25])])
def test_binary_cross_entropy_of_several_labels(smoothing, yes):
    loss = LabelCrossEntropy(smoothing, yes)
    targets = SEVERAL * (1 - smoothing) + smoothing / 2
    losses, _ = with_gradient(loss, SEVERAL, LOGITS)
    wanted = binary(targets, yes=1.0 if yes is None else yes).mean(-1)
    np.testing.assert_allclose(losses, wanted, rtol=1e-6)


def asymmetric(labels, logits, negative, positive, clip, weights=1.0):
    x = logits.astype("float64")
    p = sigmoid(x)
    q = np.maximum(p - clip, 0)
    yes = weights * (1 - p) ** positive * np.logaddexp(0, -x)
    with np.errstate(divide="ignore", invalid="ignore"):
        no = q**negative * (np.logaddexp(0, x) if clip == 0 else -np.log(1 - q))
    return (labels * yes + (1 - labels) * no).sum(-1)


@pytest.mark.parametrize(
    ("negative", "positive", "clip"), [(4, 0, 0.05), (2, 1, 0.2), (1, 0.5, 0), (0.5, 0, 0.05)]
)
@pytest.mark.parametrize("weights", [None, np.array([1.0, 9.0, 0.5, 0.25])])
def test_the_asymmetric_loss_is_the_papers(negative, positive, clip, weights):
    loss = AsymmetricLoss(negative, positive, clip, weights)
    logits = np.concatenate([LOGITS, EXTREME])
    labels = np.concatenate([SEVERAL, [[0, 1, 1, 0], [0, 0, 1, 0]]]).astype("float32")
    losses, _ = with_gradient(loss, labels, logits)
    wanted = asymmetric(
        labels, logits, negative, positive, clip, 1.0 if weights is None else weights
    )
    np.testing.assert_allclose(losses, wanted, rtol=1e-4, atol=1e-5)


def test_without_its_constants_the_asymmetric_loss_is_the_binary_one():
    """The most confident mistakes need a gradient too, or training never corrects them."""
    loss = AsymmetricLoss(0.0, 0.0, 0.0)
    for labels, logits in ((SEVERAL, LOGITS), (1 - (EXTREME > 0), EXTREME)):
        labels = labels.astype("float32")
        losses, gradient = with_gradient(loss, labels, logits)
        np.testing.assert_allclose(losses, binary(labels, logits).sum(-1), rtol=1e-5)
        np.testing.assert_allclose(gradient, sigmoid(logits) - labels, atol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("clip", [0.0, 0.05])
@pytest.mark.parametrize("labels", [0.0, 1.0, 0.4])
def test_the_asymmetric_loss_of_sure_logits_has_finite_gradients(gamma, clip, labels):
    loss = AsymmetricLoss(gamma, gamma, clip)
    losses, gradient = with_gradient(loss, np.full((2, 4), labels, "float32"), EXTREME)
    assert np.isfinite(losses).all()
    assert np.isfinite(gradient).all()


def test_easy_noes_below_the_clip_cost_nothing():
    logits = np.log(
        np.array([[0.01, 0.04, 0.0499, 0.2]]) / (1 - np.array([[0.01, 0.04, 0.0499, 0.2]]))
    )
    _, gradient = with_gradient(
        AsymmetricLoss(), np.zeros((1, 4), "float32"), logits.astype("float32")
    )
    assert gradient[0, :3].tolist() == [0, 0, 0]
    assert gradient[0, 3] > 0


def test_correct_counts_the_largest_logit_of_one_label():
    logits = tf.constant([[3.0, 0, 0], [0, 3.0, 0], [0, 3.0, 0]])
    shares = tf.constant([[0.1, 0, 0], [0.6, 0.4, 0], [0.4, 0.6, 0]])
    for loss in (CrossEntropy(), CrossEntropy(weighted=True), BinaryCrossEntropy()):
        for dtype in (tf.int32, tf.int64):
            assert loss.correct(tf.constant([0, 1, 2], dtype), logits).numpy().tolist() == [1, 1, 0]
        assert loss.correct(shares, logits).numpy().tolist() == [1, 0, 1]


def test_correct_is_the_share_of_right_labels_of_several_labels():
    logits = tf.constant([[3.0, -1, 2, -4], [3.0, 1, 2, 4]])
    labels = tf.constant([[1.0, 0, 0, 0], [0.4, 0.6, 1, 1]])
    for loss in (LabelCrossEntropy(), AsymmetricLoss()):
        assert loss.correct(labels, logits).numpy().tolist() == [0.75, 0.75]


def test_the_losses_follow_the_configuration():
    auto = LossConfig("auto")
    assert class_loss(auto, 0.1) == CrossEntropy(0.1)
    assert class_loss(auto, 0.1, weighted=True) == CrossEntropy(0.1, weighted=True)
    assert label_loss(auto, 0.1) == LabelCrossEntropy(0.1)
    assert class_loss(LossConfig("bce"), 0.1) == BinaryCrossEntropy(0.1)
    sharp = LossConfig("asymmetric", gamma_negative=3, gamma_positive=2, clip=0.1)
    assert label_loss(sharp, 0.1) == AsymmetricLoss(3, 2, 0.1)
    weighted = LossConfig("asymmetric", "balanced")
    built = label_loss(weighted, 0.1, counts=COUNTS, examples=10)
    np.testing.assert_allclose(built.positive_weights, [4 / 6, 9, 1, 7 / 3])
    assert not needs_counts(auto)
    assert needs_counts(weighted)
    assert needs_counts(dataclasses.replace(auto, logit_adjustment=0.5))


STD = np.array([2.0, 3e4, 5e-5], "float32")
#: Errors of each target, in standard deviations: below and above 1, where `huber` changes.
ERRORS = np.array([[0.5, -0.9, 0.0], [3.0, -1.5, 0.25], [1.0, -8.0, 100.0]])
NUMBERS = np.array([[1.0, 5e4, 1e-4], [-2.0, 0.0, 3e-4], [0.0, 9e4, 0.0]], "float32")
PREDICTED = (NUMBERS + ERRORS * STD).astype("float32")


def of_errors(name: str) -> np.ndarray:
    """Return the loss of each image, ``(3,)``, from errors in standard deviations."""
    absolute = np.abs(ERRORS)
    return {
        "mse": ERRORS**2,
        "huber": np.where(absolute <= 1, 0.5 * ERRORS**2, absolute - 0.5),
        "l1": absolute,
    }[name].mean(axis=-1)


@pytest.mark.parametrize("name", ["mse", "huber", "l1"])
def test_the_loss_of_numbers_is_in_standard_deviations(name):
    loss = NumberLoss(name, STD)
    np.testing.assert_allclose(
        loss(tf.constant(NUMBERS), tf.constant(PREDICTED)), of_errors(name), rtol=1e-5
    )
    weights = np.array([0.0, 1.0, 2.5], "float32")
    labels = tf.constant(np.concatenate([NUMBERS, weights[:, None]], axis=1))
    np.testing.assert_allclose(
        loss(labels, tf.constant(PREDICTED)), weights * of_errors(name), rtol=1e-5
    )


@pytest.mark.parametrize("name", ["mse", "huber", "l1"])
def test_the_gradient_of_a_loss_of_numbers(name):
    _, gradient = with_gradient(NumberLoss(name, STD), NUMBERS, PREDICTED)
    slope = {
        "mse": 2 * ERRORS, "huber": np.clip(ERRORS, -1, 1), "l1": np.sign(ERRORS),
    }[name] / 3 / STD  # fmt: skip
    np.testing.assert_allclose(gradient * STD, slope * STD, rtol=1e-4, atol=1e-5)
    assert np.isfinite(gradient).all()


def test_correct_of_numbers_is_the_absolute_error_in_their_units():
    wanted = (np.abs(ERRORS) * STD).mean(axis=-1)
    weighted = np.concatenate([NUMBERS, np.full((3, 1), 7.0, "float32")], axis=1)
    for name in ("mse", "huber", "l1"):
        for labels in (NUMBERS, weighted):
            got = NumberLoss(name, STD).correct(tf.constant(labels), tf.constant(PREDICTED))
            np.testing.assert_allclose(got, wanted, rtol=1e-5)


@pytest.mark.parametrize(("name", "used"), [("auto", "mse"), ("huber", "huber"), ("l1", "l1")])
def test_the_standard_deviations_are_those_of_the_training_labels(name, used):
    labels = np.array([[1.0, 1e6], [3.0, 1e6 + 2], [5.0, 1e6 + 4], [7.0, 1e6 + 6]], "float32")
    loss = number_loss(LossConfig(name), labels)
    assert loss.name == used
    np.testing.assert_allclose(loss.std, [np.sqrt(5), np.sqrt(5)], rtol=1e-6)
    one = loss(tf.constant(labels[:1]), tf.constant(labels[:1] + np.sqrt(5).astype("float32")))
    assert float(one[0]) == pytest.approx(0.5 if used == "huber" else 1.0, rel=0.02)
