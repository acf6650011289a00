import pytest
from report_files import MADE, book, both, measured, png, write_claims

from lib.publish.pages import write


@pytest.fixture
def rendered(workspace):
    """Three artefacts of `smoke` in figures/, two of them with an executed notebook."""
    figures = workspace / "figures" / "smoke"
    figures.mkdir(parents=True)
    for name, size in zip(MADE, [(200, 300), (110, 240), (210, 70)], strict=True):
        png(figures / f"{name}.png", size, f"A caption of {name} with a – dash")
        measured(figures / f"{name}.csv")
        for ending in ("pdf", *(("md", "tex") if name != "fig2" else ())):
            (figures / f"{name}.{ending}").write_text(f"{name} in {ending}")
    differ = [
        {"claim": 2, "verdict": "contradicted"},
        {"claim": 2, "mae": "released", "verdict": "inconclusive"},
    ]
    none = {
        "claim": 12,
        "verdict": "not run",
        "value": "",
        "low": "",
        "high": "",
        "note": "dino was not trained",
    }
    write_claims(
        figures,
        *both(),
        *both(metric="auroc", value="0.01", low="-0.05", high="0.06", verdict="inconclusive"),
        *both(protocol="paper", value="-0.2", low="-0.3", high="-0.1", verdict="contradicted"),
        *differ,
        *both(**none),
    )
    for name in ("table1", "fig2"):
        book(workspace / "build" / "smoke" / "notebooks" / f"{name}.ipynb")
    return workspace


@pytest.fixture
def report(rendered):
    """The folder of the report on those."""
    return write("smoke").parent
