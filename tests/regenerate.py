"""What is generated from the code: `python -m tests.regenerate` writes it, a test holds it.

What Keras and TensorFlow must be asked for has commands of its own: `python -m tests.formats.pairs`
and `python -m tests.live.signatures`.
"""

import os
import re
import tempfile
from contextlib import chdir
from pathlib import Path

from surgery.api import stubs
from surgery.errors import SurgeryError
from surgery.execution.planning import make_plan
from surgery.recipe.definitions import schema_text
from surgery.recipe.reading import read_recipe
from surgery.report.reference import formats_markdown, ops_markdown, reference_markdown
from tests.conftest import ROOT, dense_model
from tests.recipe.bad import SOURCES

README = ROOT / "README.md"
BAD = ROOT / "tests/recipe/bad.txt"


def generated():
    """Return what makes the text of every generated file, by its path."""
    return {
        ROOT / "schemas/recipe.schema.json": schema_text,
        ROOT / "docs/reference.md": reference_markdown,
        README: lambda: with_tables(README.read_text()),
        BAD: messages,
        stubs.FILE: stubs.stub_text,
    }


def with_tables(page):
    """Return the page with its tables of ops and formats made anew."""
    for table in (ops_markdown(), formats_markdown()):
        head = re.escape(table.partition("\n")[0])
        page, count = re.subn(rf"^{head}\n(\|.*\n)*", lambda _, t=table: f"{t}\n", page, flags=re.M)
        assert count == 1, f"README.md has no table {head}"
    return page


def messages():
    """Return what each bad recipe is told."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        dense_model(Path(), "small.keras")
        return "\n\n".join(f"{name}\n{message(name)}" for name in SOURCES) + "\n"


def message(name):
    """Return the exit code and the message of a bad recipe; `small.keras` is in the folder."""
    recipe = Path("recipe.yaml")
    recipe.write_text(SOURCES[name])
    try:
        make_plan(read_recipe(recipe))
    except SurgeryError as error:
        return f"exit {error.exit_code}\n{error}"
    finally:
        os.remove(recipe)
    return "valid"


def main():
    for path, make in generated().items():
        if path.read_text() != (text := make()):
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
