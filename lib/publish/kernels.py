"""Kernels of notebooks that are rendered. On Linux each is a fork, in 0.1 s, of one process that
has already imported what notebooks draw with; elsewhere Jupyter starts them."""

import os
import sys
from typing import Any

from jupyter_client import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

from lib.system import fork_server, parallel


class Fork:
    """A kernel's process, with the methods of subprocess.Popen that Jupyter calls."""

    stdin = stdout = stderr = None

    def __init__(self, arguments: list[str], folder: str, variables: dict[str, str]) -> None:
        started = parallel.start(fork_server.context(), variables, _serve, arguments, folder)
        self._process, self._connection = started
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self._process.is_alive():
            os.kill(self.pid, number)


def _serve(connection, arguments: list[str], folder: str) -> None:
    """The work of a kernel's process: `connection` stays open as long as it runs. What it prints
    belongs to its notebook, not to the terminal."""
    os.chdir(folder)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    sys.modules["debugpy"] = None  # takes as long to import as all else here; nobody debugs
    from ipykernel.kernelapp import IPKernelApp  # imported by the server, not by this one's parent

    app = IPKernelApp.instance(parent_handle=os.getppid())
    app.initialize(arguments)
    app.shell.enable_matplotlib("inline")
    app.start()


class ForkProvisioner(LocalProvisioner):
    """Starts a kernel as a fork. It has no process group of its own: signals reach it alone."""

    async def launch_kernel(self, cmd: list[str], **options: Any):
        arguments = cmd[cmd.index("-f") :]
        self.process = Fork(arguments, options["cwd"], options["env"])
        self.pid = self.process.pid
        return self.connection_info


class ForkManager(AsyncKernelManager):
    """Jupyter's manager of one kernel, which it starts through `ForkProvisioner`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.provisioner = ForkProvisioner(parent=self, kernel_id="", kernel_spec=self.kernel_spec)


# The manager with which kernels start fastest on this system.
MANAGER = ForkManager if sys.platform == "linux" else AsyncKernelManager
