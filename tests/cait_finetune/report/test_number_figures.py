import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cait_finetune.report import number_figures
from cait_finetune.report.number_figures import draw_predicted, draw_residuals

BOTH = pytest.mark.parametrize("draw", [draw_predicted, draw_residuals])


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Return a function that draws, checks the file, and returns the figure."""
    figures = []

    def remember(*args, **kwargs):
        figures.append(Figure(*args, **kwargs))
        return figures[-1]

    monkeypatch.setattr(number_figures, "Figure", remember)

    def make(draw, predicted, true, names, widths):
        path = tmp_path / "p.png"
        draw(np.asarray(predicted), np.asarray(true), names, np.asarray(widths), "title", path)
        with Image.open(path) as picture:
            picture.load()
        return figures[-1]

    return make


def headings(figure):
    return [ax.get_title() for ax in figure.axes if ax.get_title()]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def images_in(ax):
    """Return the number of images that an axis shows: points, or hexagons with their counts."""
    (points,) = [one for one in ax.collections if len(one.get_offsets()) and one.get_zorder() == 3]
    counts = points.get_array()
    return len(points.get_offsets()) if counts is None else int(counts.sum())


def data(images, targets, seed=0):
    true = np.random.default_rng(seed).uniform(-60, 60, (images, targets))
    return true + np.random.default_rng(seed + 1).normal(0, 5, true.shape), true


@BOTH
@pytest.mark.parametrize("images", [1, 5, 300, 4000])
def test_all_images_are_shown(drawn, draw, images):
    figure = drawn(draw, *data(images, 1), ["angle"], [8.0])
    assert images_in(figure.axes[0]) == images
    assert f"{images:,} image" in headings(figure)[0]
    assert ("darker: more images" in legend(figure)) == (images == 4000)


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("targets", [1, 2, 4, 5, 13])
def test_a_panel_per_target_up_to_twelve(drawn, draw, targets):
    names = [f"t{number}" for number in range(targets)]
    figure = drawn(draw, *data(30, targets), names, np.ones(targets))
    assert [text.split("\n")[0] for text in headings(figure)] == names[:12]
    more = " (the first 12 of 13 targets)" if targets > 12 else ""
    assert figure.get_suptitle() == "title" + more


def test_both_axes_are_equal_and_the_band_is_about_the_diagonal(drawn):
    ax = drawn(draw_predicted, *data(300, 1), ["angle"], [8.0]).axes[0]
    assert ax.get_xlim() == ax.get_ylim()
    assert ax.get_aspect() == 1
    (line,) = ax.lines
    assert list(line.get_xdata()) == list(line.get_ydata())
    corners = ax.collections[0].get_paths()[0].vertices
    assert np.abs(corners[:, 1] - corners[:, 0]) == pytest.approx(8)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("true", "predicted")


def test_residuals_are_against_the_prediction_with_a_histogram(drawn):
    predicted, true = data(300, 1)
    ax, beside = drawn(draw_residuals, predicted, true, ["angle"], [8.0]).axes
    points = ax.collections[-1].get_offsets()
    assert np.allclose(points, np.concatenate([predicted, predicted - true], axis=1))
    assert list(ax.lines[0].get_ydata()) == [0, 0]
    assert sum(bar.get_width() for bar in beside.patches) == 300
    assert ax.get_ylim() == beside.get_ylim()
    assert ax.get_ylim()[0] == -ax.get_ylim()[1]


@BOTH
def test_without_an_interval_there_is_no_band(drawn, draw):
    figure = drawn(draw, *data(5, 2), ["a", "b"], [math.inf, math.nan])
    assert "interval" not in legend(figure)
    assert all("no interval" in text for text in headings(figure))
    assert "interval" in legend(drawn(draw, *data(5, 2), ["a", "b"], [math.inf, 1]))


@BOTH
def test_predictions_that_are_not_finite_are_counted(drawn, draw):
    predicted, true = data(40, 3)
    predicted[:3, 0] = [math.nan, math.inf, -math.inf]
    predicted[:, 1] = math.nan
    true[:10, 0], true[:, 2] = math.nan, math.nan
    predicted[20, 0] = math.nan
    figure = drawn(draw, predicted, true, ["a", "b", "c"], [1, 1, 1])
    assert headings(figure) == [
        "a\n30 images, MAE –\n1 prediction not finite",
        "b\n40 images, MAE –\n40 predictions not finite",
        "c",
    ]
    assert images_in(figure.axes[0]) == 29
    said = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert said == ["no finite prediction", "no image has a true value"]


@BOTH
def test_an_extreme_prediction_is_outside_the_axes_and_counted(drawn, draw):
    predicted, true = data(300, 1)
    predicted[7] = 1e12
    figure = drawn(draw, predicted, true, ["a"], [8.0])
    assert "1 prediction outside the axes" in headings(figure)[0]
    assert max(map(abs, figure.axes[0].get_xlim())) < 200
    assert images_in(figure.axes[0]) == 299


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("images", [1, 2, 2000])
def test_constant_values(drawn, draw, scale, images):
    same = np.full((images, 1), 3 * scale)
    for predicted, true in ((same, same), (same, same - scale), (same * 0, same * 0)):
        figure = drawn(draw, predicted, true, ["a"], [scale])
        assert images_in(figure.axes[0]) == images


@BOTH
def test_a_model_far_from_the_values_is_shown(drawn, draw):
    _, true = data(50, 1)
    figure = drawn(draw, true * 0.001, true + 5000, ["a"], [8.0])
    assert images_in(figure.axes[0]) == 50


@BOTH
def test_no_images(drawn, draw):
    figure = drawn(draw, np.zeros((0, 2)), np.zeros((0, 2)), ["a", "b"], [1, math.inf])
    assert headings(figure) == ["a", "b"]
    assert [text.get_text() for ax in figure.axes for text in ax.texts] == [
        "no image has a true value"
    ] * 2


@BOTH
@pytest.mark.parametrize(
    "name", ["$\\frac{x}{$", "a$b$_^%#", "角度" * 30, "زاوية", "long " * 40, "x" * 90, "a\nb", ""]
)
def test_any_name(drawn, draw, name):
    (heading,) = headings(drawn(draw, *data(5, 1), [name], [8.0]))
    first = heading.split("\n")[0]
    assert len(first) <= (18 if "角" in name else 34)
    assert first.rstrip("…") in " ".join(name.split())


@BOTH
@pytest.mark.parametrize("power", [-12, -4, 6, 30])
def test_ticks_have_no_common_factor(drawn, draw, power):
    predicted, true = data(20, 1)
    figure = drawn(draw, predicted * 10.0**power, true * 10.0**power, ["a"], [8.0])
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        assert axis.get_offset_text().get_text() == ""
        assert "−0" not in [text.get_text() for text in axis.get_ticklabels()]
