"""One validated set of choices for every command: what is not valid, or stands twice, is named
before anything slow, and nothing starts more processes than the machine holds."""

import re
import subprocess

import psutil
import pytest
from commands import CHOICES, command

from lib import __main__ as command_line
from lib.study import choices, grid
from lib.system import hardware, paths

memory = hardware.memory


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """Six cores, eight gigabytes, no GPU."""
    for name in (*CHOICES, "DEVICE", "PRECISION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(hardware, "cores", lambda: 6)
    monkeypatch.setattr(hardware, "memory", lambda: int(8e9))
    monkeypatch.setattr(hardware, "gpus", lambda: [])


WRONG = [
    ("SEEDS", "42,42", "SEEDS names 42 more than once"),
    ("SEEDS", "1 2,01", "SEEDS names 1 more than once"),
    ("SEEDS", "one", "SEEDS=one: seeds are whole numbers from 0 to 4294967295, .*found 'one'"),
    ("SEEDS", "-1", "found '-1'"),
    ("SEEDS", "1.5", "found '1.5'"),
    ("SEEDS", "1;2", "found '1;2'"),
    ("SEEDS", "²", "found '²'"),
    ("SEEDS", "4294967296", "found '4294967296'"),
    ("SEEDS", "9" * 5000, "found '999"),
    ("SEEDS", ",", "SEEDS=,: it names nothing"),
    ("METHODS", "simclr,byol,simclr", "METHODS names simclr more than once"),
    ("METHODS", "SimCLR", "unknown method 'SimCLR': did you mean 'simclr'"),
    ("METHODS", "simclr+byol", "unknown method"),
    ("METHODS", ", ,", "METHODS=, ,: it names nothing"),
    ("BACKBONES", "resnet", "unknown backbone 'resnet': did you mean 'resnet18'"),
    ("TRAIN_SHARES", "0.05,0.050", "TRAIN_SHARES names 0.05 more than once"),
    (
        "TRAIN_SHARES",
        "5",
        "TRAIN_SHARES=5: a share is a whole per cent, from 0.01 to 0.99, found '5'",
    ),
    *(
        ("TRAIN_SHARES", f"0.45,{word}", f"found '{re.escape(word)}'")
        for word in (
            "5%",
            "0.055",
            "0",
            "1",
            "0.0",
            "1.0",
            "-0.05",
            "1e-2",
            "nan",
            "²",
            "0.0_5",
            "0.45;",
        )
    ),
    ("TRAIN_SHARES", "0,05", "found '0'"),
    ("TRAIN_SHARES", ",", "TRAIN_SHARES=,: it names nothing"),
    ("PROFILE", "smok", "unknown profile 'smok': did you mean 'smoke'"),
    ("PROTOCOL", "clear", "unknown protocol 'clear': did you mean 'clean'"),
    ("DEVICE", "gpu", "DEVICE=gpu: choose one of cpu, cuda, or leave it unset"),
    ("DEVICE", "CPU", "DEVICE=CPU: choose one of cpu, cuda"),
    ("DEVICE", "cuda:0", "DEVICE=cuda:0: choose one of cpu, cuda"),
    ("DEVICE", "cuda", "DEVICE=cuda needs a GPU, and there is none .*leave DEVICE unset"),
    ("PRECISION", "fp16", "PRECISION=fp16: choose one of 32-true, bf16-mixed, 16-mixed"),
    ("PRECISION", "16-mixed", "PRECISION=16-mixed needs a GPU"),
    ("DEVICES", "0", "DEVICES=0: how many devices share one run, a whole number"),
    ("DEVICES", "two", "DEVICES=two"),
    ("DEVICES", "²", "DEVICES=²"),
    ("DEVICES", "9", r"DEVICES=9, but 6 core\(s\) and 8.0 GB of free memory hold 8 process"),
    ("JOBS", "0", "JOBS=0: how many runs to train at once, a whole number"),
    ("JOBS", "-2", "JOBS=-2"),
    ("JOBS", "1e3", "JOBS=1e3"),
    ("JOBS", "00", "JOBS=00"),
]


@pytest.mark.parametrize("name, value, expected", WRONG)
def test_what_is_not_valid_is_one_sentence(monkeypatch, name, value, expected):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=expected):
        choices.read()


@pytest.mark.parametrize("word", ["run", "render", "report", "data", "explain", "predict", "docs"])
def test_every_command_checks_every_choice_before_anything_else(monkeypatch, capsys, word):
    def never(arguments):
        raise AssertionError

    monkeypatch.setitem(command_line.COMMANDS, word, never)
    monkeypatch.setenv("SEEDS", "42,42")
    assert command_line.main([word]) == 2
    assert capsys.readouterr().err == "error: SEEDS names 42 more than once: name each once.\n"


@pytest.mark.parametrize(
    "named, expected",
    [
        (["fig22"], "unknown artefact 'fig22': did you mean 'fig2'"),
        (["fig2", "fig3", "fig2"], "ARTEFACT names fig2 more than once"),
    ],
)
def test_artefacts_are_choices_too(named, expected):
    with pytest.raises(ValueError, match=expected):
        choices.read(named)


