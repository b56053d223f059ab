"""The base class of models that take decoded pixels: preprocessing, configuration, saved settings.

The models are for export formats that cannot decode image files. They use only `keras.ops`
operations that ONNX and LiteRT have too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import keras

from cait_tf.classifier import CaiTClassifier
from cait_tf.errors import CaiTError, WeightsError
from cait_tf.preprocessing import resize_and_normalise
from cait_tf.resampling import KERNELS
from cait_tf.weights.class_names import match_classes, some
from cait_tf.weights.keras_file import OF_IMAGES, as_numbers, of_numbers


class ImageModel(keras.Model):
    """Images (B, h, w, 3) uint8 to the outputs of a model with a head.

    A model with another number of channels c takes (B, h, w, c) float32: 8-bit levels divided by 255,
    16-bit levels divided by 65535, and other values as they are.

    A subclass names the attribute of its inner model (`INNER`), the key of the columns' names
    (`NAMES`) and its settings (`SETTINGS`), each an attribute and an argument of its constructor. It
    calls `adopt` when it has these attributes.

    Args:
        crop_pct, interpolation, mean, std, resize_mode, antialias: as for `ImageClassifier`.

    Raises:
        CaiTError: `resize_mode` or `interpolation` is unknown, or `mean` and `std` differ in length.
    """

    INNER = ""
    NAMES = ""
    SETTINGS: tuple[str, ...] = OF_IMAGES

    def __init__(
        self,
        crop_pct: float,
        interpolation: str,
        mean: Sequence[float],
        std: Sequence[float],
        resize_mode: str,
        antialias: bool,
        name: str,
    ) -> None:
        super().__init__(name=name, autocast=False)
        check_choice("resize_mode", resize_mode, ("shorter_side", "squash", "pad"))
        check_choice("interpolation", interpolation, tuple(KERNELS))
        if len(mean) != len(std):
            raise CaiTError(f"std: got {len(std)} numbers, expected {len(mean)}, as many as mean")
        self.crop_pct = crop_pct
        self.interpolation = interpolation
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.resize_mode = resize_mode
        self.antialias = antialias

    def adopt(self, inner: CaiTClassifier, names: Sequence[str], noun: str) -> None:
        """Take the inner model and the names of its columns. Name columns that have no names.

        Args:
            noun: what a column is, for messages.

        Raises:
            CaiTError: `names` do not fit the columns of `inner`.
        """
        if len(names) != inner.num_classes:
            raise CaiTError(
                f"{self.NAMES}: got {len(names)}, expected {inner.num_classes}, one for each {noun}"
            )
        if inner.class_names is None:
            inner.class_names = tuple(names)
        elif not match_classes(inner.class_names, names).in_order:
            raise CaiTError(
                f"{self.NAMES}: got {some(names)}, expected the {self.INNER}'s: "
                f"{some(inner.class_names)}"
            )
        channels = inner.backbone.in_channels
        if len(self.mean) != channels:
            raise CaiTError(
                f"mean: got {len(self.mean)} numbers, expected {channels}, one for each channel of "
                f"the {self.INNER}'s images"
            )
        setattr(self, self.INNER, inner)
        setattr(self, self.NAMES, tuple(names))
        backbone = inner.backbone
        if (
            backbone.prepared is None
        ):  # (checksum, preparation): the empty checksum matches no weights
            own = {key: value for key, value in self._own().items() if key in OF_IMAGES}
            backbone.prepared = ("", json.dumps(own))
        self.built = True

    def preprocess(self, images: Any) -> Any:
        """Resize and normalise ``(B, h, w, c)`` to ``(B, H, W, c)`` float32."""
        return resize_and_normalise(
            images,
            getattr(self, self.INNER).backbone.image_size,
            crop_pct=self.crop_pct,
            interpolation=self.interpolation,
            mean=self.mean,
            std=self.std,
            resize_mode=self.resize_mode,
            antialias=self.antialias,
        )

    def inner_outputs(self, images: Any) -> Any:
        """Return the inner model's outputs ``(B, C)`` for images as in the class's description.

        Raises:
            CaiTError: the images have another dtype, or another number of axes or channels. The value
                range of other dtypes is not known.
        """
        kind = keras.backend.standardize_dtype(images.dtype)
        channels = len(self.mean)
        if len(images.shape) != 4:
            hint = "Give a single image as images[None]." if len(images.shape) == 3 else ""
            raise CaiTError(
                f"images: got shape {tuple(images.shape)}, expected (B, h, w, {channels})"
                + f"\n  {hint}" * bool(hint)
            )
        if channels != 3 and (kind != "float32" or images.shape[-1] != channels):
            raise CaiTError(
                f"images: got {kind} of shape {tuple(images.shape)}, expected float32 of shape "
                f"(B, h, w, {channels})\n"
                "  Divide 8-bit levels by 255 and 16-bit levels by 65535."
            )
        if channels == 3 and kind != "uint8":
            hint = (
                "Divide 16-bit levels by 257"
                if kind == "uint16"
                else "Convert levels from 0 to 255"
            )
            raise CaiTError(
                f"images: got {kind}, expected uint8 levels from 0 to 255\n"
                f"  {hint} with keras.ops.cast(images{' // 257' * (kind == 'uint16')}, 'uint8')."
            )
        return getattr(self, self.INNER)(self.preprocess(images), training=False)

    def save_own_variables(self, store: Any) -> None:
        """Store the weights and the settings of pre- and postprocessing, for `load_own_variables`."""
        super().save_own_variables(store)
        store["own"] = as_numbers(self._own())

    def load_own_variables(self, store: Any) -> None:
        """Load the weights of a model whose pre- and postprocessing settings equal this model's.

        Raises:
            WeightsError: a value differs.
        """
        found = {key: store[key] for key in store.keys()}  # noqa: SIM118  no dict
        theirs = self._upgraded(of_numbers(found.pop("own"))) if "own" in found else self._own()
        unlike = {
            key: theirs.get(key) for key, own in self._own().items() if theirs.get(key) != own
        }
        if unlike:
            shown = "; ".join(f"{key} {value}" for key, value in unlike.items())
            raise WeightsError(
                f"weights: got a file of a model with {shown}, expected this model's values\n"
                "  keras.saving.load_model reads a .keras file with its own values."
            )
        super().load_own_variables(found)

    @staticmethod
    def _upgraded(values: dict) -> dict:
        """Return the settings in a file of any version as settings of this version."""
        return values

    def _own(self) -> dict:
        settings = {key: getattr(self, key) for key in self.SETTINGS}
        return json.loads(json.dumps(settings))  # lists, no tuples

    def get_config(self) -> dict:
        return {
            self.INNER: keras.saving.serialize_keras_object(getattr(self, self.INNER)),
            self.NAMES: list(getattr(self, self.NAMES)),
            **self._own(),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> ImageModel:
        inner = keras.saving.deserialize_keras_object(config[cls.INNER], custom_objects)
        return cls(**{**cls._upgraded(config), cls.INNER: inner})


def check_choice(key: str, got: str, known: Sequence[str]) -> None:
    """Check that `got` is one of the known values.

    Raises:
        CaiTError: it is not.
    """
    if got not in known:
        raise CaiTError(f"{key}: got {got!r}, expected one of {', '.join(known)}")
