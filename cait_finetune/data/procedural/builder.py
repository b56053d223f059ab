"""The TFDS builder of the procedural data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow_datasets as tfds

from cait_finetune.data.procedural import characters, fractals, style, textures

_SEED = 20210331  # seed of the data set: another seed gives other images
_SIZE = 32  # pixels
_SPLITS = {"train": 0, "validation": 1, "test": 2}  # the number is part of each image's seed

_Drawer = Callable[[np.random.Generator], np.ndarray]


@dataclasses.dataclass
class ProceduralConfig(tfds.core.BuilderConfig):
    """Number of classes of each kind, and of images per class.

    Attributes:
        letters: number of letter classes. `None`: all letters.
        fractals: number of fractal classes.
        textures: number of texture classes.
        train: training images per class.
        held_out: images per class in validation, and as many in test.
    """

    letters: int | None = None
    fractals: int = 300
    textures: int = 200
    train: int = 60
    held_out: int = 2


class Procedural(tfds.core.GeneratorBasedBuilder):
    """Images of letters (without digits), fractals and textures, 32x32 pixels, drawn from a seed."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (
        ProceduralConfig(name="full", description="for pretraining"),
        ProceduralConfig(
            name="small",
            description="a few of each, to try something",
            letters=20,
            fractals=6,
            textures=4,
            train=20,
            held_out=4,
        ),
    )

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="Images made by cait-finetune: letters, fractals and textures.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(_SIZE, _SIZE, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=list(self._drawers())),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        return {split: self._generate_examples(split) for split in _SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict]]:
        config = self.builder_config
        count = config.train if split == "train" else config.held_out
        for label, drawer in enumerate(self._drawers().values()):
            for number in range(count):
                rng = np.random.default_rng([_SEED, _SPLITS[split], label, number])
                yield f"{label}_{number}", {"image": drawer(rng), "label": label}

    def _drawers(self) -> dict[str, _Drawer]:
        """Return the drawing function of each class, by class name in label order."""
        config = self.builder_config
        letters = characters.characters()[: config.letters]
        drawers = {one.name.lower(): _letter(one) for one in letters}
        drawers |= {f"fractal {n}": _fractal(n) for n in range(config.fractals)}
        return drawers | {f"texture {n}": _texture(n) for n in range(config.textures)}


def _letter(character: characters.Character) -> _Drawer:
    def draw(rng: np.random.Generator) -> np.ndarray:
        font = character.fonts[rng.integers(len(character.fonts))]
        shape = style.placed(characters.draw(character.letter, font), rng, _SIZE)
        return style.worn(style.coloured(shape, rng), rng)

    return draw


def _fractal(number: int) -> _Drawer:
    def draw(rng: np.random.Generator) -> np.ndarray:
        maps = fractals.changed(fractals.system(_SEED, number), rng)
        shape = style.bent(fractals.draw(maps, rng, _SIZE), rng)
        return style.worn(style.coloured(shape, rng), rng)

    return draw


def _texture(number: int) -> _Drawer:
    def draw(rng: np.random.Generator) -> np.ndarray:
        shape = textures.draw(textures.texture(_SEED, number), rng, _SIZE)
        return style.worn(style.coloured(shape, rng), rng)

    return draw
