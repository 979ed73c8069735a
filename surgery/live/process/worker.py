"""The process with Keras: takes jobs from its standard input until that ends."""

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
    """Where messages to the other side go; whatever else is printed goes to standard error."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)

    def send(self, kind: str, **facts: Any) -> None:
        """One message."""
        pickle.dump((kind, facts), self._file)
        self._file.flush()


def main() -> None:
    """Do jobs until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other side ends us
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
        except Exception as error:  # Keras, TensorFlow and user code raise what they like
            answers.send("failed", message=f"{name}: {_reason(error)}")


def _listen(jobs: queue.Queue[tuple[str, dict[str, Any]]]) -> None:
    """Take jobs in while others are done, to notice at once when the other side has died."""
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
    """What TensorFlow says of what another exception caused, without its frames."""
    text = str(error)
    for mark in ("SurgeryError: ", "FormatError: "):
        if mark in text:
            return text.partition(mark)[2].partition("\n")[0]
    said = re.search(r"\n([^\n]+)\s*\[\[\{\{node", text)
    return said[1].strip() if said else failure(error)


if __name__ == "__main__":
    main()
