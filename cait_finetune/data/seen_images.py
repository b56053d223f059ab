"""The images that weights were trained on, as a sample of content hashes that travels with the weights.

A bottom-k sketch (Cohen & Kaplan 2007, "Summarizing data using bottom-k sketches"): the k lowest hashes
of a set. The sketch of a union follows from the sketches of its parts, and whether another image is in
the set can be told for every image whose hash is at most the sketch's limit.
"""

from __future__ import annotations

import base64
import dataclasses

import numpy as np

#: Hashes that a sketch keeps, 8 bytes each. Of 1.3 million images about 160 of 50,000 can be told.
SIZE = 4096
_HIGHEST = int(np.iinfo(np.int64).max)


@dataclasses.dataclass(frozen=True)
class SeenImages:
    """Content hashes ``(K,)`` int64, ascending: all hashes of the set that are at most ``limit``.

    ``complete`` is false where some images of the set have unknown contents. ``kinds``: how they were
    hashed; hashes of two kinds cannot be compared.
    """

    hashes: np.ndarray
    limit: int = _HIGHEST
    complete: bool = True
    kinds: frozenset[str] = frozenset()

    @classmethod
    def of(cls, hashes: np.ndarray | None, kind: str = "") -> SeenImages:
        """The sketch of images with these content hashes ``(N,)`` int64; those below 0 are unknown.

        `None`: nobody looked at the contents. `kind`: `Source.hash_kind`.
        """
        if hashes is None:
            return cls(np.array([], np.int64), complete=False)
        known = hashes >= 0
        return cls(
            np.unique(hashes[known]).astype(np.int64),
            complete=bool(known.all()),
            kinds=frozenset({kind} - {""}),
        )._cut()

    def union(self, other: SeenImages) -> SeenImages:
        """The sketch of both sets of images."""
        limit = min(self.limit, other.limit)
        both = np.union1d(self.hashes, other.hashes)
        complete = self.complete and other.complete
        kinds = self.kinds | other.kinds
        return SeenImages(both[both <= limit], limit, complete, kinds)._cut()

    def count(self, hashes: np.ndarray) -> tuple[int, int]:
        """How many of some images are in the set, and of how many the sketch can tell."""
        asked = hashes[(hashes >= 0) & (hashes <= self.limit)]
        return int(np.isin(asked, self.hashes).sum()), len(asked)

    def to_text(self) -> str:
        """For the metadata of a weights file."""
        packed = base64.b64encode(self.hashes.astype("<i8").tobytes()).decode()
        known = "all" if self.complete else "some"
        return f"{self.limit:x}:{packed}:{','.join(sorted(self.kinds))}:{known}"

    @classmethod
    def from_text(cls, text: str) -> SeenImages | None:
        """The inverse of `to_text`; `None` for any other text."""
        try:
            limit, packed, kinds, known = text.split(":")
            hashes = np.frombuffer(base64.b64decode(packed, validate=True), "<i8")
            kinds = frozenset(kinds.split(",")) - {""}
            return cls(hashes.astype(np.int64), int(limit, 16), known == "all", kinds)
        except ValueError:
            return None

    def _cut(self) -> SeenImages:
        if len(self.hashes) <= SIZE:
            return self
        kept = self.hashes[:SIZE]
        return SeenImages(kept, int(kept[-1]), self.complete, self.kinds)
