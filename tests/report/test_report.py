"""Style and saving of tables and figures: what is drawn is what was measured, and equal content
gives equal bytes."""

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from cards import FACTS
from PIL import Image

from lib.analysis import results
from lib.report import captions, saving, style, tables
from lib.report.heatmap import LINE, ROW, draw, panel
from lib.study.names import share
from lib.system import paths

mpl.use("Agg")

SHARES = (0.01, 0.45)


def measured(seeds=(42,)) -> pd.DataFrame:
    """Values that say where they come from: a different one in every row, tens of seeds in the
    third decimal."""
    rows = []
    for base, method in ((0.1, "supervised"), (0.3, "simclr"), (0.2, "random")):
        for j, train in enumerate(SHARES):
            for k, validation in enumerate(SHARES):
                for seed in seeds:
                    value = base + 0.08 * j + 0.02 * k + 0.001 * (seed - 42)
                    rows.append(
                        {
                            "method": method,
                            "backbone": "resnet18",
                            "train_share": train,
                            "seed": seed,
                            "validation_share": validation,
                            "metric": "f1",
                            "value": value,
                            "low": value - 0.05,
                            "high": value + 0.05,
                            "draws": value + np.array([0, -0.05, 0.05]),
                            "health": "collapsed" if method == "supervised" else "healthy",
                        }
                    )
    return pd.DataFrame(rows)


def wide(frame: pd.DataFrame) -> pd.DataFrame:
    return results.rectangle(
        results.over_seeds(frame), "f1", ["method", "train_share"], "validation_share"
    )


def heatmap(**options):
    return draw({"F1": panel(wide(measured()), **options)}, xlabel="x", ylabel="y")


def rivalled() -> pd.DataFrame:
    """`measured` with BYOL a hundredth below SimCLR."""
    frame = measured()
    simclr = frame[frame["method"] == "simclr"]
    byol = simclr.assign(method="byol", value=simclr["value"] - 0.01)
    return pd.concat([frame, byol], ignore_index=True)


def table(frame: pd.DataFrame | None = None, **options) -> tables.Table:
    reduced = results.over_seeds(measured() if frame is None else frame)
    return tables.table(reduced, ["f1"], ["method", "train_share"], "validation_share", **options)


def test_seeds_are_averaged_and_one_bad_run_shows():
    frame = measured(seeds=(42, 52))
    frame.loc[len(frame) - 1, "health"] = "diverged"
    reduced = results.over_seeds(frame)
    assert len(reduced) == len(measured())
    np.testing.assert_allclose(reduced["value"], measured()["value"] + 0.005)
    assert reduced["seeds"].eq(2).all()
    assert reduced["health"].iloc[-1] == "diverged"  # the worst of the seeds
    assert reduced["health"].iloc[-2] == "healthy"


def test_grid_keeps_the_order_of_the_paper():
    assert list(wide(measured()).index.get_level_values(0).unique()) == [
        "supervised",
        "simclr",
        "random",
    ]


def test_heatmap_writes_every_value_in_its_cell():
    ax = heatmap().axes[0]
    written = {
        tuple(map(int, t.get_position())): t.get_text()
        for t in ax.texts
        if t.get_text()[:2] == "0."
    }
    expected = {(j, i): f"{v:.2f}" for (i, j), v in np.ndenumerate(wide(measured()).to_numpy())}
    assert written == expected


def test_cells_have_the_colours_of_their_values_and_none_where_unknown():
    frame = wide(measured())
    frame.iloc[0, 0] = np.nan
    ax = draw({"a": panel(frame)}).axes[0]
    (cells,) = (c for c in ax.collections if c.get_array() is not None)
    shown = np.ma.filled(cells.get_array().astype(float), np.nan).reshape(frame.shape)
    np.testing.assert_array_equal(shown, frame)
    assert ax.get_ylim() == (len(frame), 0)  # the first row is on top


@pytest.mark.parametrize(("longest", "turn"), [("Isolation forest", 0), ("Reconstructions", 90)])
def test_long_names_of_columns_leave_the_rows_their_height(longest, turn):
    """A word a line, or turned: the rows of a small table shrank by their length, and lines
    overlapped."""
    names = ["Probe, with labels", "kNN", "Mahalanobis", "PCA residual", longest]
    one = panel(pd.DataFrame(np.zeros((4, 5)), columns=names))
    one.lines.append(one.values.map("({:+.2f})".format))
    fig = draw({"a": one, "b": one}, width=style.DOUBLE)
    fig.get_layout_engine().execute(fig)
    first = fig.axes[0].get_xticklabels()[0]
    assert (first.get_rotation(), first.get_text()) == (turn, "Probe,\nwith\nlabels")
    tall = fig.axes[0].get_position().height * fig.get_figheight() / 4
    assert tall > ROW + 2 * LINE


