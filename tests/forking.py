"""A process with surgery imported, which forks for every command: as a user's, without the wait."""

import atexit
import contextlib
import gc
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path


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
    for line in sys.stdin:
        number, request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            become(**request)
        _, status, usage = os.wait4(pid, 0)
        facts = [number, os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024]
        print(json.dumps(facts), flush=True)


class Server:
    """That process, as a test sees it: started when it is needed, and anew after one that hangs."""

    def __init__(self, *imported):
        self._imported, self._process, self._number = imported, None, 0

    def run(self, request, seconds=300):
        """The exit code and the peak memory in MB of one command; TimeoutError after those seconds.

        A command that hangs is killed, and the server with it: an answer that comes late is not
        taken for that of the next command.
        """
        self._number += 1
        try:
            print(json.dumps([self._number, request]), file=self._started().stdin, flush=True)
            if not select.select([self._process.stdout], [], [], seconds)[0]:
                raise TimeoutError(f"{request['arguments']} takes longer than {seconds} s")
            number, code, megabytes = json.loads(self._process.stdout.readline())
            assert number == self._number
        except BaseException:
            self.kill()
            raise
        return code, megabytes

    def _started(self):
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forking", *self._imported],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[1],
                process_group=0,
            )
        return self._process

    def kill(self):
        """End it, and the command that it runs."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
            self._process = None


def become(arguments, cwd, environment, out, err, limits):
    """What `python -m surgery` is, with its output in files; ends the process."""
    for name, most in limits.items():
        resource.setrlimit(getattr(resource, name), (most, most))
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, out, os.O_WRONLY),
        (2, err, os.O_WRONLY),
    ):
        descriptor = os.open(path, flags)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = open(0)  # noqa: SIM115
    sys.argv = ["surgery", *arguments]
    from surgery.cli.main import main

    try:
        main()
    except SystemExit as end:  # as Python ends, but for taking all modules apart
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code)


def forked_session(session):
    """In place of `Session._start`: Keras has been imported already."""
    session._folder = tempfile.mkdtemp(prefix="surgery-")
    return ForkedWorker(session.threads, session._folder)


class ForkedWorker:
    """The process with Keras, forked from this one; what a Session needs of a Popen."""

    def __init__(self, *arguments):
        (its_in, our_out), (our_in, its_out) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(our_out)  # else it would never see the end
            for number, descriptor in ((0, its_in), (1, its_out)):
                os.dup2(descriptor, number)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            sys.argv = ["worker", *map(str, arguments)]
            from surgery.live.process import worker

            try:
                worker.main()
            finally:
                os._exit(1)
        os.close(its_in)
        os.close(its_out)
        self.stdin, self.stdout = open(our_out, "wb"), open(our_in, "rb")  # noqa: SIM115

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)

    def wait(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def communicate(self):
        self.stdin.close()
        self.stdout.close()
        self.wait()


if __name__ == "__main__":
    main()
