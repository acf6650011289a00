"""What is lost where images become squares is told in a line."""

import numpy as np
import pytest
from PIL import Image

from lib.data.files import Images
from lib.data.resizing import advice


@pytest.mark.parametrize(
    "width, height, told",
    [
        (300, 300, ""),
        (380, 300, ""),
        (96, 140, ""),
        (
            250,
            620,
            "of about 250 x 620 px are resized to 96 x 96 px: they are squashed, being 2.5 ",
        ),
        (620, 250, "times as long as wide and a defect of less than 6 px is lost; cut them into"),
        (960, 960, "are resized to 96 x 96 px: a defect of less than 10 px is lost; cut them into"),
    ],
)
def test_stretched_and_large_images_get_a_line(tmp_path, width, height, told):
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((height, width), np.uint8)).save(tmp_path / name)
    (tmp_path / "c.png").write_bytes(b"")
    line = advice(Images(tmp_path), ("a.png", "b.png", "c.png", "absent.png"), 96)
    assert told in line and bool(told) == bool(line)


def test_nothing_is_told_of_images_that_cannot_be_read(tmp_path):
    assert advice(Images(tmp_path), ("a.png",), 96) == ""
