"""Curves, scatters and frames: every run, share and box is drawn, once, where it was measured."""

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.text import Text

from lib.report import curve_plot, forest_plot, gallery, image_grid, scatter_plot, style

mpl.use("Agg")

SHARES, BACKBONES, EPOCHS = (0.01, 0.05, 0.45), ("resnet18", "vit_tiny"), (1, 2, 3)


def histories(seeds=(42,)) -> pd.DataFrame:
    """Histories that say where they come from: the epoch, ten times the share, a thousandth a
    seed."""
    return pd.DataFrame(
        [
            {
                "run": f"{backbone}-{p}-{seed}",
                "method": "byol",
                "backbone": backbone,
                "train_share": p,
                "seed": seed,
                "health": "healthy",
                "epoch": epoch,
                "metric": metric,
                "value": epoch + 10 * p + 0.001 * (seed - 42),
            }
            for backbone in BACKBONES
            for p in SHARES
            for seed in seeds
            for epoch in EPOCHS
            for names in curve_plot.ROWS
            for metric in names
            if metric != "rankme" or epoch == 3
        ]
    )


def points(methods=("supervised", "byol", "random")) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "method": method,
                "backbone": backbone,
                "train_share": share,
                "health": "healthy",
                "f1": share,
                "rescaled": 0.1 * (1 + i),
            }
            for i, method in enumerate(methods)
            for backbone in BACKBONES
            for share in SHARES
        ]
    )


def diamonds(ax) -> np.ndarray:
    """Where the hollow diamonds of the paper’s values lie, (n, 2)."""
    corners = mpl.markers.MarkerStyle("D").get_path()
    hollow = [c for c in ax.collections if len(c.get_facecolors()) == 0 and len(c.get_offsets())]
    return np.concatenate(
        [
            np.zeros((0, 2)),
            *(
                c.get_offsets()
                for c in hollow
                if len(c.get_paths()) and len(c.get_paths()[0]) == len(corners)
            ),
        ]
    )


def paper(**row) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "backbone": "vit_tiny",
                "train_share": 0.05,
                "epoch": 2,
                "value": 1.25,
                "method": "byol",
            }
            | row
        ]
    )


def test_curves_draw_every_share_at_every_epoch():
    fig = curve_plot.draw(histories())
    assert [ax.get_title() for ax in fig.axes[:2]] == ["ResNet-18", "ViT-Tiny"]
    first, last = fig.axes[0], fig.axes[-1]
    drawn = [line.get_ydata() for line in last.lines]
    np.testing.assert_allclose(drawn, [[e + 10 * s for e in EPOCHS] for s in SHARES])
    assert len(first.lines) == 2 * len(SHARES)  # RankMe of batches and of the fixed images
    dashed = [line for line in first.lines if line.get_linestyle() == "--"]
    assert [len(line.get_xdata()) for line in dashed] == [1] * len(SHARES)


def test_a_single_epoch_is_a_point_and_no_empty_panel():
    measured = histories()
    fig = curve_plot.draw(measured[measured["epoch"] == 3])
    assert all(line.get_marker() in curve_plot.POINTS for ax in fig.axes for line in ax.lines)
    assert all(line.get_marker() == "None" for line in curve_plot.draw(measured).axes[-1].lines)


def test_nothing_lies_above_the_panel_of_rankme():
    """RankMe of the fixed images is many times that of a batch."""
    measured = histories()
    measured.loc[measured["metric"] == "rankme", "value"] += 70
    for ax in curve_plot.draw(measured).axes[:2]:
        assert max(max(line.get_ydata()) for line in ax.lines) < ax.get_ylim()[1]


def test_a_band_holds_the_seeds_and_the_line_is_their_mean():
    fig = curve_plot.draw(histories(seeds=(42, 44)))
    ax = fig.axes[-1]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [e + 0.101 for e in EPOCHS])
    filled = [one for one in ax.collections if isinstance(one, PolyCollection)]
    bands = [band.get_paths()[0].get_extents() for band in filled]
    first, last = sorted((band.y0, band.y1) for band in bands)  # of 1 and 45 %
    assert first == pytest.approx((1.1, 3.102)) and last == pytest.approx((5.5, 7.502))


