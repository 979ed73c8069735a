"""`surgery verify`."""

from __future__ import annotations

from pathlib import Path

import click

from surgery.cli import _options


@click.command("verify")
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path),
                metavar="RUN.json...")  # fmt: skip
@_options.as_json
@click.option("-q", "--quiet", is_flag=True, help="Print only what differs.")
def command(manifests: tuple[Path, ...], as_json: bool, quiet: bool) -> None:
    """Prove that outputs and inputs are what a run saw.

    Inputs that are no longer there are left out.
    """
    from surgery.report.tables import plural, shown
    from surgery.run.manifest import verify
    from surgery.run.plan import default_threads

    found = [finding for path in manifests for finding in verify(path, default_threads())]
    if as_json:
        _options.echo_json(
            [{"path": str(f.path), "weights": f.weights, "problem": f.problem} for f in found]
        )
    else:
        for finding in found:
            if finding.problem:
                _options.echo(f"{shown(finding.path)}: {finding.problem}")
            elif not quiet:
                count = plural(finding.weights, "weight")
                _options.echo(f"{shown(finding.path)}: {count} as written")
    if any(finding.problem for finding in found):
        raise click.exceptions.Exit(1)
