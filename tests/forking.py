"""A process with surgery imported, which forks for every command: as a user's, without the wait."""

import atexit
import contextlib
import gc
import importlib
import json
import os
import resource
import select
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
    # TensorFlow and Keras are not among these; a command that needs them imports them itself.
    from surgery.recipe.schema import recipe_schema

    recipe_schema()  # asks all ops and formats for their keys
    if "keras" in sys.argv:
        from surgery.live.quiet import import_keras
        from surgery.live.session import Session

        import_keras()
        Session._start = forked_session
    gc.freeze()
    asked = socket.socket(fileno=0)
    while True:
        request, files, _, _ = socket.recv_fds(asked, MOST, 3)
        if not request:
            return
        what, given = json.loads(request)
        asked.send(json.dumps(ANSWERS[what](files=files, **given)).encode())


def started(files, **given):
    """Fork a process that has those files as its first three; gives its id."""
    pid = os.fork()
    if pid == 0:
        become(files, **given)
    for file in files:
        os.close(file)
    return pid


def ended(pid, files=()):
    """The exit code and the peak memory in MB of a process, once it has ended."""
    _, status, usage = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024


ANSWERS = {"start": started, "end": ended}


class Server:
    """That process, as a test sees it: started when it is needed, and anew after one that hangs."""

    def __init__(self, *imported):
        self._imported, self._process, self._asked = imported, None, None

    def run(self, files, seconds=300, **given):
        """The exit code and the peak memory in MB of one command; TimeoutError after those seconds.

        A command that hangs is killed, and the server with it.
        """
        return self.end(self.start(files, **given), seconds)

    def start(self, files, **given):
        """Begin a command, or another module's `main`; gives the id of its process."""
        return self._answer("start", 300, files, **given)

    def end(self, pid, seconds=300):
        """The exit code and the peak memory in MB of what was begun."""
        return self._answer("end", seconds, [], pid=pid)

    def _answer(self, what, seconds, files, **given):
        try:
            asked = self._started()
            socket.send_fds(asked, [json.dumps([what, given]).encode()], files)
            if not select.select([asked], [], [], seconds)[0]:
                raise TimeoutError(f"the process takes longer than {seconds} s")
            return json.loads(asked.recv(MOST))
        except BaseException:
            self.kill()
            raise

    def _started(self):
        if self._process is None or self._process.poll() is not None:
            self._asked, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forking", *self._imported],
                stdin=theirs,
                cwd=Path(__file__).parents[1],
                process_group=0,
            )
            theirs.close()
        return self._asked

    def kill(self):
        """End it, and what it has begun."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._asked.close()
            self._process = None


class Forked:
    """A process with a pipe to it and one from it; what a Session needs of a Popen."""

    def __init__(self, start, end):
        (its_in, our_out), (our_in, its_out) = os.pipe(), os.pipe()
        self.pid = start([its_in, its_out, 2], ours=[our_out, our_in])
        self._end, self._code = end, None
        os.close(its_in)
        os.close(its_out)
        self.stdin, self.stdout = open(our_out, "wb"), open(our_in, "rb")  # noqa: SIM115

    def kill(self):
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self):
        if self._code is None:
            self._code = self._end(self.pid)[0]
        return self._code

    def communicate(self):
        self.stdin.close()
        self.stdout.close()
        self.wait()


def forked_session(session):
    """In place of `Session._start`, where Keras has been imported: forks this process."""

    def start(files, ours):
        pid = os.fork()
        if pid == 0:
            for file in ours:  # else it would never see the end
                os.close(file)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            become(files, **worker(session))
        return pid

    return Forked(start, ended)


def session_of(server):
    """In place of `Session._start`, where Keras is not: has the server do that."""

    def start(session):
        return Forked(lambda files, ours: server().start(files, **worker(session)), server().end)

    return start


def worker(session):
    """The process with Keras, as the session wants it."""
    session._folder = lasting_folder()
    return {
        "module": "surgery.live.process.worker",
        "arguments": [str(session.threads), session._folder],
        "cwd": str(Path.cwd()),
        "environment": dict(os.environ),
    }


def become(files, arguments, cwd, environment, module="surgery.cli.main", limits=()):
    """Be what `python -m` and that module would be; ends the process."""
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
    sys.argv = [module, *arguments]
    code = 0
    try:
        importlib.import_module(module).main()
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
