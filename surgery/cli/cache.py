"""`surgery cache`."""

from __future__ import annotations

import click

from surgery.cli import _options


@click.group("cache", invoke_without_command=True)
@_options.as_json
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Show cached results and their folder; prune removes them."""
    if context.invoked_subcommand is not None:
        return
    from datetime import datetime

    from surgery.report.tables import plural, size, table
    from surgery.storage.cache import cache_folder, entries

    found = entries()
    if as_json:
        kept = [{"path": str(path), "bytes": size, "used": used} for path, size, used in found]
        _options.echo_json({"folder": str(cache_folder()), "entries": kept})
        return
    if found:
        rows = [
            [
                f"{path.parent.name}/{path.name}",
                size(count),
                f"{datetime.fromtimestamp(used):%Y-%m-%d %H:%M}",
            ]
            for path, count, used in found
        ]
        _options.echo(table(["kept", "size", "last used"], rows, right=[1]))
    total = sum(count for _, count, _ in found)
    _options.echo(f"{cache_folder()}: {plural(len(found), 'result')} kept, {size(total)}")


@command.command("prune")
@click.option("--to", "limit", type=click.IntRange(0), default=0, metavar="BYTES",
              help="Keep this many bytes of the most recent results (default: none).")  # fmt: skip
def prune(limit: int) -> None:
    """Remove cached results, the least recently used first."""
    from surgery.report.tables import size
    from surgery.storage.cache import prune as remove

    _options.echo(f"removed {size(remove(limit))}")
