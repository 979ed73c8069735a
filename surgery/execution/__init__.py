"""Planning a recipe, and carrying the plan out."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """`surgery.run` is this package, once imported, and the function of the public API too."""

    def __call__(self, *arguments: Any, **params: Any) -> Any:
        from importlib import import_module

        return import_module("surgery.api").run(*arguments, **params)


sys.modules[__name__].__class__ = _Callable
