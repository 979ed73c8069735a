"""What is generated is what the code says."""

import pytest

from tests import regenerate
from tests.conftest import ROOT

GENERATED = regenerate.generated()


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_generated_is_checked_in(path):
    assert path.read_text() == GENERATED[path](), "run: python -m tests.regenerate"
