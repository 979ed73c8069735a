"""Keras's own export of a `.keras` file, run in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from surgery.errors import SurgeryError
from surgery.live.permission import may_run_code
from surgery.live.quiet import import_keras
from surgery.live.symbolic import reason

KINDS = {"savedmodel": ("tf_saved_model", ""), "tflite": ("litert", ".tflite"),
         "onnx": ("onnx", ".onnx")}  # fmt: skip
"""Keras's name of each export format, and the suffix that it requires."""

_FAILED = "surgery: "


def export(kind: str, source: Path, target: Path) -> None:
    """Export a `.keras` file; raises SurgeryError if Keras cannot."""
    command = [sys.executable, "-m", __name__, kind, str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith(_FAILED)]
        cause = lines[-1].removeprefix(_FAILED) if lines else f"exit code {done.returncode}"
        raise SurgeryError(f"Keras cannot export the model as {kind}: {cause}")


def main() -> None:
    """Load the model and export it; an error is printed for the parent process."""
    kind, source, target = sys.argv[1:]
    import_keras()
    import keras
    from keras.src.export.export_utils import get_input_signature

    form, suffix = KINDS[kind]
    try:
        model = keras.saving.load_model(source, compile=False, safe_mode=not may_run_code())
        # Without the signature, Keras requires that a loaded model be called first.
        signature = {"input_signature": get_input_signature(model)} if kind == "onnx" else {}
        model.export(target + suffix, format=form, verbose=False, **signature)
        if suffix:
            os.rename(target + suffix, target)
    except Exception as error:  # Keras and the converters raise any exception
        print(f"{_FAILED}{reason(error)}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
