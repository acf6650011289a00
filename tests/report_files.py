"""What a report is made from, small: pictures, numbers, a scorecard, executed notebooks."""

import csv

import nbformat
from nbformat import v4
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib.report import saving, scorecard
from lib.system import paths

MADE = ("table1", "fig2", "claims")
ROW = {
    "text": "A claim",
    "statistic": "F1 − F1",
    "value": "0.1",
    "low": "0.05",
    "high": "0.15",
    "limit": "0",
    "limits": "0",
    "line": "",
    "metric": "f1",
    "seeds": "3",
    "part": "",
    "parts": "",
    "note": "",
}
TABLE = f"<table><tr>{60 * '<td>cell</td>'}</tr></table>"  # wider than any window
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
PIXEL += "awAAAABJRU5ErkJggg=="
PAGES = ("index.html", "table1.html", "fig2.html", "claims.html")


def write_claims(folder, *changes):
    """Write a scorecard of these rows; each starts as ROW under the protocol clean, with MAE as
    described."""
    base = {"claim": 1, **ROW, "protocol": "clean", "mae": "described", "verdict": "supported"}
    with (folder / "claims.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, scorecard.COLUMNS)
        writer.writeheader()
        writer.writerows(base | change for change in changes)


def both(**change):
    """The same row for both readings of MAE."""
    return [change | {"mae": mae} for mae in ("described", "released")]


def png(path, size, caption=""):
    """A white picture; with a `caption`, as lib.report.saving writes it: its last tenth is red."""
    texts, image = PngInfo(), Image.new("RGB", size, "white")
    if caption:
        rows = size[1] * 9 // 10
        image.paste("red", (0, rows, *size))
        for key, text in {"Description": caption, "Comment": "A note", saving.ROWS: rows}.items():
            texts.add_text(key, str(text))
    image.save(path, pnginfo=texts)
    return path


def measured(path):
    """The numbers of Figure 2 and Table 1: two methods, two backbones, F1 and AUROC by shares."""
    rows = [
        f"{method},{backbone},{share},{seen},42,healthy,{metric},{value},0.1,0.9"
        for method in ("byol", "supervised")
        for backbone in ("resnet18", "vit_tiny")
        for share, value in ((0.01, 0.123456), (0.45, 0.5))
        for seen in (0.01, 0.45)
        for metric in ("f1", "auroc")
        if path.stem != "table1" or seen == 0.45
        if path.stem != "fig2" or backbone == "resnet18"
    ]
    keys = "method,backbone,train_share,validation_share,seed,health,metric,value,low,high"
    path.write_text("\n".join([keys, *rows]) + "\n")


def book(path):
    """An executed notebook with every kind of output."""
    cells = [
        v4.new_markdown_cell(
            "# A title\n\nWith $x^2$ in it, and\n\n| a | b |\n| --- | --- |\n| 1 | 2 |"
        ),
        v4.new_code_cell("profile = 'mini'", metadata={"tags": ["parameters"]}),
        v4.new_code_cell(
            "profile = 'smoke'  # injected", metadata={"tags": ["injected-parameters"]}
        ),
        v4.new_code_cell(
            "wide = '" + 300 * "x" + "'",
            execution_count=3,
            outputs=[
                v4.new_output(
                    "stream", text=f"saved to {paths.ROOT}/figures/a.png and {400 * '-'}\n"
                ),
                v4.new_output("execute_result", {"text/plain": "a  b", "text/html": TABLE}),
                v4.new_output("display_data", {"image/png": PIXEL, "text/plain": "<Figure>"}),
                v4.new_output(
                    "display_data",
                    {"application/javascript": "alert('script')", "text/plain": "plain instead"},
                ),
                v4.new_output(
                    "error",
                    ename="ValueError",
                    evalue="no <such> thing",
                    traceback=["Traceback", "line 9"],
                ),
            ],
        ),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(
        v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}}), path
    )