def test_cells_below_a_constant_answer_have_a_corner():
    frame = wide(measured())
    below = frame < frame.median().median()
    assert below.any(axis=None)
    fig = draw({"a": panel(frame, below=below)})
    corners = {tuple(map(float, c.get_offsets()[0])) for c in fig.axes[0].collections[1:]}
    rows, columns = np.nonzero(below.to_numpy())
    assert corners == {(float(j), float(i + 1)) for i, j in zip(rows, columns, strict=True)}
    assert "◣ F1 below that of always “defect”" in fig.axes[-1].get_xlabel()


def test_panels_share_one_colour_scale():
    frame = wide(measured())
    fig = draw({"a": panel(frame), "b": panel(frame / 2)}, xlabel="x", ylabel="y")
    assert {ax.collections[0].get_clim() for ax in fig.axes[:2]} == {(0, 1)}


def test_unhealthy_cells_keep_their_value_and_are_marked():
    verdicts = results.rectangle(
        results.over_seeds(measured()),
        "f1",
        ["method", "train_share"],
        "validation_share",
        "health",
    )
    ax = heatmap(health=verdicts).axes[0]
    rows = [label.get_text() for label in ax.get_yticklabels()]
    assert rows == ["1 %†", "45 %†", *["1 %", "45 %"] * 2]  # a row is one run: one mark
    verdicts.iloc[-1, -1] = "no better than random"
    fig = heatmap(health=verdicts)
    texts = [t.get_text() for t in fig.axes[0].texts]
    assert texts.count("†") == int(verdicts.eq("collapsed").to_numpy().sum()) > 0
    assert texts.count("°") == 1
    assert sum(t[:2] == "0." for t in texts) == verdicts.size
    legend = fig.axes[-1].get_xlabel()
    assert style.LEGEND["†"] in legend and style.LEGEND["°"] in legend


def test_marks_follow_the_values_in_text_and_in_the_drawing():
    marked = table()
    ill = int(measured()["health"].eq("collapsed").sum())
    assert marked.markdown().count("†") == marked.latex().count("†") == ill
    texts = [t.get_text() for ax in marked.draw().axes for t in (*ax.texts, *ax.get_yticklabels())]
    assert sum("†" in text for text in texts) == 2


def test_a_cell_prints_its_interval_without_leading_zeros():
    texts = [t.get_text() for t in table().draw().axes[0].texts]
    assert texts[:2] == ["0.10", ".05–.15"]


def test_the_caption_counts_each_verdict():
    health = {"healthy": 5, "collapsed": 2, "diverged": 1, "no better than random": 4}
    facts = {"health": health, "marks": health, "seeds": [1]}
    text = captions.marked(facts)
    assert text == (
        " †: collapsed or diverged (3 of 12 trained runs)."
        " °: AUROC minus that of the untrained backbone is not above 0 at 95 % (4 of 9 trained "
        "runs without †)."
    )
    marks = {"healthy": 4, "collapsed": 1, "no better than random": 1}
    assert captions.marked(facts | {"marks": marks, "seeds": [1, 2]}) == (
        " †: collapsed or diverged (3 of 12 trained runs; a mean over seeds bears the mark if any "
        "of its runs does)."
        " °: mean AUROC minus that of the untrained backbone is not above 0 at 95 % (1 of 5 "
        "systems and shares without †)."
    )
    assert captions.marked(facts | {"health": {"healthy": 5}, "marks": {"healthy": 5}}) == ""


def test_one_cell_is_framed_where_it_is_in_the_grid():
    frame = pd.DataFrame(
        np.arange(6).reshape(2, 3) / 6, index=[0.08, 0.395], columns=[0.1, 0.275, 0.45]
    )
    look = {"xlabel": "x", "ylabel": "y", "name": "{:g}".format}
    drawn = {
        cell: draw({"F1": panel(frame)}, outlined=cell, **look).axes[0]
        for cell in ((0.395, 0.275), (0.3, 0.275))
    }
    assert not drawn[0.3, 0.275].patches
    assert {p.get_bbox().bounds for p in drawn[0.395, 0.275].patches} == {(1, 1, 1, 1)}
    assert [t.get_text() for t in drawn[0.3, 0.275].get_yticklabels()] == ["0.08", "0.395"]


def test_seeds_are_averaged_within_the_keys_asked_for():
    frame = pd.concat([measured(seeds=(42, 52)).assign(px=px) for px in (32, 64)])
    assert len(results.over_seeds(frame, [*results.KEYS, "px"])) == 2 * len(measured())
    assert (results.over_seeds(frame, ["metric"])["seeds"] == 2).all()