def test_shares_differ_in_colour_order_and_width():
    lines = curve_plot.draw(histories()).axes[-1].lines
    grey = [np.dot(mpl.colors.to_rgb(line.get_color()), [0.299, 0.587, 0.114]) for line in lines]
    assert grey == sorted(grey)
    widths = [line.get_linewidth() for line in lines]
    assert widths == sorted(widths, reverse=True) and len(set(widths)) == len(SHARES)
    assert max(grey) < 0.75  # shows on white


def test_the_papers_values_are_diamonds_in_their_panel_alone():
    fig = curve_plot.draw(histories(), paper(metric="embedding_std"))
    assert [len(diamonds(ax)) for ax in fig.axes] == [0] * (len(fig.axes) - 1) + [1]
    np.testing.assert_allclose(diamonds(fig.axes[-1]), [[2, 1.25]])
    fig = curve_plot.draw(histories(), paper(metric="rankme"))
    assert [len(diamonds(ax)) for ax in fig.axes[:3]] == [0, 1, 0]


def test_scatter_draws_a_point_a_run_and_says_rho():
    rho = dict.fromkeys(BACKBONES, (0.5, -0.25))
    fig = scatter_plot.draw(points(), rho, ylabel="F1")
    for ax, name in zip(fig.axes, ("ResNet-18", "ViT-Tiny"), strict=False):
        (drawn,) = ax.collections
        places = sorted([0.1 * i, s] for s in SHARES for i in (1, 2, 3))
        np.testing.assert_allclose(sorted(drawn.get_offsets().tolist()), places)
        assert ax.get_title() == f"{name}: ρ = 0.50, within shares −0.25"
        sizes = drawn.get_sizes()
        assert (np.diff(sizes) <= 0).all() and sizes[0] > sizes[-1]  # the largest below the others


def test_a_correlation_within_shares_of_one_point_each_is_not_printed():
    fig = scatter_plot.draw(points(), dict.fromkeys(BACKBONES, (0.5, np.nan)), ylabel="F1")
    assert [ax.get_title() for ax in fig.axes[:2]] == ["ResNet-18: ρ = 0.50", "ViT-Tiny: ρ = 0.50"]


def test_scatter_without_a_correlation_says_none():
    fig = scatter_plot.draw(points(("random",)), {}, ylabel="F1")
    assert [ax.get_title() for ax in fig.axes[:2]] == ["ResNet-18", "ViT-Tiny"]


def legend(fig) -> list[str]:
    """The texts of a scatter's legends."""
    legends = fig.axes[-1].findobj(mpl.legend.Legend)
    return [text.get_text() for one in legends for text in one.get_texts()]


def test_scatter_of_the_papers_pairs():
    rho = dict.fromkeys(BACKBONES, (0.0, 0.0))
    fig = scatter_plot.draw(points(), rho, ylabel="F1", paper=paper(f1=0.3, rankme=0.4))
    np.testing.assert_allclose(diamonds(fig.axes[1]), [[0.4, 0.3]])
    assert len(diamonds(fig.axes[0])) == 0
    assert "the paper’s value" in legend(fig)


def test_boxes_lie_on_the_pixels_and_the_marked_class_is_red():
    boxes = pd.DataFrame({"Class": ["OS", "RO"], "x0": 0, "y0": 2, "x1": 10, "y1": 6})
    fig = image_grid.draw(
        [np.zeros((8, 10, 3), np.uint8)] * 2,
        ["OS", ""],
        [boxes, boxes.iloc[:0]],
        [True, False],
        columns=3,
    )
    marked, other = fig.axes[0].lines
    assert (marked.get_color(), other.get_color()) == (image_grid.MARKED, image_grid.OTHER)
    assert marked.get_linestyle() != other.get_linestyle()
    box = marked.get_path().get_extents()
    assert (box.x0, box.y0, box.x1, box.y1) == (
        -0.5,
        1.5,
        9.5,
        5.5,
    )  # pixel 0 reaches from -0.5 to 0.5
    assert not fig.axes[1].lines
    assert [len(ax.images) for ax in fig.axes] == [1, 1, 0]
    assert [ax.get_title("left") for ax in fig.axes] == ["OS", "", ""]
    assert [ax._left_title.get_color() for ax in fig.axes[:2]] == [image_grid.MARKED, "black"]
    assert len(fig.legends[0].get_texts()) == 2


