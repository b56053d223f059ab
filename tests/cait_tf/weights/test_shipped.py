"""The weights in the package: small, complete, described, and with useful features."""

import re

import keras
import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import cait_tf
from cait_tf.images import normalise
from cait_tf.variants import VARIANTS, get_variant
from cait_tf.weights import shipped
from cait_tf.weights.load import read_weights

OURS = [name for name, variant in VARIANTS.items() if variant.shipped]
MOST_BYTES = 4_000_000


@pytest.mark.parametrize("name", OURS)
def test_the_file_is_small_and_its_card_names_the_training_command(name):
    variant = get_variant(name)
    assert shipped.weights_of(variant).stat().st_size <= MOST_BYTES
    card = shipped.card_of(variant).read_text()
    assert re.search(r"python -m cait_finetune -cn pretrain_\w+", card)
    assert "Apache" in card
    with safe_open(shipped.weights_of(variant), "np") as file:
        checksum = file.metadata()["cait_tf.sha256"]
    [start] = re.findall(r"`cait_tf\.sha256`[^`]*`([0-9a-f]{8})…`", card)
    assert checksum.startswith(start)


def test_the_others_weights_are_published_elsewhere():
    variant = get_variant("cait_s24_224")
    assert shipped.weights_of(variant) is shipped.card_of(variant) is None


@pytest.mark.parametrize("name", OURS)
def test_every_tensor_has_its_place(name):
    tensors = read_weights(shipped.weights_of(get_variant(name))).tensors
    classes = len(tensors["head.bias"])
    whole = cait_tf.create_model(name, classes, weights="pretrained").loading_report
    assert set(whole.loaded) == set(tensors)
    backbone = cait_tf.create_model(name, 0, weights="pretrained").loading_report
    assert set(backbone.unused) == {"head.weight", "head.bias"}
    assert set(backbone.loaded) == set(tensors) - set(backbone.unused)
    new = cait_tf.create_model(name, 3, image_size=48, weights="pretrained").loading_report
    assert set(new.initialised) == {"head.weight", "head.bias"}
    assert new.resampled == ("pos_embed",)


def digits_solved_with(weights):
    """Return the test accuracy of a linear classifier on features of 20 images per digit."""
    keras.utils.set_random_seed(0)
    images, labels = load_digits(return_X_y=True)
    levels = np.round(images * (255 / 16)).astype("uint8").reshape(-1, 8, 8)
    large = [Image.fromarray(one).resize((32, 32), Image.Resampling.BICUBIC) for one in levels]
    inputs = normalise(np.repeat(np.stack(large)[..., None], 3, axis=-1))  # (N, 32, 32, 3)
    backbone = cait_tf.create_model("cait_nano_32", 0, weights=weights)
    features = backbone.predict(inputs, batch_size=300, verbose=0)  # (N, D)
    order = np.random.default_rng(0).permutation(len(labels))
    train = np.concatenate([order[labels[order] == digit][:20] for digit in range(10)])
    test = np.setdiff1d(order, train)
    scaled = StandardScaler().fit(features[train]).transform(features)
    solved = LogisticRegression(C=0.1, max_iter=1000).fit(scaled[train], labels[train])
    return solved.score(scaled[test], labels[test])


@pytest.mark.slow
def test_pretrained_features_classify_unseen_digits():
    pretrained, random = digits_solved_with("pretrained"), digits_solved_with("none")
    print(f"linear on 200 digits: pretrained {pretrained:.1%}, random {random:.1%}")
    assert pretrained > 0.85
    assert pretrained > random + 0.1
