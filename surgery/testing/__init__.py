"""Contracts that every op and format must keep, for tests here and in other packages.

For example:

    from surgery.testing import check_format, check_op, check_structure

    def test_halve():
        check_op(Halve(select=Select("a/kernel")), lambda values: values / 2)

    def test_raw(tmp_path):
        check_format(Raw(), tmp_path)

    def test_without_dropouts(tmp_path):
        check_structure(WithoutDropouts(), tmp_path)
"""

from surgery.testing.formats import check_format
from surgery.testing.ops import check_op
from surgery.testing.structure import check_structure

__all__ = ["check_format", "check_op", "check_structure"]
