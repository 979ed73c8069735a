"""`surgery inspect`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from surgery.cli import _options

if TYPE_CHECKING:
    from surgery.weights.model import Model
    from surgery.weights.selectors import Select
    from surgery.weights.weight import Weight


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--select",
    metavar="S",
    help='Only these weights ("*/kernel", "{state: optimizer}"), or layers without any.',
)
@click.option("--stats", is_flag=True, help="Show min, max, mean, std, zeros, non-finite.")
@click.option("--values", is_flag=True, help="Print the values.")
@click.option("--slice", "part", metavar="0:3,0:5", help="Only this part of the values.")
@click.option("--hash", "hashes", is_flag=True, help="Show each weight's SHA-256.")
@_options.as_json
def command(
    model: Path,
    select: str | None,
    stats: bool,
    values: bool,
    part: str | None,
    hashes: bool,
    as_json: bool,
) -> None:
    """Show a model's layers and weights."""
    from surgery.errors import UsageError
    from surgery.formats.base import open_model
    from surgery.report.layers import calls_text
    from surgery.report.models import model_facts, model_text

    if part is not None and not values:
        raise UsageError("--slice requires --values")
    if values and (as_json or stats or hashes):
        raise UsageError("--values cannot be combined with --json, --stats or --hash")
    opened = open_model(model)
    selector = None if select is None else _options.selector(select)
    if selector and not (values or stats or hashes) and (calls := _calls(opened, selector)):
        facts = {"path": opened.origin, "format": opened.format, "calls": calls}
        if as_json:
            _options.echo_json(facts)
        else:
            _options.echo(calls_text(calls))
        return
    weights = opened.weights if selector is None else selector.weights(opened)
    if as_json:
        facts = model_facts(opened, opened.origin, weights, stats, hashes)
        _check(opened, stats or hashes)
        _options.echo_json(facts)
    elif values:
        texts = list(_values(weights, part))
        _check(opened, True)
        _options.echo("\n".join(texts))
    else:
        text = model_text(opened, weights, stats, hashes)
        _check(opened, stats or hashes)
        _options.echo(text)


def _calls(model: Model, selector: Select) -> list[dict[str, Any]]:
    """Return the calls of layers that are selected, if no weights are."""
    from surgery.report.layers import selected_calls

    if selector.weights(model, allow_empty=True):
        return []
    return selected_calls(model, selector.value)


def _values(weights: Iterable[Weight], part: str | None) -> Iterator[str]:
    """Yield the values of each weight, or of a part, as text; raises UsageError."""
    from surgery.errors import UsageError
    from surgery.report.models import values_text

    index = _slices(part) if part else ()
    for weight in weights:
        shape = weight.tensor.shape
        if len(index) > len(shape):
            raise UsageError(
                f"--slice {part} has {len(index)} dimensions, and {weight.address} has {len(shape)}"
            )
        try:
            yield values_text(weight, index)
        except (IndexError, ValueError):
            message = f"--slice {part} is out of range for {weight.address}, which is {list(shape)}"
            raise UsageError(message) from None


def _check(model: Model, was_read: bool) -> None:
    """Raise FormatError if what was read does not match the file's own checksums."""
    if was_read:
        model.check_read()


def _slices(text: str) -> tuple[slice | int, ...]:
    """Parse `0:3,-1,::2` as NumPy's index; raises UsageError."""
    from surgery.errors import UsageError

    try:
        return tuple(_slice(item) for item in text.split(","))
    except ValueError:
        raise UsageError(f"--slice {text}: write it as 0:3,0:5") from None


def _slice(item: str) -> slice | int:
    if ":" not in item:
        return int(item)
    parts = [int(n) if n.strip() else None for n in item.split(":")]
    if len(parts) > 3:
        raise ValueError
    return slice(*parts)
