"""What the environment asks for is checked, and wrong values are told in one sentence."""

import pytest
import torch

from lib.system import environment, hardware, torch_device


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_a_number_is_whole_and_positive(monkeypatch, value):
    monkeypatch.setenv("JOBS", value)
    with pytest.raises(ValueError, match=f"JOBS={value}: how many, a whole number of 1 or more"):
        environment.number("JOBS", None, "how many")


def test_empty_is_unset(monkeypatch):
    for name in ("JOBS", "METHODS", "LABELS", "DEVICE", "FORCE"):
        monkeypatch.setenv(name, "")
    assert environment.number("JOBS", 3, "how many") == 3
    assert environment.words("METHODS") == []
    assert environment.labels() is None and environment.device() == ""
    assert not environment.switch("FORCE")


def test_lists_are_separated_by_commas_or_blanks(monkeypatch):
    monkeypatch.setenv("METHODS", "simclr, byol dino")
    monkeypatch.setenv("SEEDS", "0,1")
    assert environment.words("METHODS") == ["simclr", "byol", "dino"]
    assert environment.seeds() == [0, 1]


@pytest.mark.parametrize("name", ["DEVICE", "PRECISION"])
def test_a_choice_lists_what_there_is(monkeypatch, name):
    monkeypatch.setenv(name, "best")
    with pytest.raises(ValueError, match=f"{name}=best: choose one of .*, or leave it unset"):
        getattr(environment, name.lower())()


def test_a_printed_command_takes_the_set_variables_along(monkeypatch):
    for name in environment.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SEEDS", "0 1")
    monkeypatch.setenv("PROFILE", "mini")
    assert environment.as_arguments() == "PROFILE=mini SEEDS='0 1'"


def test_handed_down_variables_may_leave_the_users_alone(monkeypatch):
    monkeypatch.setenv("ONE", "user")
    monkeypatch.delenv("TWO", raising=False)
    environment.hand_down({"ONE": "ours", "TWO": "ours"}, keep=True)
    assert (environment.text("ONE"), environment.text("TWO")) == ("user", "ours")
    environment.hand_down({"ONE": "ours"})
    assert environment.text("ONE") == "ours"


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_precision_can_be_that_of_another_machine(monkeypatch, precision):
    monkeypatch.setenv("DEVICE", "cpu")
    monkeypatch.setenv("PRECISION", precision)
    assert torch_device.precision() == precision


def test_a_processor_refuses_the_precision_of_gpus(monkeypatch):
    monkeypatch.setenv("DEVICE", "cpu")
    monkeypatch.setenv("PRECISION", "16-mixed")
    with pytest.raises(ValueError, match="needs a GPU"):
        torch_device.precision()


@pytest.mark.parametrize(
    "capabilities, expected", [({"amx_bf16": True}, "bf16-mixed"), ({}, "32-true")]
)
def test_without_a_choice_the_machine_decides(monkeypatch, capabilities, expected):
    monkeypatch.setenv("DEVICE", "cpu")
    monkeypatch.delenv("PRECISION", raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert torch_device.precision() == expected


def test_gpus_are_those_that_cuda_may_see(monkeypatch):
    monkeypatch.delenv("DEVICE", raising=False)
    monkeypatch.setattr(hardware.shutil, "which", lambda command: "/usr/bin/nvidia-smi")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert hardware.gpus() == ["2", "5"]
    monkeypatch.setenv("DEVICE", "cpu")
    assert hardware.gpus() == []
