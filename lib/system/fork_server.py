"""The process that forks those that train, and the kernels of notebooks. Torch takes 12 s to
import; a server that has imported it once forks processes in 0.1 s. Its socket lies in a folder
named after its parent, which it removes when the parent has ended, however that ended, even while
it still imports: `lib.system.fork_server_watch`."""

import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
from multiprocessing import forkserver
from multiprocessing.util import Finalize
from pathlib import Path

from lib.system import atomic, environment, parallel

PRELOADED: list[str] = []  # modules that processes need which are started later
STARTING = threading.Lock()  # notebooks are rendered in threads, and share one server
LONGEST = 60  # bytes of a temporary folder's path: a socket's path below it may have 107 at most


def socket_folder(parent: int) -> Path:
    """Where the socket of the server of the process `parent` lies; /tmp where TMPDIR is long."""
    temporary = tempfile.gettempdir()
    folder = Path(temporary if len(os.fsencode(temporary)) <= LONGEST else "/tmp")
    return folder / f".fork-server.new-{atomic.HOST}-{parent}"


def context(*modules: str):
    """How processes start on Linux: as forks of a server that imports `modules` once, and what is
    `PRELOADED`. The first call starts the server, and does not wait for it. macOS forbids forks
    that use its libraries: there each process starts anew."""
    environment.hand_down(parallel.ONE_THREAD)
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lib.system.fork_server_watch", *modules, *PRELOADED])
    with STARTING:
        folder, usual = socket_folder(os.getpid()), tempfile.tempdir
        if not folder.exists():
            atomic.sweep([folder.parent])
            folder.mkdir(mode=0o700)
            # After multiprocessing has removed its own folder, inside this one.
            Finalize(None, shutil.rmtree, (folder,), {"ignore_errors": True}, exitpriority=-200)
        tempfile.tempdir = str(folder)
        try:
            with parallel.interrupts_blocked():
                forkserver.ensure_running()
        finally:
            tempfile.tempdir = usual
    return context
