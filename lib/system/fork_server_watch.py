"""Imported by the fork server alone: a thread that ends the server and removes its socket's folder
when the parent ends. The server itself would notice that only after importing torch."""

import atexit
import os
import shutil
import threading
import time

from lib.system import parallel
from lib.system.fork_server import socket_folder

PAUSE = 0.2  # seconds between two looks at the parent


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PAUSE)
    shutil.rmtree(socket_folder(parent), ignore_errors=True)
    parallel.sweep()
    os._exit(1)


watch = threading.Thread(target=_watch, args=(os.getppid(),), daemon=True)
watch.start()
# The server ends when the parent's pipe has closed, a moment before the parent is gone.
atexit.register(watch.join, timeout=5 * PAUSE)
