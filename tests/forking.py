"""A process with surgery imported, which forks for every command: as a user's, without the wait."""

import atexit
import contextlib
import errno
import functools
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
import time
from pathlib import Path

from surgery.storage.temporary import lasting_folder

MOST = 1 << 17
"""The bytes of a request, most of which are the environment."""
USER = b"user"
"""What is sent on a connection that stays for as long as the server is needed."""


def main():
    """Fork a process for each request, until no process of pytest needs that any longer."""
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
    for name in sys.argv[2:]:
        importlib.import_module(name)
    gc.freeze()
    Service(listening).do()


class Service:
    """Answers each request by the id of a process, and when it has ended by how."""

    def __init__(self, listening):
        self._selector, self._users = selectors.DefaultSelector(), set()
        self._watch(listening, self._take)

    def _watch(self, file, then):
        self._selector.register(file, selectors.EVENT_READ, then)

    def do(self):
        while True:
            for key, _ in self._selector.select():
                key.data(key.fileobj)
                if not self._users:
                    return

    def _take(self, listening):
        asked = listening.accept()[0]
        request, files, _, _ = socket.recv_fds(asked, MOST, 3)
        if request == USER:
            self._users.add(asked)
            self._watch(asked, self._leave)
            return
        pid = os.fork()
        if pid == 0:
            become(files, **json.loads(request))
        for file in files:
            os.close(file)
        self._watch(os.pidfd_open(pid), functools.partial(self._end, pid, asked))
        answer(asked, pid)

    def _leave(self, asked):
        self._selector.unregister(asked)
        self._users.remove(asked)

    def _end(self, pid, asked, file):
        self._selector.unregister(file)
        os.close(file)
        _, status, usage = os.wait4(pid, 0)
        answer(asked, [os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024])
        asked.close()


def answer(asked, value):
    """Send it, where there is still somebody to take it."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        asked.send(json.dumps(value).encode())


class Server:
    """That process, as a test sees it; all workers of pytest share one, which the last one ends."""

    def __init__(self, *imported):
        tests = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
        self.address = "\0" + "-".join(["surgery", tests, *imported])
        with connection() as listening:
            if is_bound(listening, self.address):
                listening.listen(100)
                number = listening.fileno()
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tests.forking", str(number), *imported],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[number],
                    cwd=Path(__file__).parents[1],
                )
        self._use = used(self.address)


def is_bound(listening, address):
    """Whether this process is the first that binds the address."""
    try:
        listening.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True


def used(address):
    """A connection that says that the server is needed for as long as it is there."""
    until = time.monotonic() + 60
    while True:
        use = connection()
        try:
            use.connect(address)
        except ConnectionRefusedError:  # bound by another process, which is about to listen
            use.close()
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            use.send(USER)
            return use


def connection():
    """A socket whose messages stay whole."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


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
        self._asked = connection()
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
