"""A process with surgery imported, which forks for every command: as a user's, without the wait."""

import atexit
import contextlib
import gc
import importlib
import json
import os
import resource
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from surgery.storage.temporary import lasting_folder

MOST = 1 << 17
"""The bytes of a request, most of which are the environment."""


def main():
    """Fork a process for each request, until the process that began this one is gone."""
    # TensorFlow and Keras are not among these; a command that needs them imports them itself.
    from surgery.recipe.schema import recipe_schema
    from surgery.sweeps import local, worker

    recipe_schema()  # asks all ops and formats for their keys
    listening = socket.socket(fileno=int(sys.argv[1]))
    address = listening.getsockname()
    local.worker_process = lambda arguments: Forked(
        address, [worker.__name__, *arguments], subprocess.PIPE, text=True
    )
    if "keras" in sys.argv:
        from surgery.live.quiet import import_keras
        from surgery.live.session import Session

        import_keras()
        Session._start = session_of(lambda: address)
    gc.freeze()
    serve(listening)


def serve(listening):
    """Answer each request by the id of a process, and when it has ended by how."""
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(listening, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fd == 0:
                return
            if key.data is None:
                asked = listening.accept()[0]
                request, files, _, _ = socket.recv_fds(asked, MOST, 3)
                pid = os.fork()
                if pid == 0:
                    become(files, **json.loads(request))
                for file in files:
                    os.close(file)
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, asked))
                answer = pid
            else:
                pid, asked = key.data
                selector.unregister(key.fd)
                os.close(key.fd)
                _, status, usage = os.wait4(pid, 0)
                answer = os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                asked.send(json.dumps(answer).encode())


class Server:
    """That process, as a test sees it: started when it is needed."""

    def __init__(self, *imported):
        self._imported, self._process = imported, None

    @property
    def address(self):
        """Where it listens."""
        if self._process is None:
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            listening.bind("")
            listening.listen(100)
            self._address = listening.getsockname()
            number = listening.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forking", str(number), *self._imported],
                stdin=subprocess.PIPE,
                pass_fds=[number],
                cwd=Path(__file__).parents[1],
            )
            listening.close()
        return self._address


class Forked:
    """A process that a server has forked; what is needed of a Popen."""

    def __init__(self, address, arguments, pipes=None, text=False, files=(0, 1, 2), **given):
        """The first argument is a module whose `main` is called.

        With pipes, there is one to its standard input, and one from its standard output.
        """
        files, ours = list(files), []
        if pipes:
            (files[0], to), (back, files[1]) = os.pipe(), os.pipe()
            kind = "" if text else "b"
            self.stdin, self.stdout = open(to, f"w{kind}"), open(back, f"r{kind}")  # noqa: SIM115
            ours = files[:2]
        place = {"cwd": str(Path.cwd()), "environment": dict(os.environ), **given}
        request = json.dumps({"arguments": arguments, **place}).encode()
        self._asked = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._asked.connect(address)
        socket.send_fds(self._asked, [request], files)
        for file in ours:
            os.close(file)
        self.pid = json.loads(self._asked.recv(MOST))
        self.returncode = self.megabytes = None

    def send_signal(self, number):
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def wait(self, timeout=None):
        if self.returncode is None:
            if not select.select([self._asked], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("the forked process", timeout)
            self.returncode, self.megabytes = json.loads(self._asked.recv(MOST))
            self._asked.close()
        return self.returncode

    def communicate(self):
        self.stdin.close()
        self.stdout.close()
        self.wait()


def session_of(address):
    """In place of `Session._start`: the process with Keras is forked by the server there."""

    def start(session):
        session._folder = lasting_folder()
        arguments = ["surgery.live.process.worker", str(session.threads), session._folder]
        return Forked(address(), arguments, subprocess.PIPE)

    return start


def become(files, arguments, cwd, environment, limits=()):
    """Be what `python -m` with these arguments would be; ends the process."""
    for name, most in dict(limits).items():
        resource.setrlimit(getattr(resource, name), (most, most))
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, file in enumerate(files):
        if number != file:
            os.dup2(file, number)
            os.close(file)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.argv = arguments
    code = 0
    try:
        importlib.import_module(arguments[0]).main()
    except SystemExit as end:
        code = end.code
    # As Python ends, but for taking all modules apart.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
