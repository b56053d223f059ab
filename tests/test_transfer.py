"""Fine-tuning from pretrained features: each method has its documented effect."""

import csv
import json
import re

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file

from cait_finetune.data.load import load_source
from cait_tf.variants import get_variant
from cait_tf.weights import shipped
from tests import quick_runs
from tests.cait_finetune.stand_ins import checked

pytestmark = pytest.mark.slow

SHORT = ["train.epochs=3", "export.check_images=8"]
START = load_file(shipped.weights_of(get_variant("cait_nano_32")))
HEAD = {"head.weight", "head.bias"}
# With all digits for training, even the features of a random backbone suffice.
PROBE = ["tuning=linear_probe", "tuning.solver=lbfgs", "tuning.cache_dir=null",
         "dataset.train_share=0.1", "export=none"]  # fmt: skip
LORA = ["tuning=lora", "dataset.train_share=0.5", "dataset.cache=memory", "train.epochs=3",
        "train.steps_per_epoch=20", "export=none"]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("transfer")


def run(place, name, *overrides):
    _, result = quick_runs.run(place / name, *SHORT, *overrides)
    return result


@pytest.fixture(scope="module")
def full(place):
    """Full fine-tuning with layer-wise decay, and averaged weights beside the trained weights."""
    return run(place, "full", "average=ema", "average.export=false")


@pytest.fixture(scope="module")
def probe(place):
    """A solved linear probe on a tenth of the images: what it prints, and its result."""
    return quick_runs.run(place / "probe", *PROBE)


@pytest.fixture(scope="module")
def lora(place):
    """LoRA on half of the images: what it prints, and its result."""
    return quick_runs.run(place / "lora", *LORA)


def records(place, name):
    """Return the records of epochs in ``metrics.jsonl``."""
    lines = (place / name / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == "epoch"]


def changed(place, name, checkpoint):
    """Return the names of tensors that differ between a checkpoint and the pretrained weights."""
    kept = load_file(place / name / f"checkpoints/{checkpoint}.safetensors")
    assert set(kept) == set(START)
    return {key for key in START if not np.array_equal(kept[key], START[key])}


def moved(place, name, layer):
    """Return the relative distance of a layer's kernels from the pretrained kernels."""
    weights = load_file(place / name / "checkpoints/last.safetensors")
    names = [key for key in START if key.startswith(layer) and START[key].ndim > 1]
    difference = np.concatenate([(weights[key] - START[key]).ravel() for key in names])
    return np.linalg.norm(difference) / np.linalg.norm(
        [np.linalg.norm(START[key]) for key in names]
    )


def test_full_fine_tuning_reaches_85_percent_in_three_epochs(full):
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
    epochs = records(place, "full")
    assert len(epochs) == 3
    assert epochs[0]["validation_ema_loss"] < epochs[0]["validation_loss"]
    assert min(one["validation_ema_top1"] for one in epochs) > 0.8
    assert full["validation_top1"] == max(one["validation_top1"] for one in epochs)


def test_a_linear_probe_scores_pretrained_features_above_random_ones(place, probe):
    _, pretrained = probe
    _, random = quick_runs.run(place / "random", *PROBE, "model.weights=none")
    assert pretrained["test_top1"] > 0.9
    assert pretrained["test_top1"] > random["test_top1"] + 0.1
    assert changed(place, "probe", "best") == HEAD


def test_a_head_is_solved_for_each_penalty(place, probe):
    said, result = probe
    tops = [one["validation_top1"] for one in records(place, "probe")]
    assert result["validation_top1"] == max(tops)
    assert said.count("iterations)") == len(tops) == 7


def test_lora_learns_the_digits_in_eight_directions_of_each_kernel(place, lora):
    _, result = lora
    assert result["test_top1"] > 0.85
    adapted = {key for key in START if re.search(r"\.(attn|mlp)\.(?!proj_[lw]).*weight$", key)}
    assert changed(place, "lora", "last") - HEAD == adapted
    kept = load_file(place / "lora/checkpoints/last.safetensors")
    for key in adapted:
        sizes = np.linalg.svd(kept[key] - START[key], compute_uv=False)
        assert sizes[0] > 0.1
        assert sizes[8] < 1e-5 * sizes[0]


def test_head_then_full_trains_the_head_then_every_weight(place):
    run(place, "head", "tuning=head_then_full", "tuning.head_epochs=1",
        "dataset.train_share=0.5", "export=none")  # fmt: skip
    first, *_, last = records(place, "head")
    # The head alone reaches a good accuracy, and full training must not lose it.
    assert first["validation_top1"] > 0.6
    assert last["validation_top1"] > max(0.85, first["validation_top1"])
    table = list(csv.DictReader((place / "head" / "parameters.csv").read_text().splitlines()))
    assert list(dict.fromkeys(row["phase"] for row in table)) == ["head", "full"]
    # Some biases have no gradient: the softmax cancels them.
    kept = set(START) - changed(place, "head", "last")
    assert {key for key in kept if not key.endswith("bias")} == set()


def test_the_export_knows_the_digits(place, full):
    model = tf.saved_model.load(str(place / "full/export/saved_model"))
    right = []
    examples = load_source(checked().dataset).examples("test").take(60)
    for example in examples.as_numpy_iterator():
        served = model.signatures["serving_default"](image_bytes=tf.constant([example["image"]]))
        right.append(int(served["probabilities"].numpy().argmax()) == example["label"])
    assert np.mean(right) > 0.8
