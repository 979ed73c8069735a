"""Mutations of a small checkpoint's index and of a saved_model.pb, opened one after the other.

`python fuzz.py KIND COUNT FILE` prints how many were opened and how many refused, and the peak
memory in MB; anything but an error of ours ends it.
"""

import random
import resource
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from surgery.errors import SurgeryError
from surgery.formats._tensorflow.sstable import Table, table_of
from surgery.formats.base import open_model

SECONDS = 5


def mutated(data, rng):
    """A few bytes changed, a piece cut out, doubled, or moved."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(data) + 1)
        stop = min(len(data), start + rng.choice([1, 1, 1, 2, 8, 100]))
        piece = data[start:stop]
        kind = rng.randrange(6)
        if kind <= 2:
            data[start:stop] = rng.choice([b"\xff", b"\x00", rng.randbytes(1)]) * len(piece)
        elif kind == 3:
            del data[start:stop]
        elif kind == 4:
            data[start:start] = piece * rng.choice([1, 3])
        else:
            data[start:start] = rng.randbytes(rng.randint(1, 5))
    return bytes(data)


def mutated_table(path, rng):
    """An index whose entries are wrong and whose checksums are true; every fifth is blunt."""
    if rng.randrange(5) == 0:
        return mutated(path.read_bytes(), rng)
    items = dict(Table(path).items())
    key = rng.choice(sorted(items))
    items[key] = mutated(items[key], rng)
    if rng.randrange(4) == 0:
        items[mutated(key, rng)] = items.pop(key)
    return table_of(sorted(items.items()))


def opened(path):
    """Open it, and read a little of every variable."""
    model = open_model(path)
    for weight in (*model.weights, *model.states):
        weight.tensor.read(0, min(weight.tensor.size, 1000))
    for check in model.checks:
        check()


def main():
    kind, count, source = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    signal.signal(signal.SIGALRM, lambda *_: sys.exit("a mutation took too long"))
    counts = {"opened": 0, "refused": 0}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "m"
        shutil.copytree(source, copy)
        file = copy / ("variables/variables.index" if kind == "index" else "saved_model.pb")
        file.chmod(0o644)
        for number in range(count):
            rng = random.Random(number)
            original = source / file.relative_to(copy)
            data = mutated_table(original, rng) if kind == "index" else None
            file.write_bytes(data or mutated(original.read_bytes(), rng))
            signal.alarm(SECONDS)
            try:
                opened(copy)
                counts["opened"] += 1
            except SurgeryError:
                counts["refused"] += 1
            except BaseException:
                print(f"mutation {number}", file=sys.stderr)
                raise
            signal.alarm(0)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1024  # which forgets what forked this process
    print(counts["opened"], counts["refused"], peak)


if __name__ == "__main__":
    main()
