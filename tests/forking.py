"""A process with surgery imported, which forks for every command: as a user's, without the wait."""

import json
import os
import sys


def main():
    # TensorFlow and Keras are not among these; a command that needs them imports them itself.
    import surgery.cli.main
    import surgery.cli.sweep
    import surgery.recipe.reading
    import surgery.report.runs
    import surgery.run.execute  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            become(**request)
        _, status = os.waitpid(pid, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


def become(arguments, cwd, environment, out, err):
    """What `python -m surgery` is, with its output in files; ends the process."""
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

    main()


if __name__ == "__main__":
    main()
