import matplotlib.image
import pytest

from cait_finetune.report.speed import draw_speed


def step(number, speed):
    return {"step": number, "images_per_second": speed, "data_wait_share": 0.5}


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_single_point_is_visible(tmp_path, steps):
    """The first of several records is left out, so two records give one point."""
    draw_speed([step(n, 100.0) for n in range(steps)], tmp_path / "speed.png")
    picture = matplotlib.image.imread(tmp_path / "speed.png")[..., :3]  # (h, w, 3)
    coloured = picture.max(axis=-1) - picture.min(axis=-1) > 0.3
    left, right = coloured[:, : coloured.shape[1] // 2], coloured[:, coloured.shape[1] // 2 :]
    assert min(left.sum(), right.sum()) > 20
