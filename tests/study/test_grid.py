"""The grid: ids are reversible, profiles are checked before anything slow starts."""

from dataclasses import fields

import pytest

from lib.study import choices, grid, profiles, settings
from lib.system import paths

PROFILES = profiles.available()


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("part", ["grid", "augmentation", "resolution"])
def test_run_ids_are_unique_and_reversible(name, part):
    runs = grid.cells(name, part)
    assert len({run.id for run in runs}) == len(runs)
    assert all(grid.parse(name, run.id) == run for run in runs)


def test_the_paper_grid_is_the_papers():
    runs = grid.cells("paper")
    rows = {(r.method, r.backbone) for r in runs}
    trained = {row for row in rows if row[0] not in ("random", "mae-released")}
    assert len(trained) == 11  # docs/study.md: 11 systems
    assert len(rows) == 14  # and two backbones as initialised, one MAE as released
    assert {r.share for r in runs} == {0.01, 0.02, 0.05, 0.15, 0.45}
    assert {r.backbone for r in runs if r.method.startswith("mae")} == {"vit_tiny"}
    assert {r.px for r in grid.cells("paper", "resolution")} == {64, 128, 224, 384, 512}
    assert len(grid.cells("paper", "augmentation")) == 2 * 5 * 5


@pytest.mark.parametrize(
    "method, expected",
    [
        (
            "supervised",
            {"optimiser": "adamw", "lr": 5e-4, "weight_decay": 1e-4, "warmup_start": 3e-5},
        ),
        (
            "byol",
            {
                "optimiser": "lars",
                "lr": 0.2,
                "weight_decay": 1.5e-6,
                "warmup_start": 0.1,
                "hidden": 2048,
            },
        ),
        ("barlow", {"optimiser": "lars", "redundancy": 0.0051, "scale": 0.024, "embedding": 256}),
        (
            "simclr",
            {
                "optimiser": "lars",
                "lr": 0.3,
                "weight_decay": 1e-6,
                "warmup_start": 0.15,
                "temperature": 0.2,
            },
        ),
        (
            "dino",
            {
                "optimiser": "adamw",
                "prototypes": 8192,
                "student_temperature": 0.1,
                "teacher_temperature": 0.07,
                "teacher_warmup_epochs": 15,
                "centre_momentum": 0.9,
                "frozen_epochs": 1,
                "clip": 1.0,
            },
        ),
        (
            "mae",
            {
                "optimiser": "adamw",
                "lr": 1e-3,
                "weight_decay": 0.05,
                "warmup_start": 5e-4,
                "mask": 0.75,
                "heads": 12,
                "decoder_width": 192,
                "decoder_depth": 12,
                "decoder_heads": 12,
            },
        ),
    ],
)
def test_the_paper_profile_holds_the_protocols_numbers(method, expected):
    settings = grid.run("paper", method, "vit_tiny", 0.45, 42).resolved()["settings"]
    assert settings | expected == settings
    common = {
        "epochs": 45,
        "batch": 256,
        "warmup_epochs": 10,
        "final_lr": 1e-6,
        "probe_lr": 1e-3,
        "width": 1.0,
    }
    assert settings | common == settings


def test_a_profile_may_give_each_backbone_its_own_pixels_and_width():
    resnet, vit = (grid.run("mini", "simclr", b, 0.45, 42) for b in ("resnet18", "vit_tiny"))
    assert (resnet.px, resnet.settings.width) == (64, 0.25)
    assert (vit.px, vit.settings.width) == (48, 0.5)
    assert grid.run("paper", "simclr", "vit_tiny", 0.45, 42).px == 224


def test_settings_hold_nothing_of_other_methods():
    assert not hasattr(grid.run("paper", "byol", "resnet18", 0.01, 42).settings, "temperature")
    assert not hasattr(grid.run("paper", "simclr", "resnet18", 0.01, 42).settings, "tau_start")


def test_a_run_that_differs_in_a_setting_is_another_run():
    a, b = (
        grid.run("mini", "simclr", "resnet18", 0.01, 42),
        grid.run("mini", "simclr", "resnet18", 0.01, 43),
    )
    assert a != b and a == grid.run("mini", "simclr", "resnet18", 0.01, 42)