@pytest.mark.parametrize(
    "chosen",
    [{"seeds": [42, 42]}, {"methods": ["byol", "byol"]}, {"train_shares": [0.05, 0.05]}],
)
def test_the_grid_refuses_them_too(chosen):
    with pytest.raises(ValueError, match=f"{next(iter(chosen))} names .* more than once"):
        grid.runs("table1", "smoke", **chosen)


@pytest.mark.parametrize("share", [5, 0.055, "0.05", True, 1.0, float("nan")])
def test_the_grid_refuses_what_is_no_share(share):
    with pytest.raises(ValueError, match="train_shares: a share is a whole per cent"):
        grid.runs("table1", "smoke", train_shares=[share])


def test_train_shares_are_those_of_the_grid_in_their_order():
    runs = grid.runs("fig2", "mini", methods=["byol"], train_shares=[0.45, 0.05, 0.1])
    assert [run.id for run in runs] == [f"byol-resnet18-{d}-s42" for d in ("d05", "d10", "d45")]
    assert runs[0] in grid.runs("fig2", "mini")  # the same run as without the choice


def test_valid_choices_are_read_once(monkeypatch):
    assert choices.read() == choices.Choices("mini", [], "", None, None, None, None, None, 1)
    chosen = {"PROFILE": "smoke", "PROTOCOL": "paper", "METHODS": "simclr byol", "SEEDS": "42,0"}
    chosen |= {
        "BACKBONES": "vit_tiny",
        "TRAIN_SHARES": "0.45,.05,0.150",
        "JOBS": "4",
        "DEVICES": "2",
        "DEVICE": "cpu",
        "PRECISION": "bf16-mixed",
    }
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    runs = ["byol", "simclr"], ["vit_tiny"], [0.05, 0.15, 0.45], [0, 42]
    expected = choices.Choices("smoke", ["fig2"], "paper", *runs, 4, 2)
    assert choices.read(["fig2"]) == expected


@pytest.mark.parametrize(
    "cores, memory, devices, held",
    [(6, 8e9, 1, 8), (2, 64e9, 1, 4), (6, 8e9, 2, 4), (4, 0.2e9, 1, 1)],
)
def test_jobs_have_a_ceiling_that_is_said_in_words(
    monkeypatch, capsys, cores, memory, devices, held
):
    monkeypatch.setattr(hardware, "cores", lambda: cores)
    monkeypatch.setattr(hardware, "memory", lambda: int(memory))
    monkeypatch.setenv("DEVICES", str(devices))
    monkeypatch.setenv("JOBS", str(held))
    assert choices.read().jobs == held and not capsys.readouterr().out
    monkeypatch.setenv("JOBS", "1000")
    assert choices.read().jobs == held
    sentence = capsys.readouterr().out
    assert sentence.startswith(f"JOBS=1000: {cores} core(s)") and f"so {held} start" in sentence
    monkeypatch.setenv("CLUSTER", "slurm")  # whose nodes are other machines
    assert choices.read().jobs == 1000


def test_without_jobs_memory_is_the_ceiling_too(monkeypatch):
    monkeypatch.setattr(hardware, "memory", lambda: int(3.5e9))
    assert hardware.jobs([]) == 3 and hardware.jobs([], devices=2) == 1


def test_memory_is_known_here():
    assert 0 < memory() <= psutil.virtual_memory().total


@pytest.mark.parametrize("target, near", [("fig22", "fig2"), ("tabel1", "table1"), ("lap", "lab")])
def test_make_names_the_nearest_target(target, near):
    done = subprocess.run(
        ["make", target], cwd=paths.ROOT, capture_output=True, text=True, check=False
    )
    expected = f"error: there is no `make {target}`: did you mean `make {near}`?"
    assert done.returncode == 2 and done.stderr.startswith(expected)


def test_a_command_line_without_a_valid_choice_ends_at_once(workspace):
    done = command("replicate", "fig22", PROFILE="smoke")
    assert done.returncode == 2 and "did you mean 'fig2'" in done.stderr
    assert not list(workspace.iterdir())


def test_labels_choose_the_profile_of_ones_own_images(monkeypatch):
    """`make table5 LABELS=...` drew simulated frames, without a word."""
    assert choices.read().profile == "mini"
    monkeypatch.setenv("LABELS", "labels.csv")
    assert choices.read().profile == "own"
    monkeypatch.setenv("PROFILE", "smoke")
    assert choices.read().profile == "smoke"


@pytest.mark.parametrize(("name", "near"), [("RANDOM", "random"), ("Byol", "byol"), ("MAE", "mae")])
def test_the_nearest_name_is_found_whatever_its_case(monkeypatch, name, near):
    monkeypatch.setenv("METHODS", name)
    with pytest.raises(ValueError, match=f"did you mean '{near}'"):
        choices.read()
