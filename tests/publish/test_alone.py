"""Of two make at once in one folder, one renders and reports; the other waits, then finds it done.
The report is made again where it was damaged, and only there."""

import threading
import time

import pytest

from lib.publish import pages, renderings
from lib.system import paths


def test_two_never_render_at_once_and_the_second_says_that_it_waits(workspace, capsys):
    inside, most, finished = [], [], []

    def render():
        with renderings.alone("smoke"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.2)
            inside.pop()
        finished.append(1)

    threads = [threading.Thread(target=render) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == [1, 1, 1] and len(finished) == 3
    waits = "another make renders profile smoke: this one waits for it."
    assert waits in capsys.readouterr().out


def test_a_block_that_raises_lets_the_next_one_in(workspace):
    with pytest.raises(ValueError, match="no"), renderings.alone("smoke"):
        raise ValueError("no")
    with renderings.alone("smoke"):
        pass


def test_profiles_do_not_wait_for_one_another(workspace, capsys):
    with renderings.alone("smoke"), renderings.alone("mini"):
        pass
    assert not capsys.readouterr().out


@pytest.fixture
def written(workspace, monkeypatch):
    """The reports that were written, each as two files."""
    reports = []

    def write(profile):
        reports.append(profile)
        report = paths.BUILD / profile / "report"
        report.mkdir(parents=True, exist_ok=True)
        for name in ("index.html", "style.css"):
            (report / name).write_text("whole", encoding="utf-8")

    monkeypatch.setattr(pages, "write", write)
    return reports


@pytest.mark.parametrize("name", ["index.html", "style.css", ".inputs.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_report_is_written_again(written, name, damage):
    page = pages.renew("smoke")
    assert pages.renew("smoke") == page and written == ["smoke"]
    path = page.with_name(name)
    path.unlink() if damage == "gone" else path.write_text("wh", encoding="utf-8")
    assert pages.renew("smoke") == page and written == ["smoke"] * 2
    assert pages.renew("smoke") == page and written == ["smoke"] * 2
