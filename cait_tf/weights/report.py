"""The report of loading weights, tensor by tensor."""

from __future__ import annotations

import dataclasses

from cait_tf.weights.class_names import ClassMatch


@dataclasses.dataclass(frozen=True)
class LoadingReport:
    """Where each parameter of the model came from.

    ``loaded``, ``resampled`` and ``initialised`` together name every parameter once, by its timm name.

    Attributes:
        source: the path or repository that was loaded.
        format: name of the source's format.
        loaded: parameters copied from the source. A head that was matched by class name is here, even
            if only some of its columns were copied.
        resampled: the position embedding, if it was interpolated to the model's grid.
        initialised: parameters that kept their initial values, such as a new head.
        unused: tensors of the source that the model did not load, such as the old head.
        notes: remarks for the user.
        warning: which columns of the head keep their values, although the source's head has as many
            columns or some of the model's classes. Empty: no warning.
        classes: the source's and the model's class lists. `None`: the lists were not compared, for
            example because one of them is unknown.
        sha256: checksum of all tensors of the source. Empty: not computed.
    """

    source: str
    format: str
    loaded: tuple[str, ...]
    resampled: tuple[str, ...] = ()
    initialised: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    classes: ClassMatch | None = None
    sha256: str = ""
    warning: str = ""

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.resampled) + len(self.initialised)
        lines = [
            f"{len(self.loaded) + len(self.resampled)} of {total} tensors from "
            f"{self.source} ({self.format})",
            *self.notes,
        ]
        return "; ".join(lines)
