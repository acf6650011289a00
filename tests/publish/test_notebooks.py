"""Notebooks keep to the skeleton, and are run only with parameters that they have. Formulas of
their texts stand on the text's baseline and need nothing from outside the page."""

import ast
import base64
import json
import re
import shlex
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from lib.__main__ import main
from lib.publish import formulas, notebooks, renderings
from lib.store import fingerprints, stored
from lib.store.stored import MissingRuns
from lib.study import artefacts
from lib.system import fork_server, paths

BOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
# Notebooks that only read results; the walkthrough and one step of MAE in `protocol` run networks,
# so they need torch.
READERS = {a.notebook for a in artefacts.ARTEFACTS.values()} - {"walkthrough", "protocol"}
DRAWN = [book for book in BOOKS if book.stem in READERS]
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
each = pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)
drawn = pytest.mark.parametrize("book", DRAWN, ids=lambda book: book.stem)


def cells(book, kind="code"):
    return [c for c in json.loads(book.read_text())["cells"] if c["cell_type"] == kind]


def source(cell) -> str:
    return "".join(cell["source"])


def write(path, *sources, tags=("parameters",)):
    """A small notebook; the first cell carries `tags`."""
    cells = [
        {
            "cell_type": "code",
            "id": f"c{i}",
            "metadata": {"tags": list(tags)} if i == 0 and tags else {},
            "source": text.splitlines(keepends=True),
            "outputs": [],
            "execution_count": None,
        }
        for i, text in enumerate(sources)
    ]
    book = {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(book, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return path


# The skeleton


def test_every_artefact_has_its_notebook():
    assert artefacts.of_profile("mini") == list(artefacts.ARTEFACTS)


def test_frames_are_not_shown_for_photographs():
    assert set(artefacts.ARTEFACTS) - set(artefacts.of_profile("solar")) == {"walkthrough"}


def filter_command() -> list[str]:
    """The filter through which git takes notebooks, as the Makefile sets it up."""
    line = re.search(r"^FILTER := \$\(PY\) (.*)$", (paths.ROOT / "Makefile").read_text(), re.M)
    return [sys.executable, *shlex.split(line[1])]


def filtered(text: str) -> str:
    """What git keeps of a notebook."""
    command = filter_command()
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


@each
def test_committed_without_what_executing_and_saving_adds(book):
    content = json.loads(book.read_text())
    assert content["metadata"] == METADATA
    assert all(set(cell["metadata"]) <= {"tags"} for cell in content["cells"])
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells(book))
    assert (
        book.read_text() == json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    )


def test_the_filter_leaves_the_committed_notebooks_as_they_are(tmp_path):
    copies = [Path(shutil.copy(book, tmp_path)) for book in BOOKS]
    subprocess.run([*filter_command(), *copies], check=True)
    for book, copy in zip(BOOKS, copies, strict=True):
        assert copy.read_bytes() == book.read_bytes()


@each
def test_parameters_are_commented_literals(book):
    assert notebooks.parameters(book)
    (tagged,) = [c for c in cells(book) if "parameters" in c["metadata"].get("tags", ())]
    assert all(re.search(r"  # \S", line) for line in tagged["source"])


@each
def test_cells_are_short(book):
    lengths = [len(c["source"]) for c in cells(book)]
    assert max(lengths) <= 25
    assert statistics.median(lengths) <= 8


@each
def test_skeleton(book):
    first = json.loads(book.read_text())["cells"][0]
    assert first["cell_type"] == "markdown"
    assert source(first).startswith("# ")
    assert "`make " in source(first)
    code = cells(book)
    assert all(isinstance(n, ast.Import | ast.ImportFrom) for n in ast.parse(source(code[0])).body)
    assert "parameters" in code[1]["metadata"]["tags"]
    assert ast.unparse(ast.parse(source(code[-1])).body[-1]).startswith("saving.save(")
    assert not any(
        isinstance(n, ast.Import | ast.ImportFrom)
        for c in code[1:]
        for n in ast.walk(ast.parse(source(c)))
    )


@each
def test_python_only(book):
    for cell in cells(book):
        ast.parse(source(cell))  # neither shell escapes nor magics parse
        assert not re.search(r"\bos\.system|subprocess|get_ipython|/home/|/Users/", source(cell))


@drawn
def test_figures_need_no_torch(book):
    command = f"import sys\n{source(cells(book)[0])}\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", command], cwd=paths.ROOT, check=True)


