"""A process of a local sweep, which does the runs that its parent sends."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from surgery.errors import Terminated, terminate
from surgery.sweeps.folder import SweepFolder
from surgery.sweeps.shared_steps import SharedSteps
from surgery.sweeps.work import Doing, do_run

OTHER_EDITION = 75
"""The exit code if the sweep began again with another recipe while this process started."""


def main() -> None:
    """Do the runs that stdin lists, one JSON object a line, until the parent is gone.

    Prints true to stdout for each run done, and false if another process does it.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the parent ends this process
    signal.signal(signal.SIGTERM, terminate)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    folder, threads = SweepFolder(Path(sys.argv[1])), int(sys.argv[2])
    file = folder.recipe_file()
    if folder.edition() != sys.argv[3]:
        sys.exit(OTHER_EDITION)
    shared = SharedSteps(file)
    try:
        for line in sys.stdin:
            recipe = file.run(json.loads(line))
            record = do_run(folder, recipe, Doing(threads, shared.memo(recipe, threads)))
            print(json.dumps(record is not None), file=answers)
    except Terminated:
        sys.exit(128 + signal.SIGTERM)
    except BrokenPipeError:  # the parent is gone
        os._exit(0)
    except OSError as error:
        print(f"{error.filename or folder.path}: {error.strerror}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
