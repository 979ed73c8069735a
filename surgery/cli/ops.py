"""`surgery ops`."""

from __future__ import annotations

import click

from surgery.cli import _options


@click.command("ops")
@click.argument("op", required=False)
@_options.as_json
def command(op: str | None, as_json: bool) -> None:
    """List the operations, or show the keys of one."""
    from surgery.errors import UsageError, did_you_mean
    from surgery.ops._base import ops
    from surgery.report.reference import op_facts, op_text, ops_text

    known = ops()
    if op is not None and op not in known:
        hint = did_you_mean(op, known)
        raise UsageError(f"there is no op {op!r}{hint}; there are {', '.join(known)}")
    if as_json:
        facts = {name: op_facts(name) for name in ([op] if op else known)}
        _options.echo_json(facts)
    else:
        _options.echo(op_text(op) if op else ops_text())