@pytest.mark.parametrize(
    "call, near",
    [
        (lambda: profiles.load("mnii"), "mini"),
        (lambda: grid.runs("tabel1"), "table1"),
        (lambda: grid.runs("table1", "mini", methods=["simclrr"]), "simclr"),
        (lambda: grid.run("mini", "mae", "resnet19", 0.01, 1), "resnet18"),
    ],
)
def test_unknown_names_are_met_with_the_nearest(call, near):
    with pytest.raises(ValueError, match=f"did you mean '{near}'"):
        call()


@pytest.mark.parametrize(
    "text, expected",
    [
        ("[training]\nepohcs = 3", "did you mean 'epochs'"),
        ("[training]\nepochs = 'three'", "of type int"),
        ("[training]\nepochs = 2.5", "of type int"),
        ("[training]\nepochs = true", "of type int"),
        ("training = 3", "is a table"),
        ("[method.simclr]\ntemprature = 1.0", "did you mean 'temperature'"),
    ],
)
def test_a_wrong_profile_is_refused(tmp_path, monkeypatch, text, expected):
    (tmp_path / "paper.toml").write_text((paths.PROFILES / "paper.toml").read_text())
    (tmp_path / "own.toml").write_text(text)
    monkeypatch.setattr(paths, "PROFILES", tmp_path)
    profiles.load.cache_clear()
    with pytest.raises(ValueError, match=expected):
        profiles.load("own")
    profiles.load.cache_clear()


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ("temperature = 0.2", "temprature = 0.2", "did you mean 'temperature'"),
        ("temperature = 0.2", "temperature = 'cold'", "'temperature' should be of type float"),
        ("temperature = 0.2", "", "simclr, profile paper lacks temperature"),
        ("[method.simclr]", "[method.simcrl]", "did you mean 'simclr'"),
    ],
)
def test_the_papers_profile_states_what_the_method_declares(
    tmp_path, monkeypatch, old, new, expected
):
    text = (paths.PROFILES / "paper.toml").read_text()
    assert text.count(f"\n{old}") == 1
    (tmp_path / "paper.toml").write_text(text.replace(f"\n{old}", f"\n{new}"))
    monkeypatch.setattr(paths, "PROFILES", tmp_path)
    profiles.load.cache_clear()
    with pytest.raises(ValueError, match=expected):
        grid.run("paper", "simclr", "resnet18", 0.45, 42)
    profiles.load.cache_clear()


def test_every_setting_is_of_the_type_that_its_class_declares():
    for run in grid.cells("paper", methods=list(settings.METHODS)):
        for field in fields(run.settings):
            assert isinstance(getattr(run.settings, field.name), field.type), (run.id, field.name)
        assert run.resolved()["settings"] == vars(run.settings)


def test_mae_asks_for_a_vit():
    with pytest.raises(ValueError, match="vit_tiny"):
        grid.run("mini", "mae", "resnet18", 0.01, 42)


@pytest.mark.parametrize(
    "wrong", ["simclr-resnet18", "simclr-resnet18-d45", "nothing", "simclr-resnet18-d45-s42-px"]
)
def test_a_wrong_run_id_is_refused(wrong):
    with pytest.raises(ValueError, match="is not a run id"):
        grid.parse("mini", wrong)


def test_backbones_are_chosen_as_methods_are(monkeypatch):
    every = grid.runs("table1", "mini", methods=["simclr", "mae"])
    chosen = grid.runs("table1", "mini", methods=["simclr", "mae"], backbones=["resnet18"])
    assert chosen == [run for run in every if run.backbone == "resnet18"] != []
    assert grid.runs("table4", "mini", backbones=["resnet18"]) == []
    assert grid.cells("mini", methods=[], backbones=[], seeds=[]) == grid.cells("mini")
    monkeypatch.setenv("BACKBONES", "resnet")
    with pytest.raises(ValueError, match="unknown backbone 'resnet': did you mean 'resnet18'"):
        choices.read()
    monkeypatch.setenv("BACKBONES", "resnet18,resnet18")
    with pytest.raises(ValueError, match="BACKBONES names resnet18 more than once"):
        choices.read()
