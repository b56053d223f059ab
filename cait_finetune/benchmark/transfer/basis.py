"""What the runs of a comparison depend on besides their command lines: kept results are keyed by it."""

from __future__ import annotations

import dataclasses
import hashlib
import json

from cait_finetune import model as models
from cait_finetune.benchmark.transfer.cell import Cell
from cait_finetune.cli.hydra_app import configure
from cait_finetune.data.fingerprint import fingerprint
from cait_finetune.data.opening import open_source


class Bases:
    """Checksums of the whole configuration, the data set and the pretrained weights, by cell.

    Each data set and each set of weights is read once.
    """

    def __init__(self) -> None:
        self._of_data: dict[tuple[str, str | None], str] = {}
        self._of_weights: dict[tuple[str, str], str] = {}
        self._known: dict[Cell, str] = {}

    def __call__(self, cell: Cell) -> str:
        """The checksum of a cell; share, seed and length do not count, as the command line has them.

        Raises:
            UserError: the data set cannot be opened, or the weights cannot be downloaded.
        """
        usual = dataclasses.replace(cell, share=1.0, seed=0, epochs=1, steps_per_epoch=1)
        if usual not in self._known:
            config = configure(*usual.words)
            place = (cell.dataset, cell.data_dir)
            if place not in self._of_data:
                self._of_data[place] = fingerprint(open_source(config.dataset))[0].digest
            start = (config.model.name, config.model.weights)
            if start not in self._of_weights:
                self._of_weights[start] = models.start_checksum(*start)
            facts = [dataclasses.asdict(config), self._of_data[place], self._of_weights[start]]
            text = json.dumps(facts, sort_keys=True)
            self._known[usual] = hashlib.sha256(text.encode()).hexdigest()
        return self._known[usual]