def test_classes_of_boxes_in_one_corner_do_not_touch():
    small = {"x0": 10, "y0": 12, "x1": 40, "y1": 30}
    boxes = pd.DataFrame({"Class": ["FS", "BE", "IN"], "x0": 8, "y0": 10, "x1": 80, "y1": 90})
    boxes.loc[1, list(small)] = list(small.values())
    fig = image_grid.draw([np.zeros((96, 96, 3), np.uint8)], ["three"], [boxes], [False])
    fig.canvas.draw()
    texts = fig.axes[0].texts
    assert [text.get_text() for text in texts] == ["FS", "BE", "IN"]
    places = [text.get_window_extent().padded(1) for text in texts]
    assert not [1 for a, b in itertools.combinations(places, 2) if a.overlaps(b)]


def test_photographs_have_no_boxes_and_no_legend():
    none = pd.DataFrame(columns=["Class", "x0", "y0", "x1", "y1"])
    assert not image_grid.draw(
        [np.zeros((8, 10, 3), np.uint8)], ["Normal"], [none], [False]
    ).legends


def test_a_dollar_in_a_name_is_no_formula_and_no_axis_needs_one():
    """Two dollar signs in the name of a class of one's own were swallowed."""
    name = "cost $5 to $9 & _a^2 #1"
    none = pd.DataFrame(columns=["Class", "x0", "y0", "x1", "y1"])
    shown = image_grid.draw([np.zeros((8, 10, 3), np.uint8)], [name], [none], [False])
    fig = curve_plot.draw(histories())  # with an axis in powers of ten
    for drawn in (shown, fig):
        drawn.canvas.draw()
        texts = drawn.findobj(Text)
        assert not any(text.get_parse_math() for text in texts)
    assert name in {text.get_text() for text in shown.findobj(Text)}
    assert not any("$" in text.get_text() for text in fig.findobj(Text))


PANELS = {"one": ("probe", "clean images"), "two": ("protocol", "nothing")}
BELOW = ("MAE", {"protocol clean": ("mae", "clean")})


def differences(mae=True) -> pd.DataFrame:
    """What lib.analysis.protocol_effects.measure returns, in small: values that say where they come
    from."""
    systems = [
        ("byol", "resnet18"),
        ("random", "resnet18"),
        ("byol", "vit_tiny"),
        ("mae", "vit_tiny"),
        ("mean", "all"),
    ]
    cells = [(*key, *s) for key in PANELS.values() for s in systems] + [
        ("mae", "clean", "mae", "vit_tiny")
    ] * mae
    return pd.DataFrame(
        [
            {
                "effect": effect,
                "held": held,
                "method": method,
                "backbone": backbone,
                "metric": metric,
                "value": 0.1 * i + 0.05 * j,
                "low": 0.1 * i + 0.05 * j - 0.02,
                "high": 0.1 * i + 0.05 * j + 0.03,
            }
            for i, (effect, held, method, backbone) in enumerate(cells)
            for j, metric in enumerate(("f1", "auroc"))
        ]
    )


