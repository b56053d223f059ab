"""Fine-tuning from pretrained features: each method has its documented effect."""

import json
import re
import signal

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file

from cait_finetune.data.load import load_source
from cait_tf.variants import get_variant
from cait_tf.weights import shipped
from tests.cait_finetune.stand_ins import checked
from tests.test_end_to_end import finetune
from tests.test_resume_end_to_end import command, records, wait_for_a_state

pytestmark = pytest.mark.slow

SHORT = ["train.epochs=3", "export.check_images=8"]
START = load_file(shipped.weights_of(get_variant("cait_nano_32")))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("transfer")


def run(place, name, *overrides):
    done = finetune(place / name, *SHORT, *overrides, data_dir=place / "data")
    assert done.returncode == 0, done.stderr
    return json.loads((place / name / "result.json").read_text())


@pytest.fixture(scope="module")
def full(place):
    """Full fine-tuning with layer-wise decay, and averaged weights beside the trained weights."""
    return run(place, "full", "average=ema", "average.export=false")


def moved(place, name, layer):
    """Return the relative distance of a layer's kernels from the pretrained kernels."""
    weights = load_file(place / name / "checkpoints/last.safetensors")
    names = [key for key in START if key.startswith(layer) and START[key].ndim > 1]
    difference = np.concatenate([(weights[key] - START[key]).ravel() for key in names])
    return np.linalg.norm(difference) / np.linalg.norm(
        [np.linalg.norm(START[key]) for key in names]
    )


def test_three_epochs_are_enough(full):
    assert full["test_top1"] > 0.85


def test_early_layers_move_less_with_layer_decay(place, full):
    run(place, "even", "optimizer.layer_decay=1", "export=none")
    ratios = [
        moved(place, "full", layer) / moved(place, "even", layer)
        for layer in ("patch_embed", "blocks.0.", "blocks_token_only.1.")
    ]
    print("moved, with decay .75 in parts of without:", np.round(ratios, 2))
    assert ratios == sorted(ratios)
    assert ratios[0] < 0.8 * ratios[-1] < 0.8


def test_averaged_weights_are_ahead_while_the_rate_is_high(place, full):
    epochs = [one for one in records(place / "full") if one["kind"] == "epoch"]
    assert len(epochs) == 3
    assert epochs[0]["validation_ema_loss"] < epochs[0]["validation_loss"]
    assert min(one["validation_ema_top1"] for one in epochs) > 0.8
    assert full["validation_top1"] == max(one["validation_top1"] for one in epochs)


def test_a_linear_probe_says_what_the_features_are_worth(place):
    # With all digits for training, even the features of a random backbone suffice.
    keys = ["tuning=linear_probe", "tuning.solver=lbfgs", "tuning.cache_dir=null", "export=none"]
    keys.append("dataset.train_share=0.1")
    pretrained = run(place, "probe", *keys)
    random = run(place, "random", *keys, "model.weights=none")
    assert pretrained["test_top1"] > 0.9
    assert pretrained["test_top1"] > random["test_top1"] + 0.1
    kept = load_file(place / "probe/checkpoints/best.safetensors")
    assert {key for key in START if not np.array_equal(kept[key], START[key])} == {
        "head.weight",
        "head.bias",
    }


def test_lora_learns_the_digits_in_eight_directions_of_each_kernel(place):
    result = run(place, "lora", "tuning=lora", "export=none")
    assert result["test_top1"] > 0.85
    kept = load_file(place / "lora/checkpoints/last.safetensors")
    changed = {key for key in START if not np.array_equal(kept[key], START[key])}
    adapted = {key for key in START if re.search(r"\.(attn|mlp)\.(?!proj_[lw]).*weight$", key)}
    assert changed - {"head.weight", "head.bias"} == adapted
    for key in adapted:
        sizes = np.linalg.svd(kept[key] - START[key], compute_uv=False)
        assert sizes[0] > 0.1
        assert sizes[8] < 1e-5 * sizes[0]


def test_the_head_first_then_everything(place):
    run(place, "head", "tuning=head_then_full", "tuning.head_epochs=1", "export=none")
    first, *_, last = (one for one in records(place / "head") if one["kind"] == "epoch")
    # The head alone reaches a good accuracy, and full training must not lose it.
    assert first["validation_top1"] > 0.6
    assert last["validation_top1"] > max(0.85, first["validation_top1"])


def test_a_run_that_was_cut_off_ends_as_the_whole_one(place, full):
    cut = place / "cut"
    words = [*SHORT, "average=ema", "average.export=false", f"dataset.data_dir={place / 'data'}"]
    first = command(cut, *words, f"hydra.run.dir={cut}")
    wait_for_a_state(cut)
    first.send_signal(signal.SIGTERM)
    _, err = first.communicate(timeout=120)
    assert first.returncode == 75, err
    second = command(cut, f"resume={cut}")
    _, err = second.communicate(timeout=240)
    assert second.returncode == 0, err
    assert records(cut) == records(place / "full")
    result = json.loads((cut / "result.json").read_text())
    for key in ("test_top1", "test_loss", "best_epoch", "temperature"):
        assert result[key] == full[key]
    one, other = (
        load_file(place / name / "checkpoints/last.safetensors") for name in ("full", "cut")
    )
    assert {key for key in one if not np.array_equal(one[key], other[key])} == set()


def test_the_export_knows_the_digits(place, full):
    source = load_source(checked(f"dataset.data_dir={place / 'data'}").dataset)
    model = tf.saved_model.load(str(place / "full/export/saved_model"))
    right = []
    for example in source.examples("test").take(60).as_numpy_iterator():
        served = model.signatures["serving_default"](image_bytes=tf.constant([example["image"]]))
        right.append(int(served["probabilities"].numpy().argmax()) == example["label"])
    assert np.mean(right) > 0.8
