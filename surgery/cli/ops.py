"""`surgery ops`."""

from __future__ import annotations

import click

from surgery.cli import _options


@click.command("ops")
@click.argument("name", required=False)
@_options.as_json
def command(name: str | None, as_json: bool) -> None:
    """List the words of recipes, or show the keys of one.

    Ops, expectations, sources, targets and kinds of data, including those of other packages.
    """
    from surgery.declared.registry import PluginError
    from surgery.errors import UsageError, did_you_mean
    from surgery.recipe.plugins import installed
    from surgery.report.reference import named, op_text, ops_text, sections

    words, problems = (frozenset(), []) if name and named(name) else installed()
    if name is not None and not named(name, words):
        known = [each for section in sections(words).values() for each in section.facts]
        more = "".join(f"; {problem}" for problem in problems)
        raise UsageError(
            f"there is no {name!r}{did_you_mean(name, known)}; surgery ops lists all{more}"
        )
    if as_json:
        # Only ops are listed by name alone, as parts of other kinds may have equal names.
        facts = {
            each if kind == "op" else f"{kind} {each}": schema
            for kind, section in sections(words).items()
            for each, schema in section.facts.items()
            if name in (None, each)
        }
        _options.echo_json(facts)
    else:
        _options.echo(op_text(name, words) if name else ops_text(words))
    if problems and name is None:
        raise PluginError("\n".join(map(str, problems)))
