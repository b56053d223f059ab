"""Export weights for timm in PyTorch: a file with timm's tensor names, and timm's ``config.json``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import cait_tf
from cait_finetune.errors import UserError
from cait_finetune.export import timm_logits
from cait_finetune.export.exported_model import ExportedModel, ValidationSamples
from cait_finetune.export.parity import check_values, whole_or_absent
from cait_tf.atomic import write_text
from cait_tf.target_scale import folded

FILE = "model.safetensors"
CONFIG = "config.json"

#: timm's crop mode for each of our resize modes. timm has no equal of ``pad``: timm's ``border`` resizes
#: the shorter side and fills with the mean colour. ``pad`` resizes the longer side and fills with black.
_CROP_MODES = {"shorter_side": "center", "squash": "squash"}
#: timm does not have our own variants. It builds them from this architecture and `model_args`.
_FAMILY = "cait_xxs24_224"


class TimmUnavailable(Exception):
    """timm is installed but does not run on this machine. The message says why."""


def export(exported: ExportedModel, validation: ValidationSamples, directory: Path) -> dict:
    """Write and check ``model.safetensors`` and ``config.json``, as `formats.Export` specifies.

    The head's kernel and bias are divided by the temperature, so that timm's logits give calibrated
    probabilities. Those of a regressor contain the mean and the standard deviation of the targets. If timm is installed and runs, timm's logits are compared with evaluation. Otherwise
    the logits of a new `cait_tf` model that loads the file are compared.

    Returns:
        The record of `formats.Export`, with ``checked_by``: ``timm`` or ``cait_tf``.

    Raises:
        UserError: timm does not load the file, or the outputs differ from evaluation.
    """
    linear = exported.postprocessing.linear()
    with whole_or_absent(directory) as partial:
        plain = _plain_classifier(exported.model, linear.divisor)
        cait_tf.save_weights(plain, partial / FILE, exported.provenance.metadata())
        write_text(
            partial / CONFIG, json.dumps(hub_config(exported, linear.facts), indent=2) + "\n"
        )
        by, notes = "cait_tf", []
        if find_spec("timm"):
            try:
                by, logits = "timm", _by_timm(partial, validation.images)
            except TimmUnavailable as error:
                by = "cait_tf"
                notes = [f"timm did not run ({error}): cait_tf checked the file instead"]
        if by == "cait_tf":
            logits = _by_cait_tf(plain, partial, validation.images)
        values = linear.remaining.tensor(tf.constant(logits)).numpy()
        difference = check_values("weights for timm", values, validation)
    record = {"path": str(directory / FILE), "difference": difference, "checked_by": by}
    return {**record, "notes": notes}


def hub_config(exported: ExportedModel, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of ``config.json``: timm's keys, and `Linear.facts`."""
    way, backbone = exported.preprocessing, exported.model.backbone
    published = cait_tf.get_variant(exported.variant).published
    height, width = backbone.image_size
    model_args: dict[str, Any] = {"img_size": height if height == width else [height, width]}
    if backbone.in_channels != 3:
        model_args["in_chans"] = backbone.in_channels
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
        "input_size": [backbone.in_channels, *backbone.image_size],
        "fixed_input_size": True,
        "crop_pct": way.crop_pct,
        "interpolation": way.interpolation,
        "mean": list(way.mean),
        "std": list(way.std),
        "num_classes": len(exported.class_names),
        "first_conv": "patch_embed.proj",
        "classifier": "head",
    }
    if way.resize_mode in _CROP_MODES:
        pretrained["crop_mode"] = _CROP_MODES[way.resize_mode]
    return {
        "architecture": exported.variant if published else _FAMILY,
        "num_classes": len(exported.class_names),
        "num_features": backbone.embed_dim,
        "global_pool": "token",
        "label_names": list(exported.class_names),
        "model_args": model_args,
        "pretrained_cfg": pretrained,
        **facts,
    }


def _plain_classifier(model: keras.Model, divisor: float) -> cait_tf.CaiTClassifier:
    """Return a copy with a linear head whose outputs are the calibrated logits, or the numbers."""
    config, head = model.get_config(), [np.array(one) for one in model.head.weights]
    if scale := getattr(model, "target_scale", None):
        head = folded(model.head, scale)
        config["num_classes"] = config.pop("num_targets")
        config["class_names"] = config.pop("target_names")
    plain = cait_tf.CaiTClassifier.from_config(config)
    plain.backbone.set_weights(model.backbone.get_weights())
    plain.head.set_weights([one / divisor for one in head])
    plain.backbone.prepared = model.backbone.prepared
    return plain


def _by_timm(directory: Path, images: Any) -> np.ndarray:
    """Return timm's logits ``(B, C)`` of normalised images ``(B, H, W, 3)``, computed in a new process.

    Raises:
        TimmUnavailable: timm or torch cannot be imported, or a signal ended the process.
        UserError: timm does not load the file.
    """
    config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    arguments = {
        "model_name": config["architecture"],
        "num_classes": config["num_classes"],
        "checkpoint_path": str(directory / FILE),
        **config["model_args"],
    }
    with tempfile.TemporaryDirectory() as folder:
        given, asked, answer = (Path(folder) / name for name in ("model.json", "in.npz", "out.npz"))
        given.write_text(json.dumps(arguments))
        np.savez(asked, images=np.asarray(images).transpose(0, 3, 1, 2))
        done = subprocess.run(
            [sys.executable, "-m", timm_logits.__name__, given, asked, answer],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},  # the same packages
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode == 0:
            return np.load(answer)["logits"]
    if done.returncode < 0:
        raise TimmUnavailable(f"its process ended with {_signal_name(-done.returncode)}")
    reason = (done.stderr.strip().splitlines() or ["no details"])[-1]
    if done.returncode == timm_logits.UNAVAILABLE:
        raise TimmUnavailable(reason)
    raise UserError(
        f"export: got weights that timm does not load ({reason}), expected a file that timm reads. The "
        "export is removed, the checkpoints are kept"
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _by_cait_tf(plain: cait_tf.CaiTClassifier, directory: Path, images: Any) -> np.ndarray:
    """Return the logits ``(B, C)`` of a new `cait_tf` model that loads the file."""
    model: keras.Model = cait_tf.CaiTClassifier.from_config(plain.get_config())
    cait_tf.load_weights(model, directory / FILE)
    return np.asarray(model(images, training=False))
