"""Ctrl-C ends a command with one sentence, whatever its processes do at that moment; a temporary
folder with a long name, a lack of shared memory, or another locale end none."""

import ast
import os
import signal
import subprocess
import sys
import time

import commands
import pytest

from lib.system import parallel, paths
from lib.system.errors import DataError

# A worker of the pool imports this script, too, and Ctrl-C comes while it does.
POOL = """
import os, signal, sys, time
WHEN = sys.argv[1]

def interrupt(seconds=0.0):
    os.killpg(os.getpgid(0), signal.SIGINT)
    time.sleep(seconds)

if __name__ == "__mp_main__" and WHEN == "importing":
    interrupt(0.3)

def work(job):
    if WHEN == "working":
        interrupt(3600)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from lib.system import fork_server, parallel
    try:
        if WHEN == "serving":
            context = fork_server.context("interrupts")
            process, connection = parallel.start(context, {}, id)
            connection.poll(3600)
        else:
            with parallel.pool(2, "worked") as pool:
                parallel.results(pool, work, range(20))
    except KeyboardInterrupt:
        print("stopped")
"""
# What the fork server imports first.
INTERRUPTS = """
import os, signal, time
os.killpg(os.getpgid(0), signal.SIGINT)
time.sleep(0.3)
"""


def python(folder, *arguments, **variables):
    """A script in a process group of its own."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(paths.ROOT), str(folder)])}
        | variables,
        capture_output=True,
        text=True,
        timeout=900,  # less than the work would take
        start_new_session=True,
        check=False,
    )


@pytest.mark.parametrize("when", ["importing", "working", "serving"])
def test_ctrl_c_is_one_word_of_one_process(tmp_path, when):
    (tmp_path / "script.py").write_text(POOL, encoding="utf-8")
    (tmp_path / "interrupts.py").write_text(INTERRUPTS, encoding="utf-8")
    done = python(tmp_path, "script.py", when)
    assert (done.stdout, done.stderr) == ("stopped\n", "")


SERVED = """
import os, sys
from pathlib import Path
from lib.system import fork_server, parallel

def answer(connection):
    connection.send(os.getppid())

if __name__ == "__main__":
    context = fork_server.context("json")
    process, connection = parallel.start(context, {}, answer)
    assert connection.recv() != os.getpid()
    print(fork_server.socket_folder(os.getpid()))
"""


@pytest.mark.parametrize("length", [10, 150])
def test_the_fork_server_works_below_any_temporary_folder_and_leaves_nothing(tmp_path, length):
    (tmp_path / "served.py").write_text(SERVED, encoding="utf-8")
    temporary = tmp_path / ("t" * length)
    temporary.mkdir()
    done = python(tmp_path, "served.py", TMPDIR=str(temporary))
    assert done.returncode == 0, done.stderr
    assert not os.path.exists(done.stdout.strip()) and not list(temporary.iterdir())
    assert len(done.stdout.strip()) < 100


def test_without_shared_memory_there_is_one_sentence(monkeypatch):
    def refuse(self):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(parallel.multiprocessing.context.SpawnContext, "SimpleQueue", refuse)
    with (
        pytest.raises(DataError, match=r"/dev/shm .*mount it, in a container with --shm-size"),
        parallel.pool(2, "worked"),
    ):
        pass


def opened(tree):
    """Calls that read or write text, and their keywords."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            modes = [a.value for a in node.args if isinstance(a, ast.Constant)]
            binary = any(isinstance(m, str) and "b" in m and len(m) < 4 for m in modes)
            builtin = isinstance(node.func, ast.Name) and name == "open"
            if name in ("read_text", "write_text") or (builtin and not binary):
                positional = len(node.args) > {"read_text": 0, "write_text": 1, "open": 3}[name]
                yield node.lineno, positional, {keyword.arg for keyword in node.keywords}


def test_text_is_utf8_whatever_the_locale():
    for file in (paths.ROOT / "lib").rglob("*.py"):
        for line, positional, keywords in opened(ast.parse(file.read_text(encoding="utf-8"))):
            assert "encoding" in keywords or positional, f"{file}, line {line}"


@pytest.mark.parametrize("locale", ["C", "POSIX", "de_DE.ISO-8859-1", "de_DE.UTF-8", "nowhere"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_another_locale_or_terminal_ends_no_command(workspace, locale, encoding):
    code = "import sys; from lib import __main__ as m; "
    code += "m.COMMANDS['docs'] = lambda arguments: print('F\\u2013\\u03c1') or 0"
    variables = {"LC_ALL": locale, "PYTHONIOENCODING": encoding}
    done = python(paths.ROOT, "-c", f"{code}; sys.exit(m.main(['docs']))", **variables)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("F")


KILLED = """
import os, signal, sys, time
from pathlib import Path
from lib.system import atomic, fork_server, parallel, paths

def half(parent):
    def write(beside):
        beside.write_bytes(b"half")
        os.kill(parent, signal.SIGKILL)
        time.sleep(3600)
    atomic.put(paths.DATA / "a.png", write)

def of_the_server(connection, parent):
    half(parent)

if __name__ == "__main__":
    paths.DATA.mkdir()
    (paths.DATA / "kept.png").touch()
    if sys.argv[1] == "server":
        context = fork_server.context("json")
        parallel.start(context, {}, of_the_server, os.getpid())
        time.sleep(3600)
    with parallel.pool(2, "drew") as pool, atomic.new_folder(paths.DATA / "simulated-v1") as folder:
        (folder / "image.png").touch()
        parallel.results(pool, half, [os.getpid()])
"""


@pytest.mark.parametrize("how", ["pool", "server"])
def test_a_killed_command_leaves_no_unfinished_file(workspace, how):
    (workspace / "killed.py").write_text(KILLED, encoding="utf-8")
    temporary = workspace / "tmp"
    temporary.mkdir()
    done = python(workspace, "killed.py", how, TMPDIR=str(temporary))
    assert done.returncode == -signal.SIGKILL, done.stderr
    until = time.time() + 300
    while len(left := [*(workspace / "data").iterdir(), *temporary.iterdir()]) > 1:
        assert time.time() < until, left
        time.sleep(0.05)
    assert left == [workspace / "data" / "kept.png"]


def test_threads_share_one_fork_server():
    code = (
        "import threading\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from lib.system import fork_server\n"
        "barrier = threading.Barrier(8)\n"
        "def start(_):\n"
        "    barrier.wait()\n"
        "    return fork_server.context('json')\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    assert len(list(pool.map(start, range(8)))) == 8\n"
    )
    done = commands.python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")