def test_a_metric_without_any_value_is_not_shown():
    reduced = results.over_seeds(measured())
    unknown = reduced.assign(metric="f2ciw", value=np.nan)
    assert results.measured_metrics(pd.concat([reduced, unknown]), ["f2ciw", "f1", "recall"]) == [
        "f1"
    ]


def test_colours_read_in_grey():
    colours = mpl.colormaps["cividis"](np.linspace(0, 1, 20))[:, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(colours) > 0).all()


@pytest.mark.parametrize(
    ("colour", "expected"), [((1, 1, 1), "black"), ((0, 0, 0), "white"), ((0, 0, 0.5), "white")]
)
def test_ink_stands_out(colour, expected):
    assert style.ink(colour) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(0.01, "1 %"), (0.45, "45 %"), (None, "natural"), (np.nan, "natural")]
)
def test_shares_are_printed_as_percent(value, expected):
    assert share(value) == expected


def test_the_highest_estimate_is_bold():
    text = table().markdown()
    assert text.count("**") == 2 * len(SHARES)
    assert "| SimCLR | 45 % | **0.38 [0.33, 0.43]** | **0.40 [0.35, 0.45]** |" in text


@pytest.mark.parametrize("method", ["supervised", "random", "mae-released"])
def test_nothing_is_bold_where_an_unhealthy_or_an_untrained_run_is_the_highest(method):
    """Supervised runs collapsed here; the encoder of MAE as released is not trained."""
    frame = measured()
    untrained = frame[frame["method"] == "random"].assign(method="mae-released")
    frame = pd.concat([frame, untrained], ignore_index=True)
    assert table(frame).bold
    frame.loc[frame["method"] == method, "value"] = 0.99
    assert not table(frame).bold


def test_the_highest_is_sought_column_by_column():
    frame = rivalled()
    frame.loc[(frame["method"] == "random") & (frame["train_share"] == 0.45), "value"] = 0.39
    text = table(frame, among="train_share").markdown()
    assert "| SimCLR | 45 % | 0.38 [0.33, 0.43] | **0.40 [0.35, 0.45]** |" in text


def test_the_highest_can_be_sought_within_a_train_share():
    found = table(rivalled(), among="train_share").markdown()
    assert found.count("**") == 2 * len(SHARES) * len(SHARES) and "| BYOL | 45 % | 0.37" in found


def test_one_alone_is_not_the_highest():
    frame = measured()
    assert not table(frame[frame["method"] == "simclr"], among="train_share").bold


def test_reference_rows_come_first():
    lines = table(bounds={"F1": {"Always": [0.02, 0.62]}}).markdown().splitlines()
    assert lines[4] == "| Always |  | 0.02 | 0.62 |"


def test_only_f1_is_held_against_a_constant_answer():
    """Which has the highest recall and F2CIW there are; AUROC has no threshold."""
    (f1,) = table(bounds={"F1": {"Always": [0.39, 0.4]}}).blocks
    below = f1.frames(["Always"])["below"]
    expected = f1.value.round(2) < [0.39, 0.4]  # as printed: 0.40 is not below 0.40
    assert expected.any(axis=None) and not expected.all(axis=None)
    assert below.to_numpy().tolist() == [[False, False], *expected.to_numpy().tolist()]
    assert f1.best.any(axis=None) and not (f1.best & f1.below()).any(axis=None)
    (high,) = table(bounds={"F1": {"Always": [0.99, 0.99]}}).blocks
    assert not high.best.any(axis=None)  # the best that a constant answer surpasses is not bold
    recall = replace(f1, title="Recall", bounds={"Always": [1.0, 1.0]})
    assert not recall.frames(["Always"])["below"].any(axis=None)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("simulated", "Figure 2. F1."),
        ("sewer-ml", "Figure 2. F1."),
        ("solar", "Photographs of solar cells (ELPV). Figure 2. F1."),
        ("own", "Images of your own. Figure 2. F1."),
    ],
)
def test_a_caption_says_what_is_no_sewer(source, expected):
    assert captions.named("Figure 2. F1.", FACTS | {"source": source}) == expected


def test_latex_escapes_percent():
    text = table().latex()
    assert r"1\,\%" in text
    assert r"\textbf{0.40 [0.35, 0.45]}" in text


