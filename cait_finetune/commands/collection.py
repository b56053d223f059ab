"""``cait-finetune collection names=[cait_s24_224,cait_s24_224_fe]``: build SavedModels of the collection.

The models have the signature, outputs and variable names of the CaiT collection that was on
TensorFlow Hub (`cait_tf.collection`). Each model gets a ``README.md`` and a ``.tar.gz``. The command skips a model that exists with
the same weights.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from cait_finetune.cli.arguments import helped, read_keys
from cait_finetune.cli.entry import command
from cait_finetune.config.keys import key
from cait_finetune.config.places import expanded_path
from cait_finetune.errors import bad_value
from cait_tf.quiet import quiet_imports


@dataclass
class CollectionConfig:
    """The keys of the command."""

    names: list[str] = key("Variants. NAME_fe is the feature extractor of NAME.", [])
    all: bool = key("Build all twenty models.", False)
    feature_extractor: bool = key("Build only feature extractors.", False)
    weights: str = key(
        "hub (Hugging Face), official (the authors' files), none (random weights), or a weights file. {name} in it stands for the variant's name.",
        "hub",
    )
    out: str = key("Folder of the models.", "collection")


def build(config: CollectionConfig) -> None:
    """Build the models, and print a line for each.

    Raises:
        UserError: the keys name no models, or name models in addition to ``all``.
        CaiTError: a model cannot be built.
    """
    if config.all == bool(config.names):
        got = "names beside all=true" if config.names else "nothing"
        raise bad_value("names", got, "names=[NAME,NAME], or all=true")
    with quiet_imports():
        from cait_tf import collection

    chosen = list(collection.ENTRIES)
    if config.names:
        chosen = [collection.entry(name, config.feature_extractor) for name in config.names]
    elif config.feature_extractor:
        chosen = [one for one in chosen if one.feature_extractor]
    collection.build_many(chosen, config.weights, expanded_path("out", config.out))


def main() -> None:
    """Entry point. On a user's mistake, print one message and exit with status 1."""
    with command("cait_finetune collection"):
        if not helped(sys.argv[1:], __doc__, CollectionConfig):
            build(read_keys(sys.argv[1:], CollectionConfig))
