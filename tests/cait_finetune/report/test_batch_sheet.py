"""The picture of a batch shows any number of images and names of any length."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cait_finetune.report.batch_sheet import draw_batch_sheet


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 5, 8, 9, 32])
def test_every_image_is_on_it(count, tmp_path):
    images = np.zeros((count, 8, 8, 3))
    images[..., 0] = 1.0  # nothing else on the sheet is red
    draw_batch_sheet(
        images, ["a name of a class that is far too long\n40%"] * count, "title", tmp_path / "b.png"
    )
    with Image.open(tmp_path / "b.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    red = (pixels[..., 0] > 240) & (pixels[..., 1:] < 15).all(axis=-1)
    # Count the separate red stretches of each pixel row and column, and take the largest count.
    columns = max(np.count_nonzero(np.diff(row.astype(int)) == 1) for row in red)
    rows = max(np.count_nonzero(np.diff(column.astype(int)) == 1) for column in red.T)
    assert (rows, columns) == (-(-count // 8), min(count, 8))
    assert pixels.shape[1] > 800
