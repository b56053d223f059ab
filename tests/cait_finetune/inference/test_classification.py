"""Classify files batch by batch."""

import re

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.data.refusal import refused_unless
from cait_finetune.inference.backends import Checkpoint
from cait_finetune.inference.classification import classify
from cait_finetune.inference.prediction import Number
from tests.cait_finetune.conftest import Mean
from tests.cait_finetune.stand_ins import encode, picture


def test_batches_order_and_ranks(tmp_path):
    files = [tmp_path / f"{n}.png" for n in range(5)]
    for number, path in enumerate(files):
        path.write_bytes(encode(picture(20, 30, seed=number)))
    backend = Mean()
    batches = list(classify(backend, files, top_k=2, batch_size=2))
    assert [len(batch) for batch in batches] == backend.calls == [2, 2, 1]
    predictions = [one for batch in batches for one in batch]
    assert [one.path for one in predictions] == files
    for one in predictions:
        (probabilities,) = Mean()([one.path.read_bytes()])
        best = np.argsort(-probabilities)[:2]
        assert [name for name, _ in one.classes] == [Mean.class_names[index] for index in best]
        np.testing.assert_allclose([share for _, share in one.classes], probabilities[best])


def test_more_than_there_are_classes(tmp_path):
    (tmp_path / "a.png").write_bytes(encode(picture(8, 8)))
    ((one,),) = classify(Mean(), [tmp_path / "a.png"], top_k=9, batch_size=2)
    assert len(one.classes) == 3


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "a.png").write_bytes(encode(picture(8, 8)))
    files = [tmp_path / "gone.png", tmp_path / "a.png", tmp_path]
    ((gone, good, folder),) = classify(Mean(), files, top_k=1, batch_size=8)
    assert gone.error == "cannot be read (No such file or directory)"
    assert folder.error == "cannot be read (Is a directory)"
    assert (good.path, len(good.classes)) == (tmp_path / "a.png", 1)


def test_why_a_file_is_no_image(saved_run, tmp_path):
    contents = {"empty.jpg": b"", "short.png": b"short", "half.png": encode(picture(20, 30))[:200]}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    files = [tmp_path / name for name in contents]
    ((empty, short, half),) = classify(Checkpoint(saved_run), files, top_k=1, batch_size=8)
    assert (empty.error, short.error) == ("not an image (0 bytes)", "not an image (5 bytes)")
    assert re.fullmatch(r"not an image \([^{}]+\)", half.error)


UNKNOWN = "Unknown image file format. One of JPEG, PNG required."


def test_the_reason_of_a_refusal_is_in_its_own_words(tmp_path):
    class Refusing(Mean):
        def __call__(self, files):
            refuse = tf.function(lambda x: refused_unless(x > 1, "a BMP of some kind", x))
            return refuse(tf.constant(0))

    (tmp_path / "a.bmp").write_bytes(b"no image, but long enough")
    ((one,),) = classify(Refusing(), [tmp_path / "a.bmp"], top_k=1, batch_size=1)
    assert one.error == "not an image (a BMP of some kind)"


@pytest.mark.parametrize(
    "message",
    [
        f"{{{{function_node __wrapped__DecodeImage_device_/CPU:0}}}} {UNKNOWN}",
        "Graph execution error:\n\nDetected at node map/while/DecodeImage defined at (most recent call "
        f'last):\n  File "a.py", line 1, in f\n\n<stack traces unavailable>\n{UNKNOWN}\n\t [[{{{{node x}}}}]]',
        "Graph execution error:\n\nDetected at node x defined at (most recent call last):\n"
        f"2 root error(s) found.\n  (0) INVALID_ARGUMENT:  {UNKNOWN}\n\t [[{{{{node x}}}}]]",
    ],
)
def test_the_reason_is_the_informative_line_of_the_error(tmp_path, message):
    class Refusing(Mean):
        def __call__(self, files):
            raise tf.errors.InvalidArgumentError(None, None, message)

    (tmp_path / "a.jpg").write_bytes(b"no image, but long enough")
    ((one,),) = classify(Refusing(), [tmp_path / "a.jpg"], top_k=1, batch_size=1)
    assert one.error == f"not an image ({UNKNOWN})"


class Brightness:
    """Backend whose numbers are each image's mean, in two units. `intervals`: with their ends."""

    class_names = ("grey", "thousandths")
    provenance = None
    several = False

    def __init__(self, intervals):
        self.ends = (0.0, -2.0, 3.0) if intervals else (0.0,)

    def __call__(self, files):
        means = np.array([tf.io.decode_image(data, channels=3).numpy().mean() for data in files])
        units = np.array([1.0, 1e-3])
        return (means[:, None, None] + np.array(self.ends)) * units[:, None]  # (B, 2, 1 or 3)


@pytest.mark.parametrize("intervals", [True, False])
def test_numbers_are_all_given_in_the_order_of_the_targets(tmp_path, intervals):
    files = [tmp_path / f"{seed}.png" for seed in range(3)]
    for seed, path in enumerate(files):
        path.write_bytes(encode(picture(20, 30, seed=seed)))
    (tmp_path / "broken.png").write_bytes(b"no image at all")
    files.insert(1, tmp_path / "broken.png")
    batches = classify(Brightness(intervals), files, top_k=1, batch_size=4)
    ((first, broken, *_, last),) = batches
    assert broken.error.startswith("not an image")
    assert broken.numbers == first.classes == ()
    for one, seed in ((first, 0), (last, 2)):
        mean = picture(20, 30, seed=seed).mean()
        ends = (mean - 2, mean + 3) if intervals else ()
        thousandth = [end / 1000 for end in (mean, *ends)]
        assert one.numbers == (
            Number("grey", *(pytest.approx(end) for end in (mean, *ends))),
            Number("thousandths", *(pytest.approx(end) for end in thousandth)),
        )
