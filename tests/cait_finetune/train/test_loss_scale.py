import tensorflow as tf

from cait_finetune.train.loss_scale import LossScale

GOOD, BAD = tf.constant(True), tf.constant(False)


def test_a_non_finite_gradient_halves_the_scale_and_starts_the_count_again():
    loss_scale = LossScale()
    assert float(loss_scale.scale) == 2.0**15
    for _ in range(3):
        loss_scale.update(GOOD)
    assert (float(loss_scale.scale), int(loss_scale.good_steps)) == (2.0**15, 3)
    loss_scale.update(BAD)
    assert (float(loss_scale.scale), int(loss_scale.good_steps)) == (2.0**14, 0)
    loss_scale.update(BAD)
    assert float(loss_scale.scale) == 2.0**13


def test_two_thousand_good_steps_double_the_scale():
    loss_scale = LossScale()
    update = tf.function(loss_scale.update)
    for _ in range(1999):
        update(GOOD)
    assert (float(loss_scale.scale), int(loss_scale.good_steps)) == (2.0**15, 1999)
    update(GOOD)
    assert (float(loss_scale.scale), int(loss_scale.good_steps)) == (2.0**16, 0)


def test_a_bad_step_just_before_the_doubling_halves():
    loss_scale = LossScale()
    loss_scale.good_steps.assign(1999)
    loss_scale.update(BAD)
    assert (float(loss_scale.scale), int(loss_scale.good_steps)) == (2.0**14, 0)


def test_the_scale_never_falls_below_one():
    loss_scale = LossScale()
    loss_scale.scale.assign(2.0)
    for expected in (1.0, 1.0, 1.0):
        loss_scale.update(BAD)
        assert float(loss_scale.scale) == expected
