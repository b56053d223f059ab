"""Weights as timm, in PyTorch, takes them: its names, and the ``config.json`` of its repositories."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np

import cait_tf
from cait_finetune.export.parity import PIXEL_TOLERANCE, judge, whole_or_absent
from cait_finetune.export.subject import Evidence, Subject
from cait_tf.atomic import write_text

FILE = "model.safetensors"
CONFIG = "config.json"

#: timm's names for how an image is made square. Its ``border`` fills with the mean colour, where ours
#: is black, and keeps the shorter side: nothing of timm's is what ``pad`` does.
_CROP_MODES = {"shorter_side": "center", "squash": "squash"}
#: timm knows no variant of our own, and makes one out of this by `model_args`.
_FAMILY = "cait_xxs24_224"


def export(subject: Subject, evidence: Evidence, directory: Path) -> dict:
    """Write and check ``model.safetensors`` and ``config.json``: as `formats.Export`.

    The temperature is divided into the head, so that a softmax of timm's logits is calibrated.
    Checked with timm where that is installed, else by reading the file into a new model of ours.

    Raises:
        UserError: it does not answer as evaluation does.
    """
    with whole_or_absent(directory) as partial:
        head = subject.model.head
        trained = [variable.numpy() for variable in head.weights]
        try:
            for variable, value in zip(head.weights, trained, strict=True):
                variable.assign(value / subject.temperature)
            cait_tf.save_weights(subject.model, partial / FILE)
        finally:
            for variable, value in zip(head.weights, trained, strict=True):
                variable.assign(value)
        write_text(partial / CONFIG, json.dumps(hub_config(subject), indent=2) + "\n")
        by = "timm" if find_spec("timm") else "cait_tf"
        logits = (_by_timm if by == "timm" else _by_cait_tf)(subject, partial, evidence.images)
        expected = subject.probabilities(evidence.logits)
        got = subject.probabilities(logits * subject.temperature)
        difference = float(np.abs(got - expected).max())
        judge(
            "weights for timm",
            evidence.samples,
            expected,
            logits.argmax(-1),
            {"probabilities": difference},
            PIXEL_TOLERANCE,
        )
    return {"path": str(directory / FILE), "difference": difference, "checked_by": by}


def hub_config(subject: Subject) -> dict[str, Any]:
    """What ``config.json`` holds: timm's keys, and ``temperature`` and ``multi_label`` of our own."""
    way, backbone = subject.preprocessing, subject.model.backbone
    published = cait_tf.get_variant(subject.variant).published
    model_args: dict[str, Any] = {"img_size": backbone.image_size[0]}
    if not published:
        model_args |= {
            "patch_size": backbone.patch_size,
            "embed_dim": backbone.embed_dim,
            "depth": backbone.depth,
            "num_heads": backbone.num_heads,
            "mlp_ratio": backbone.mlp_ratio,
            "depth_token_only": backbone.depth_token_only,
            "mlp_ratio_token_only": backbone.mlp_ratio,
        }
    pretrained = {
        "input_size": [3, *backbone.image_size],
        "fixed_input_size": True,
        "crop_pct": way.crop_pct,
        "interpolation": way.interpolation,
        "mean": list(way.mean),
        "std": list(way.std),
        "num_classes": len(subject.class_names),
        "first_conv": "patch_embed.proj",
        "classifier": "head",
    }
    if way.resize_mode in _CROP_MODES:
        pretrained["crop_mode"] = _CROP_MODES[way.resize_mode]
    return {
        "architecture": subject.variant if published else _FAMILY,
        "num_classes": len(subject.class_names),
        "num_features": backbone.embed_dim,
        "global_pool": "token",
        "label_names": list(subject.class_names),
        "model_args": model_args,
        "pretrained_cfg": pretrained,
        "temperature": subject.temperature,
        "multi_label": subject.multi_label,
    }


def _by_timm(subject: Subject, directory: Path, images: Any) -> np.ndarray:
    """timm's logits of normalised images ``(B, S, S, 3)``."""
    import timm
    import torch

    config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    model = timm.create_model(
        config["architecture"],
        num_classes=config["num_classes"],
        checkpoint_path=str(directory / FILE),
        **config["model_args"],
    ).eval()
    with torch.inference_mode():
        return model(torch.from_numpy(np.asarray(images).transpose(0, 3, 1, 2).copy())).numpy()


def _by_cait_tf(subject: Subject, directory: Path, images: Any) -> np.ndarray:
    """The same of a model of ours that is given the file."""
    model: keras.Model = cait_tf.CaiTClassifier.from_config(subject.model.get_config())
    cait_tf.load_weights(model, directory / FILE)
    return np.asarray(model(images, training=False))