@pytest.mark.parametrize("name", artefacts.ARTEFACTS)
def test_artefacts_give_parameters_that_exist(name):
    artefact = artefacts.ARTEFACTS[name]
    notebooks.check(notebooks.find(artefact.notebook), artefact.parameters)
    assert {"profile", "protocol", "methods", "seeds", "output"} <= set(
        notebooks.parameters(notebooks.find(artefact.notebook))
    )


# Checked parameters: every mistake is told before a kernel starts


@pytest.fixture
def no_kernel(monkeypatch):
    import papermill

    def started(*_, **__):
        raise AssertionError("a kernel was started")

    monkeypatch.setattr(papermill, "execute_notebook", started)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"protocl": "clean"}, "did you mean 'protocol'"),
        ({"seeds": 42}, "'seeds' should be of type list"),
        ({"profile": 1}, "'profile' should be of type str"),
    ],
)
def test_wrong_parameters(no_kernel, tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        notebooks.execute(notebooks.find("table1"), given, tmp_path / "copy.ipynb")


@pytest.mark.parametrize(
    ("tags", "text", "message"),
    [
        ((), "a = 1", "0 cells tagged 'parameters'"),
        (("parameters",), "a = 1 + b", "not a literal"),
        (("parameters",), "import os", "not a literal"),
    ],
)
def test_untagged_or_computed_parameters(no_kernel, tmp_path, tags, text, message):
    book = write(tmp_path / "book.ipynb", text, tags=tags)
    with pytest.raises(notebooks.NotebookError, match=message):
        notebooks.execute(book, {"a": 2}, tmp_path / "copy.ipynb")


def test_a_whole_number_is_a_float():
    notebooks.check(notebooks.find("train_one"), {"share": 1})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("simclr", "simclr"),
        ("0.05", 0.05),
        ("['f1', 'recall']", ["f1", "recall"]),
        ("None", None),
        ("1e-3", 1e-3),
    ],
)
def test_literals(text, value):
    assert notebooks.literal(text) == value


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ("notebook", "table1", "-p", "protocl", "clean"),
            "error: unknown parameter of table1.ipynb 'protocl': did you mean",
        ),
        (("notebook", "tabel1"), "error: unknown notebook 'tabel1': did you mean 'table1'?"),
        (("render", "fig22"), "error: unknown artefact 'fig22': did you mean 'fig2'?"),
    ],
)
def test_mistakes_on_the_command_line_are_one_sentence(command, message, capsys):
    assert main(list(command)) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(message)
    assert len(errors.splitlines()) == 1


# Execution


def test_a_failing_cell_names_its_error_and_the_copy(tmp_path):
    book = write(tmp_path / "book.ipynb", "word = 'a'  # any", "raise RuntimeError(word)")
    with pytest.raises(notebooks.NotebookError, match=r"RuntimeError: b .*copy\.ipynb"):
        notebooks.execute(book, {"word": "b"}, tmp_path / "copy.ipynb")
    assert (tmp_path / "copy.ipynb").exists()


def test_the_filter_drops_outputs_and_keeps_the_rest(tmp_path):
    book = json.loads(write(tmp_path / "book.ipynb", "a = 1  # é").read_text())
    clean = json.dumps(book, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    assert filtered(clean) == clean
    book["cells"][0] |= {
        "outputs": [{"output_type": "stream", "name": "stdout", "text": ["1"]}],
        "execution_count": 3,
    }
    book["cells"][0]["metadata"]["collapsed"] = True
    book["metadata"]["language_info"] = {"name": "python", "version": "3.12"}
    assert filtered(json.dumps(book)) == clean


# Stamps


def test_imports_are_followed():
    stems = {path.stem for path in fingerprints.modules("from lib.report import saving")}
    assert {"saving", "names", "paths"} <= stems
    package = paths.ROOT / "lib" / "methods" / "__init__.py"
    assert package in fingerprints.modules("from lib.methods import build")
    assert "train" not in {
        path.stem
        for path in fingerprints.modules(
            "from lib.report import saving, tables\nfrom lib.analysis import results"
        )
    }


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("a = 1", "a = 1  # one", True),
        ('"""Doc."""\na = 1', '"""Other."""\na = 1', True),
        ("a = 1", "a = 2", False),
    ],
)
def test_comments_and_docstrings_do_not_count(tmp_path, before, after, same):
    for name, text in (("before", before), ("after", after)):
        (tmp_path / f"{name}.py").write_text(text)
    hashes = [fingerprints.syntax(tmp_path / f"{name}.py") for name in ("before", "after")]
    assert (hashes[0] == hashes[1]) is same


