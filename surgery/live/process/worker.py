"""The main loop of the process with Keras: it runs jobs from standard input until that ends."""

from __future__ import annotations

import os
import pickle
import queue
import re
import shutil
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from typing import Any

from surgery.errors import SurgeryError
from surgery.live.code import failure, imported_files
from surgery.live.quiet import import_keras
from surgery.storage import temporary


class _Answers:
    """The pipe for messages to the parent process; other output goes to standard error."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)

    def send(self, kind: str, **facts: Any) -> None:
        """Send one message."""
        pickle.dump((kind, facts), self._file)
        self._file.flush()


def main() -> None:
    """Run jobs until the parent process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process kills this one
    temporary.use(sys.argv[2])
    answers = _Answers()
    jobs: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    _prepare(int(sys.argv[1]))
    while True:
        name, arguments = jobs.get()
        try:
            made = _do(name, arguments, answers)
            answers.send("imported", files=imported_files())
            answers.send("done", **made)
        except SurgeryError as error:
            answers.send("failed", message=str(error))
        except MemoryError:
            answers.send("failed", message=f"{name}: memory ran out")
        except Exception as error:  # Keras, TensorFlow and user code raise any exception
            answers.send("failed", message=f"{name}: {_reason(error)}")


def _listen(jobs: queue.Queue[tuple[str, dict[str, Any]]]) -> None:
    """Queue incoming jobs, and exit at once when the parent process is gone."""
    try:
        while True:
            jobs.put(pickle.load(sys.stdin.buffer))
    except EOFError:
        pass
    except Exception:
        traceback.print_exc()
    finally:
        shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)
        os._exit(1)


def _prepare(threads: int) -> None:
    import_keras()
    import tensorflow as tf

    warnings.filterwarnings("ignore", message="Your input ran out of data")
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.experimental.enable_op_determinism()


def _do(name: str, arguments: dict[str, Any], answers: _Answers) -> dict[str, Any]:
    import keras

    from surgery.live.process.jobs import JOBS

    keras.backend.clear_session()
    keras.utils.set_random_seed(arguments.pop("seed", 0) % 2**32)
    return JOBS[name](tell=answers.send, **arguments)


def _reason(error: Exception) -> str:
    """Return the message of an exception, without the frames that TensorFlow adds."""
    text = str(error)
    for mark in ("SurgeryError: ", "FormatError: "):
        if mark in text:
            return text.partition(mark)[2].partition("\n")[0]
    found = re.search(r"\n([^\n]+)\s*\[\[\{\{node", text)
    return found[1].strip() if found else failure(error)


if __name__ == "__main__":
    main()