def test_a_forest_draws_every_difference_at_its_row():
    fig = forest_plot.draw(differences(), PANELS, BELOW)
    first, second, strip, _ = fig.axes
    names = [text.get_text() for text in first.get_yticklabels()]
    assert names == [
        "ResNet-18",
        "BYOL",
        "Untrained backbone",
        "ViT-Tiny",
        "BYOL",
        "MAE",
        "Mean of 3 systems",
    ]
    for ax, start in ((first, 0), (second, 0.5), (strip, 1.0)):
        points = [line for line in ax.lines if line.get_marker() in "os"]
        np.testing.assert_allclose(
            [line.get_xdata()[0] for line in points],
            [start + 0.1 * i + 0.05 * j for i in range(len(points) // 2) for j in (0, 1)],
        )
        assert [line.get_markerfacecolor() == "white" for line in points] == [False, True] * (
            len(points) // 2
        )
    bars = [
        line
        for line in first.lines
        if len(line.get_xdata()) == 2 and line.get_color() in ("#000000", "#D55E00")
    ]
    np.testing.assert_allclose(bars[0].get_xdata(), [-0.02, 0.03])
    rows = [round(line.get_ydata()[0]) for line in first.lines if line.get_marker() == "o"]
    assert rows == [1, 2, 4, 5, 6]
    assert first.get_xlim() == second.get_xlim() == strip.get_xlim()


def test_a_forest_without_mae_has_no_strip():
    assert len(forest_plot.draw(differences(mae=False), PANELS, BELOW).axes) == 3


def test_no_label_of_a_forest_is_cut():
    fig = forest_plot.draw(differences(), PANELS, BELOW)
    fig.draw_without_rendering()
    drawn, (width, height) = fig.get_tightbbox(), fig.get_size_inches()
    assert drawn.x0 >= 0 and drawn.y0 >= 0
    assert drawn.x1 <= width and drawn.y1 <= height


@pytest.mark.parametrize(
    "fig",
    [
        curve_plot.draw(histories()),
        scatter_plot.draw(points(), dict.fromkeys(BACKBONES, (0.0, 0.0)), ylabel="F1"),
        forest_plot.draw(differences(), PANELS, BELOW),
    ],
    ids=["curves", "scatter", "forest"],
)
def test_two_columns_wide_and_legible(fig):
    assert fig.get_figwidth() == style.DOUBLE
    texts = [t for t in fig.findobj(mpl.text.Text) if t.get_text()]
    assert min(t.get_fontsize() for t in texts) >= style.SIZE


def test_unhealthy_runs_are_crossed_out_and_stay():
    frame = points().assign(
        health=lambda f: np.where(f["method"] == "byol", "collapsed", f["health"])
    )
    plain, crossed = (scatter_plot.draw(p, {}, ylabel="F1") for p in (points(), frame))
    shapes = [
        len({len(p) for p in fig.axes[0].collections[0].get_paths()}) for fig in (plain, crossed)
    ]
    assert shapes == [1, 2]
    assert "collapsed" in legend(crossed) and "collapsed" not in legend(plain)
    curves = histories().assign(
        health=lambda f: np.where(f["train_share"] == 0.01, "collapsed", "healthy")
    )
    fig = curve_plot.draw(curves)
    np.testing.assert_allclose(fig.axes[-1].collections[-1].get_offsets(), [[3, 3.1]])  # last epoch
    assert fig.axes[0].get_title().endswith("collapsed or diverged (×)")
    point = curve_plot.draw(curves[curves["epoch"] == 3]).axes[-1].collections[-1]
    np.testing.assert_allclose(point.get_edgecolor()[0, :3], 0)  # black, seen on its circle


@pytest.mark.parametrize("height, width", [(250, 620), (620, 250), (300, 300), (60, 40)])
def test_an_image_lies_whole_beside_what_networks_read(height, width):
    """Both are as large for every image, so that rows have one height; the right one is squashed
    to a square, and in `px` steps."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2] = 200
    pair = image_grid.beside(image, 112, 24)
    side = image_grid.SHOWN
    stored, read = pair[:, :side], pair[:, -side:]
    assert pair.shape == (side, 2 * side + side // 30, 3)
    long = max(height, width)
    white = (stored == 255).all(axis=2)
    assert white.mean() == pytest.approx(1 - height * width / long**2, abs=0.02)
    assert (read[:, : side // 2 - 20] > 190).all() and (read[:, side // 2 + 20 :] < 10).all()
    blocks = read.reshape(24, side // 24, 24, side // 24, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()


def test_a_number_stays_on_the_line_of_its_word():
    """Captions above narrow frames are wrapped: not between "probability" and its number."""
    row = pd.Series({"score": 0.94, "Defect": 0, "Class": "mono;probability 0"})
    assert style.wrapped(gallery._caption(row), 1.2) == "+0.9 mono,\nprobability\N{NO-BREAK SPACE}0"


def test_a_score_near_its_threshold_keeps_its_sign():
    """Below zero an image passes as normal: -0.033 is not +0.0."""
    row = pd.Series({"score": -0.033, "Defect": 0, "Class": ""})
    assert gallery._caption(row).startswith("−0.03")


@pytest.mark.skipif(len(style.STYLE["font.family"]) < 2, reason="no font for Japanese is installed")
def test_japanese_names_are_drawn_not_boxes():
    """A font without a sign draws the same box for all signs of a script."""
    frame, drawn = np.zeros((20, 20, 3), np.uint8), []
    boxes = pd.DataFrame(columns=["Class", "x0", "y0", "x1", "y1"])
    for name in ("裂", "傷"):
        fig = image_grid.draw([frame], [name], [boxes], [False])
        canvas = FigureCanvasAgg(fig)
        canvas.draw()
        drawn.append(np.asarray(canvas.buffer_rgba()))
    assert (drawn[0] != drawn[1]).any()