def test_the_server_imports_while_inputs_are_read(workspace, monkeypatch):
    order = []
    monkeypatch.setattr(fork_server, "context", lambda *modules: order.append(modules))
    monkeypatch.setattr(renderings, "inputs", lambda *_: order.append("inputs") or {})
    monkeypatch.setattr(renderings, "outdated", lambda *_: "")
    notebooks.render(["fig2"], "smoke")
    assert order == [notebooks.PRELOADED, "inputs"]
    stamp = workspace / "build" / "smoke" / "stamps" / "fig2.json"
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text("{}")
    order.clear()
    notebooks.render(["fig2"], "smoke")
    assert order == ["inputs"]  # what is up to date needs no server


def test_why_an_artefact_is_out_of_date(workspace, monkeypatch):
    monkeypatch.setattr(paths, "WORKSPACE", workspace)
    stamp, now = workspace / "stamps" / "fig2.json", {"notebook": "a", "runs": "b"}
    assert renderings.outdated(stamp, now) == "not rendered yet"
    (workspace / "fig2.png").touch()
    renderings.write(stamp, now, ["fig2.png"])
    assert renderings.outdated(stamp, now) == ""
    assert renderings.outdated(stamp, now | {"runs": "c"}) == "changed: runs"
    (workspace / "fig2.png").unlink()
    assert renderings.outdated(stamp, now) == "fig2.png is gone"
    stamp.write_text("{")
    assert renderings.outdated(stamp, now) == "fig2.json is damaged"


def test_what_reads_no_run_depends_on_its_tables(tmp_path, monkeypatch):
    labels = tmp_path / "labels.csv"
    monkeypatch.setenv("LABELS", str(labels))
    inputs = []
    for every in (2, 3, 3):
        labels.write_text(
            "Filename,Defect\n" + "".join(f"{i}.png,{int(i % every == 0)}\n" for i in range(40))
        )
        inputs.append(renderings.inputs("table5", {"profile": "own", "methods": [], "seeds": []}))
    assert inputs[0] != inputs[1] == inputs[2]


def test_one_failure_does_not_stop_the_others(workspace, monkeypatch, capsys):
    monkeypatch.setattr(paths, "WORKSPACE", workspace)
    monkeypatch.setattr(renderings, "inputs", lambda artefact, given: {"runs": artefact})

    def rendered(artefact, *_):
        if artefact == "fig2":
            raise notebooks.NotebookError("fig2: no")
        return f"{artefact}: yes"

    monkeypatch.setattr(notebooks, "_render", rendered)
    assert notebooks.render(["fig2", "fig4"], "smoke") == ["fig2: no"]
    said = capsys.readouterr()
    assert "fig4: yes" in said.out
    assert "error: fig2: no" in said.err


def test_what_shows_none_of_the_methods_is_left_out(workspace, monkeypatch, capsys):
    monkeypatch.setattr(paths, "WORKSPACE", workspace)
    monkeypatch.setattr(renderings, "inputs", lambda artefact, given: {"runs": artefact})
    monkeypatch.setattr(notebooks, "_render", lambda artefact, *_: f"{artefact}: yes")
    assert notebooks.render(["fig2", "fig3", "fig6", "fig1"], "smoke", methods=["random"]) == []
    said = capsys.readouterr().out
    assert {name for name in ("fig2", "fig3", "fig6", "fig1") if f"{name}: yes" in said} == {
        "fig2",
        "fig1",
    }
    assert "fig3: left out, none of its methods and backbones is chosen" in said


