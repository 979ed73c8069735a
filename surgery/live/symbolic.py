"""Keras models built from a config without memory for their weights."""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from surgery.errors import SurgeryError
from surgery.live.permission import ALLOW_CODE, may_run_code
from surgery.live.quiet import import_keras

_WAITING = "uninitialized_variables"
"""Keras's global attribute for variables that are not initialised yet."""

_OF_THE_PROCESS = ("object_name_uids", "dtype_policy")
"""Keras's global counters of automatic names, and its default dtype policy."""

_NEEDS_MEMORY = "in a stateless scope"
"""Part of Keras's error for a layer that calls others while it is built (a Lambda)."""


@contextlib.contextmanager
def without_memory() -> Iterator[None]:
    """Make Keras's variables without values inside the `with` block, and forget them after it.

    Otherwise Keras would initialise them when it next leaves a scope of its own. Inside, names are
    counted from the start, so that nothing depends on earlier use of Keras in this process.
    """
    import keras
    from keras.src.backend.common import global_state

    waiting = list(global_state.get_global_attribute(_WAITING) or ())
    others = {name: global_state.get_global_attribute(name) for name in _OF_THE_PROCESS}
    try:
        for name in others:
            global_state.set_global_attribute(name, None)
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        for name, value in others.items():
            global_state.set_global_attribute(name, value)
        global_state.set_global_attribute(_WAITING, waiting)


@contextlib.contextmanager
def symbolic_model(config: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the uncompiled Keras model of a config, without allocation if its layers allow.

    Raises SurgeryError, with Keras's message in one line, if Keras refuses.
    """
    import_keras()
    with contextlib.ExitStack() as scope:
        scope.enter_context(without_memory())
        try:
            model = _built(config)
        except SurgeryError as error:
            if _NEEDS_MEMORY not in str(error):
                raise
            scope.close()
            model = _built(config)
        yield model


def _built(config: Mapping[str, Any]) -> Any:
    import keras

    try:
        # Deserialising empties the config that it is given.
        return keras.saving.deserialize_keras_object(
            copy.deepcopy({**config, "compile_config": None}), safe_mode=not may_run_code()
        )
    except Exception as error:  # a layer's own code may raise any exception
        raise SurgeryError(f"Keras cannot build the model: {reason(error)}") from None


def reason(error: BaseException) -> str:
    """Return Keras's error message in one line, with the name of the layer that it is about."""
    text = " ".join(str(error).split())
    if "safe_mode" in text or "unsafe" in text.lower():
        return (
            "it contains code (a Lambda layer), which runs only with --allow-code or "
            f"{ALLOW_CODE}=1"
        )
    blamed = re.findall(r"'config': \{'name': '([^']+)'", text)
    before, found, message = text.rpartition("Exception encountered: ")
    if found:
        kind = re.findall(r"<class '(?:\w+\.)*(\w+)'>", before)
        text = f"{blamed[-1] if blamed else kind[-1] if kind else 'the model'}: {message}"
    return text if len(text) <= 300 else text[:300] + "..."
