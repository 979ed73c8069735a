"""Batches from the user's Python code."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgery.declared.data import Batches, Data, data
from surgery.declared.fields import key
from surgery.errors import SurgeryError
from surgery.live.code import CodeName, called


@data
@dataclass(frozen=True, kw_only=True)
class Generator(Data):
    """A Python function that yields the batches of an epoch; needs --allow-code."""

    kind = "generator"

    generator: CodeName = key(
        "A function that returns an iterator over the batches, (x, y), of one epoch; if it "
        "has a parameter `epoch`, it gets the epoch's number from 0.",
        "my_package.data:batches",
    )
    arguments: Mapping[str, Any] | None = key(
        "The function's arguments.", {"batch_size": 32}, default=None
    )

    def inputs(self) -> tuple[Path, ...]:
        return ()

    def open(self) -> Batches:
        function = self.generator.load()
        takes_epoch = "epoch" in inspect.signature(function).parameters

        def make(epoch: int) -> Iterator[Any]:
            arguments = dict(self.arguments or {})
            if takes_epoch:
                arguments["epoch"] = epoch
            made = called(self.generator.text, function, **arguments)
            try:
                return iter(made)
            except TypeError:
                raise SurgeryError(f"{self.generator.text} does not return an iterator") from None

        return Batches(make)

    @property
    def runs_code(self) -> bool:
        return True

    def __str__(self) -> str:
        return self.generator.text
