import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cait_finetune.loggers.tensorboard import TensorBoard


def read(directory) -> EventAccumulator:
    """Return the events that TensorBoard shows."""
    events = EventAccumulator(str(directory), size_guidance={"tensors": 0})
    events.Reload()
    return events


def points(events, tag) -> list[tuple[int, float]]:
    return [(one.step, float(tf.make_ndarray(one.tensor_proto))) for one in events.Tensors(tag)]


def text(events, tag) -> str:
    (one,) = events.Tensors(tag)
    return tf.make_ndarray(one.tensor_proto).item().decode()


def test_the_event_file_holds_every_logged_value(tmp_path):
    picture = tmp_path / "curves.png"
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), "uint8")
    Image.fromarray(pixels).save(picture)
    logger = TensorBoard(tmp_path / "tensorboard")
    logger.begin({"train": {"batch_size": 64}}, resumed=False)
    logger.table("parameters", ["path", "group"], [["head/bias", "3"]])
    logger.record("step", {"step": 5, "epoch": 1, "loss": 0.25, "lr/group_00": 0.5})
    logger.record("step", {"step": 8, "epoch": 1, "loss": 0.125, "lr/group_00": 0.25})
    logger.record("epoch", {"step": 8, "epoch": 1, "validation_top1": 0.75})
    logger.result({"test_top1": 0.5})
    logger.picture("curves", picture)
    logger.finish(0)

    events = read(tmp_path / "tensorboard")
    assert points(events, "step/loss") == [(5, 0.25), (8, 0.125)]
    assert points(events, "lr/group_00") == [(5, 0.5), (8, 0.25)]
    assert points(events, "epoch/validation_top1") == [(8, 0.75)]
    assert points(events, "result/test_top1") == [(8, 0.5)]
    assert text(events, "config") == "    train:\n      batch_size: 64\n"
    assert text(events, "parameters") == "| path | group |\n| --- | --- |\n| head/bias | 3 |"
    (image,) = events.Tensors("pictures/curves")
    width, height, data = tf.make_ndarray(image.tensor_proto)
    assert (int(width), int(height)) == (12, 8)
    np.testing.assert_array_equal(tf.io.decode_png(data), pixels)


@pytest.mark.parametrize(
    ("tag", "plugin"),
    [("step/loss", "scalars"), ("config", "text"), ("pictures/curves", "images")],
)
def test_each_is_shown_by_its_plugin(tmp_path, tag, plugin):
    picture = tmp_path / "curves.png"
    Image.new("RGB", (2, 2)).save(picture)
    logger = TensorBoard(tmp_path)
    logger.begin({}, resumed=False)
    logger.record("step", {"step": 1, "epoch": 1, "loss": 1.0})
    logger.picture("curves", picture)
    logger.finish(0)
    assert read(tmp_path).SummaryMetadata(tag).plugin_data.plugin_name == plugin


def test_an_epoch_can_be_seen_while_the_run_goes_on(tmp_path):
    logger = TensorBoard(tmp_path)
    logger.begin({}, resumed=False)
    logger.record("epoch", {"step": 1, "epoch": 1, "validation_top1": 0.5})
    assert points(read(tmp_path), "epoch/validation_top1") == [(1, 0.5)]
    logger.finish(0)


def test_a_run_that_goes_on_has_each_point_once(tmp_path):
    first = TensorBoard(tmp_path)
    first.begin({}, resumed=False)
    for step in (1, 2, 3):
        first.record("step", {"step": step, "epoch": 1, "loss": 1.0})
    first.finish(75)
    second = TensorBoard(tmp_path)
    second.begin({}, resumed=True)
    for step in (1, 2, 3, 4):
        second.record("step", {"step": step, "epoch": 1, "loss": 2.0})
    second.finish(0)
    assert points(read(tmp_path), "step/loss") == [(1, 2.0), (2, 2.0), (3, 2.0), (4, 2.0)]
