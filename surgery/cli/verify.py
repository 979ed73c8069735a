"""`surgery verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from surgery.cli import _options

if TYPE_CHECKING:
    from surgery.execution.proof import Finding


@click.command("verify")
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path),
                metavar="RUN.json...")  # fmt: skip
@_options.as_json
@click.option("-q", "--quiet", is_flag=True, help="Print only what differs.")
def command(manifests: tuple[Path, ...], as_json: bool, quiet: bool) -> None:
    """Verify that outputs and inputs are as a run saw them.

    Inputs that no longer exist are left out.
    """
    from surgery.execution.plan import default_threads
    from surgery.execution.proof import verify
    from surgery.report.tables import shown

    found = [finding for path in manifests for finding in verify(path, default_threads())]
    if as_json:
        _options.echo_json(
            [
                {"path": str(f.path), "weights": f.weights, "files": f.files, "problem": f.problem}
                for f in found
            ]
        )
    else:
        for finding in found:
            if finding.problem:
                _options.echo(f"{shown(finding.path)}: {finding.problem}")
            elif not quiet:
                _options.echo(f"{shown(finding.path)}: {_proved(finding)}")
    if any(finding.problem for finding in found):
        raise click.exceptions.Exit(1)


def _proved(finding: Finding) -> str:
    from surgery.report.tables import plural

    if finding.weights:
        return f"{plural(finding.weights, 'weight')} as written"
    if finding.files:
        return f"{plural(finding.files, 'file')} as written"
    return "not verified: the manifest has no digests of it"
