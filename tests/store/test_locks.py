"""A file system without locks is told in one sentence."""

import errno
import os

import pytest

from lib.scheduling import plan
from lib.store import run_directory
from lib.system import paths
from lib.system.errors import DataError


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_that_does_not_lock_is_refused_before_anything_starts(
    workspace, monkeypatch, number
):
    def flock(file, operation):
        raise OSError(number, os.strerror(number))

    run_directory.check_locks()
    monkeypatch.setattr(run_directory.fcntl, "flock", flock)
    monkeypatch.setattr(plan, "train", lambda todo, request: pytest.fail("started"))
    with pytest.raises(DataError, match=r"does not lock files .* set WORKSPACE") as error:
        plan.run(plan.Request("smoke", run_id="random-resnet18-d45-s1"))
    assert "\n" not in str(error.value) and not list(paths.RUNS.iterdir())