@pytest.mark.parametrize("known", [["fig2", "fig4"], []])
def test_of_all_artefacts_those_without_any_run_are_left_out(workspace, monkeypatch, capsys, known):
    """The reference of solar holds no ablations; where no artefact has its runs, it is an error."""
    monkeypatch.setattr(paths, "WORKSPACE", workspace)

    def inputs(artefact, given):
        if artefact not in known:
            raise MissingRuns(f"9 of 9 runs are missing: `make {artefact}` makes them.")
        return {"runs": artefact}

    monkeypatch.setattr(renderings, "inputs", inputs)
    monkeypatch.setattr(stored, "find", lambda run: None)
    monkeypatch.setattr(notebooks, "_render", lambda artefact, *_: f"{artefact}: yes")
    failed = notebooks.render([], "smoke")
    said = capsys.readouterr()
    if known:
        assert failed == [] and "fig2: yes" in said.out
        assert "fig3: left out, 9 of 9 runs are missing: `make fig3` makes them." in said.out
    else:
        assert any(line.startswith("fig3: 9 of 9 runs are missing") for line in failed)
    assert notebooks.render(["fig3"], "smoke") == [
        "fig3: 9 of 9 runs are missing: `make fig3` makes them."
    ]


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ({"profile": "mini"}, "make fig2 PROFILE=mini"),
        (
            {"profile": "mini", "protocol": "paper", "methods": ["byol"], "seeds": [1, 2]},
            "make fig2 PROFILE=mini PROTOCOL=paper METHODS=byol SEEDS=1,2",
        ),
        ({"profile": "own", "methods": [], "seeds": []}, "make fig2 PROFILE=own LABELS=your.csv"),
        (
            {"profile": "mini", "backbones": ["resnet18"], "train_shares": [0.05, 0.45]},
            "make fig2 PROFILE=mini BACKBONES=resnet18 TRAIN_SHARES=0.05,0.45",
        ),
    ],
)
def test_commands_repeat_what_was_chosen(given, command):
    assert artefacts.command("fig2", given) == command


def measures(image: str) -> tuple[float, float]:
    """Height and how far it hangs below the baseline, in em."""
    height, below = re.search(r"height: ([\d.]+)em; vertical-align: -([\d.]+)em", image).groups()
    return float(height), float(below)


def drawing(image: str) -> str:
    return base64.b64decode(re.search(r"base64,([^\"]+)", image)[1]).decode()


def test_only_what_has_a_descender_hangs_below_the_line():
    edge = formulas.EDGE / formulas.SIZE
    assert measures(formulas.image("x"))[1] == pytest.approx(edge, abs=0.02)
    assert measures(formulas.image("y"))[1] > edge + 0.1


def test_a_fraction_is_higher_than_its_parts():
    assert measures(formulas.image(r"\frac{a}{b}"))[0] > measures(formulas.image("a"))[0] + 0.3


def test_fractions_are_larger_on_lines_of_their_own():
    inline, display = (formulas.markdown(f"{mark}\\frac{{a}}{{b}}{mark}") for mark in ("$", "$$"))
    assert measures(display)[0] > measures(inline)[0] + 0.3


def test_the_drawing_is_as_large_as_it_claims():
    image = formulas.image(r"\sum_{i} x_i^2")
    points = float(re.search(r'<svg[^>]* height="([\d.]+)pt"', drawing(image))[1])
    assert points / formulas.SIZE == pytest.approx(measures(image)[0], abs=0.01)


def test_equal_formulas_give_equal_bytes():
    assert formulas.image(r"\alpha + 1") == formulas.image(r"\alpha + 1")
    assert "date" not in drawing(formulas.image(r"\alpha")).lower()


def test_glyphs_are_outlines_so_no_font_is_needed():
    assert "<path" in drawing(formulas.image("x"))
    assert "<text" not in drawing(formulas.image("x"))


def test_markdown_draws_formulas_in_lines_and_on_lines_of_their_own():
    text = formulas.markdown(
        "The loss $-\\cos(a, b)$ is\n\n$$\nL = 2 - 2 a\n$$\n\nand `$x$` is code."
    )
    assert re.findall(r'alt="([^"]*)"', text) == [r"-\cos(a, b)", "L = 2 - 2 a"]
    assert text.count('class="display"') == 1
    assert "<code>$x$</code>" in text


def test_what_mathtext_does_not_know_is_shown_as_written():
    assert formulas.image(r"\undefinedmacro{<x>}") == r"<code>\undefinedmacro{&lt;x&gt;}</code>"
