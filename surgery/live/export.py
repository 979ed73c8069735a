"""Keras's own export of a saved model, in a process of its own."""

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
"""Keras's name of each form of export, and what it wants the file to be called."""

_FAILED = "surgery: "


def export(kind: str, source: Path, target: Path) -> None:
    """Export a `.keras` file; raises SurgeryError where Keras cannot."""
    command = [sys.executable, "-m", __name__, kind, str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith(_FAILED)]
        said = lines[-1].removeprefix(_FAILED) if lines else f"exit code {done.returncode}"
        raise SurgeryError(f"Keras cannot export the model as {kind}: {said}")


def main() -> None:
    """Load the model with everything of its own shut out, and export it."""
    kind, source, target = sys.argv[1:]
    import_keras()
    import keras
    from keras.src.export.export_utils import get_input_signature

    form, suffix = KINDS[kind]
    try:
        model = keras.saving.load_model(source, compile=False, safe_mode=not may_run_code())
        # Keras would have a loaded model called before it finds out the signature.
        signature = {"input_signature": get_input_signature(model)} if kind == "onnx" else {}
        model.export(target + suffix, format=form, verbose=False, **signature)
        if suffix:
            os.rename(target + suffix, target)
    except Exception as error:  # Keras and the converters raise whatever they like
        print(f"{_FAILED}{reason(error)}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