def test_characters_that_latex_reads_as_commands_are_printed():
    metric = "a_b & 5 % of #1 < {$x^2$} | ~°−1"
    index = pd.MultiIndex.from_tuples([("R&D", "50 %")])
    parts = {"value": 0.5, "low": np.nan, "high": np.nan, "health": "no better than random"}
    parts |= {"paper": np.nan, "best": True}
    frames = {part: pd.DataFrame([[v]], index, ["100 % _"]) for part, v in parts.items()}
    block = tables.Block(metric, **frames, bounds={"Always #1": [1.0]})
    text = tables.Table([block], ("Method_1", "Backbone")).latex()
    expected = (
        r"\multicolumn{3}{c}{a\_b \& 5\,\% of \#1 $<$ \{\$x\textasciicircum{}2\$\} \textbar{} "
        r"\textasciitilde{}$^\circ$$-$1} \\"
    )
    assert expected in text
    assert r"Method\_1 & Backbone & 100\,\% \_ \\" in text
    assert r"Always \#1 &  & 1.00 \\" in text
    assert r"R\&D & 50\,\% & \textbf{0.50}$^\circ$ \\" in text
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1


def test_footer_names_simulated_data_and_the_origin_of_runs():
    for protocol in ("clean", "paper"):
        text = captions.footer(FACTS, protocol)
        for part in (
            "simulated",
            "mini",
            "ResNet-18 at 64 px, width × 0.25; ViT-Tiny at 48 px, width × 0.5, 4 blocks",
            "0.5",
            protocol,
            "42",
            "1,500",
            "75 videos",
            "3 trained here",
            "5 of the committed results",
        ):
            assert part in text


def test_footer_leaves_out_what_does_not_apply():
    text = captions.footer(FACTS | {"bootstrap_unit": ""}, [])
    assert "Protocol" not in text and "interval" not in text
    assert "3 trained here" in text and "1,500 validation images. " in text
    images = {
        "data": "simulated Sewer-ML",
        "profile": "mini",
        "n_training": 1896,
        "n_validation": 1600,
    }
    text = captions.footer(images, [])
    assert (
        "simulated" in text
        and "1,896 training and 1,600 validation images" in text
        and "No run is read" in text
    )


@pytest.mark.parametrize(
    ("content", "suffixes"),
    [
        (heatmap, {".png", ".pdf", ".csv"}),
        (table, {".png", ".pdf", ".csv", ".md", ".tex"}),
        (lambda: table(by_metric=True), {".png", ".pdf", ".csv", ".md", ".tex"}),
    ],
)
def test_equal_content_gives_equal_bytes(tmp_path, content, suffixes):
    contents = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        files = saving.save(
            "fig2", content(), measured(), FACTS, protocol="clean", caption="C.", output=folder
        )
        assert {f.suffix for f in files} == suffixes == {f.suffix for f in folder.iterdir()}
        contents.append({f.name: f.read_bytes() for f in files})
    assert contents[0] == contents[1]


def test_saving_twice_adds_one_caption(tmp_path):
    fig = heatmap()
    sizes = []
    for _ in range(2):
        saving.save("fig2", fig, measured(), FACTS, protocol="clean", caption="C.", output=tmp_path)
        sizes.append((tuple(fig.get_size_inches()), len(fig.texts)))
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("content", [heatmap, table])
def test_a_png_holds_its_texts_and_how_much_lies_above_them(tmp_path, content):
    caption = "A – dash, “quotes” and 5 %: " + "long " * 60
    png, *_ = saving.save(
        "fig2", content(), measured(), FACTS, protocol="clean", caption=caption, output=tmp_path
    )
    with Image.open(png) as image:
        assert image.text["Description"] == caption
        assert image.text["Comment"] == captions.footer(FACTS, "clean")
        rows = int(image.text[saving.ROWS])
        grey = np.asarray(image.convert("L"))
    above, below = grey[:rows], grey[rows:]
    assert 0.4 < rows / image.height < 0.95
    assert (above[-3:] == 255).all()
    assert below.min() < 50


def test_a_journal_column_wide(tmp_path):
    files = saving.save(
        "fig2", heatmap(), measured(), FACTS, protocol="clean", caption="C.", output=tmp_path
    )
    width = mpl.image.imread(files[0]).shape[1]
    assert width == pytest.approx(style.SINGLE * style.DPI, abs=1)


def test_stepping_writes_beside_what_make_rendered(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    files = saving.save("fig2", heatmap(), measured(), FACTS, protocol="clean", caption="C.")
    assert {f.parent for f in files} == {tmp_path / "build" / "mini" / "stepped"}


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    old = tmp_path / "fig2.png"
    old.write_bytes(b"old")

    def full(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(saving.FigureCanvasAgg, "print_png", full)
    with pytest.raises(OSError, match="disk full"):
        saving.save(
            "fig2", heatmap(), measured(), FACTS, protocol="clean", caption="C.", output=tmp_path
        )
    assert old.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [old]
