"""Reading files below a root."""

import pytest

from vdsm_virt.host.tree import number_list


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0", [0]), ("0-3,8", [0, 1, 2, 3, 8]), ("", []), ("1,3-4\n", [1, 3, 4])],
)
def test_kernel_lists_are_expanded(text, numbers):
    """Ranges are inclusive, and an empty list is no numbers."""
    assert number_list(text) == numbers


def test_what_is_absent_is_none(tree):
    """A file or folder that is not there is no error."""
    empty = tree({})
    assert empty.text("proc/nothing") is None
    assert empty.integer("proc/nothing") is None
    assert empty.lines("proc/nothing") == []
    assert empty.names("proc") == []


def test_text_that_is_no_number_is_none(tree):
    """A number is asked for, something else stands there."""
    assert tree({"sys/speed": "fast\n"}).integer("sys/speed") is None
