"""Check the files of a folder or table, divide them into splits, and return a source."""

from __future__ import annotations

import dataclasses

import numpy as np

from cait_finetune.config import DatasetConfig
from cait_finetune.data.image_files.duplicates import warn_of_duplicates
from cait_finetune.data.image_files.files import Files, FileSource
from cait_finetune.data.image_files.inspection import deep_pngs, inspected
from cait_finetune.data.image_files.split_file import saved_split
from cait_finetune.data.image_files.splits import Plan
from cait_finetune.data.source import SPLITS
from cait_finetune.data.targets.one_class import ONE_CLASS
from cait_finetune.data.targets.target import Target
from cait_finetune.data.tiff import check_reader
from cait_finetune.errors import bad_value


@dataclasses.dataclass(frozen=True)
class Listing:
    """The files that a folder or table lists, and the plan of their splits.

    Attributes:
        files: N files.
        parts: ``(N,)``, the folder or the value of the split column, such as ``val``, of each file.
            All are empty without split folders or a split column.
        plan: the part or the share of each split.
        class_names: names in label order.
        split_file: default path of the CSV file that keeps the split of each image.
        notes: facts about the listing that the user should know.
        target: the kind of label.
    """

    files: Files
    parts: np.ndarray
    plan: Plan
    class_names: tuple[str, ...]
    split_file: str
    notes: tuple[str, ...] = ()
    target: Target = ONE_CLASS


def assembled(config: DatasetConfig, listing: Listing, bands: bool = False) -> FileSource:
    """Check the listed files, divide them by `listing.plan` and return the source.

    ``dataset.check=false`` omits the check of the file contents and the search for duplicates.

    Args:
        bands: as in `listing.is_image`.

    Raises:
        UserError: a split is empty; or in the cases of `inspected` and `saved_split`.
    """
    files, plan, notes = listing.files, listing.plan, listing.notes
    rows = {
        split: np.flatnonzero(listing.parts == plan.parts.get(split, ""))
        for split in SPLITS
        if split in plan.parts or not plan.parts
    }
    if bands:
        check_reader(files.paths, "dataset.data_dir")
    if config.check:
        hashes = inspected(files.paths, files.ids, config.on_corrupt, bands)  # (N,)
        files = dataclasses.replace(files, content_hashes=hashes)
        if not bands and deep_pngs(files.paths):
            notes = (*notes, "files  PNGs of 16 bits are read by their upper eight bits")
    if plan.shares:
        pool = rows["train"]
        if files.content_hashes is not None:  # a file that cannot be read takes no place in a split
            pool = pool[files.content_hashes[pool] >= 0]
        divided, words = _divide(config, files, listing, pool)
        rows |= divided
        counts = " / ".join(f"{len(rows[split]):,}" for split in SPLITS)
        notes = (*notes, f"split  {', '.join([counts, *words])}")
    elif plan.words:
        notes = (*notes, f"split  {plan.words}")
    unreadable: tuple[str, ...] = ()
    left_out: dict[str, int] = {}
    if config.check:
        unreadable = tuple(files.ids[hashes < 0])
        left_out = {split: int((hashes[of_split] < 0).sum()) for split, of_split in rows.items()}
        rows = {split: of_split[hashes[of_split] >= 0] for split, of_split in rows.items()}
        # For evaluation only, the splits may share images on purpose.
        used = dict.fromkeys(SPLITS, rows["train"][:0])
        used["test"] = np.unique(np.concatenate(list(rows.values())))
        compared = used if config.evaluation_only else rows
        warn_of_duplicates(files, compared, listing.class_names, listing.target)
    for split in SPLITS:
        if not len(rows[split]):
            what = f"{plan.parts[split]!r}" if split in plan.parts else "a division"
            without = "readable image" if unreadable else "image"
            raise bad_value(
                f"dataset.splits.{split}",
                f"{what} with no {without}",
                "a split with images in it",
            )
    return FileSource(
        class_names=listing.class_names,
        sizes={split: len(rows[split]) for split in SPLITS},
        target=listing.target,
        weighted=files.weights is not None,
        notes=notes,
        name=config.name,
        files={split: files.rows(rows[split]) for split in SPLITS},
        unreadable=unreadable,
        left_out=left_out,
        divided=tuple(plan.shares),
        bands=bands,
    )


def _divide(
    config: DatasetConfig, files: Files, listing: Listing, pool: np.ndarray
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the rows of each split with a share of `pool`, and phrases on the division."""
    files, plan = files.rows(pool), listing.plan
    ids, first, number = np.unique(files.ids.astype(str), return_index=True, return_inverse=True)
    strata = listing.target.strata(files.labels[first])
    kept = saved_split(
        ids.tolist(),
        strata,
        plan.shares,
        config.splits,
        listing.split_file,
        None if files.content_hashes is None else files.content_hashes[first],
    )
    of_each = np.array(kept.splits)[number]  # rows of the same file get the same split
    words = [plan.words] if plan.words else []
    if len(kept.shares) == 2:
        aside = list(kept.shares)[1]
        words.append(f"{aside} is {kept.shares[aside]:.0%} of {plan.parts['train']}")
    return {split: pool[of_each == split] for split in plan.shares}, [*words, kept.words]
