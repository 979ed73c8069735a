"""Batches that Python code of the user's makes."""

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
    """A Python function whose batches make one epoch; runs with --allow-code only."""

    kind = "generator"

    generator: CodeName = key(
        "A function that returns an iterator over the batches, (x, y), of one epoch; where it "
        "takes `epoch`, it is given the epoch's number from 0.",
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
                raise SurgeryError(f"{self.generator.text} returns no iterator") from None

        return Batches(make)

    @property
    def runs_code(self) -> bool:
        return True

    def __str__(self) -> str:
        return self.generator.text
