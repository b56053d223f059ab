"""Weights as timm, in PyTorch, takes them: its names, and the ``config.json`` of its repositories."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np

import cait_tf
from cait_finetune.errors import UserError
from cait_finetune.export import timm_logits
from cait_finetune.export.exported_model import ExportedModel, ValidationSamples
from cait_finetune.export.parity import PIXEL_TOLERANCE, require_parity, whole_or_absent
from cait_tf.atomic import write_text

FILE = "model.safetensors"
CONFIG = "config.json"

#: timm's names for how an image is made square. Its ``border`` fills with the mean colour, where ours
#: is black, and keeps the shorter side: nothing of timm's is what ``pad`` does.
_CROP_MODES = {"shorter_side": "center", "squash": "squash"}
#: timm knows no variant of our own, and makes one out of this by `model_args`.
_FAMILY = "cait_xxs24_224"


class TimmUnavailable(Exception):
    """timm is installed, and does not run here; the text says why."""


def export(exported: ExportedModel, validation: ValidationSamples, directory: Path) -> dict:
    """Write and check ``model.safetensors`` and ``config.json``: as `formats.Export`.

    The temperature is divided into the head, so that a softmax of timm's logits is calibrated.
    timm checks the file where it is installed and runs; else a new model of ours reads the file.

    Returns:
        As `formats.Export`; ``checked_by`` is ``timm`` or ``cait_tf``.

    Raises:
        UserError: it does not answer as evaluation does.
    """
    with whole_or_absent(directory) as partial:
        head = exported.model.head
        trained = [variable.numpy() for variable in head.weights]
        try:
            for variable, value in zip(head.weights, trained, strict=True):
                variable.assign(value / exported.temperature)
            cait_tf.save_weights(exported.model, partial / FILE, exported.provenance.metadata())
        finally:
            for variable, value in zip(head.weights, trained, strict=True):
                variable.assign(value)
        write_text(partial / CONFIG, json.dumps(hub_config(exported), indent=2) + "\n")
        by, notes = "cait_tf", []
        if find_spec("timm"):
            try:
                by, logits = "timm", _by_timm(partial, validation.images)
            except TimmUnavailable as error:
                by = "cait_tf"
                notes = [f"timm could not be asked ({error}): checked with cait_tf's own reader"]
        if by == "cait_tf":
            logits = _by_cait_tf(exported, partial, validation.images)
        expected = exported.probabilities(validation.logits)
        got = exported.probabilities(logits * exported.temperature)
        difference = float(np.abs(got - expected).max())
        require_parity(
            "weights for timm",
            validation.files,
            expected,
            logits.argmax(-1),
            {"probabilities": difference},
            PIXEL_TOLERANCE,
        )
    record = {"path": str(directory / FILE), "difference": difference, "checked_by": by}
    return {**record, "notes": notes}


def hub_config(exported: ExportedModel) -> dict[str, Any]:
    """What ``config.json`` holds: timm's keys, and ``temperature`` and ``multi_label`` of our own."""
    way, backbone = exported.preprocessing, exported.model.backbone
    published = cait_tf.get_variant(exported.variant).published
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
        "temperature": exported.temperature,
        "multi_label": exported.multi_label,
    }


def _by_timm(directory: Path, images: Any) -> np.ndarray:
    """Compute timm's logits of normalised images ``(B, S, S, 3)``, in a process of its own.

    Raises:
        TimmUnavailable: timm or torch cannot be imported, or the process is ended by a signal.
        UserError: timm does not take the file.
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
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},  # imports what we import
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


def _by_cait_tf(exported: ExportedModel, directory: Path, images: Any) -> np.ndarray:
    """Compute the logits of a model of ours that is given the file."""
    model: keras.Model = cait_tf.CaiTClassifier.from_config(exported.model.get_config())
    cait_tf.load_weights(model, directory / FILE)
    return np.asarray(model(images, training=False))
