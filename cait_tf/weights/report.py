"""What a load did, tensor by tensor."""

from __future__ import annotations

import dataclasses

from cait_tf.weights.class_names import ClassMatch


@dataclasses.dataclass(frozen=True)
class LoadingReport:
    """Where each parameter of the model came from. Names are timm's; every one is in one list.

    ``loaded``: copied as they are. ``resampled``: the position embedding, interpolated to the
    model's grid. ``initialised``: left as created (a new head). ``unused``: tensors of the source
    that the model has no place for (the old head). ``classes``: the class list of the source beside
    the model's; `None` where one of them is not known. A head whose columns were found by name is
    in ``loaded``, also where only some of its columns were. ``sha256``: of all tensors of the source.
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

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.resampled) + len(self.initialised)
        lines = [
            f"{len(self.loaded) + len(self.resampled)} of {total} tensors from "
            f"{self.source} ({self.format})",
            *self.notes,
        ]
        return "; ".join(lines)
