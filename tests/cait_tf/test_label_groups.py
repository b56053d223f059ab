import pytest

from cait_tf.errors import CaiTError
from cait_tf.label_groups import LabelGroup, label_groups

NAMES = ("species=oak", "species=a=b", "colour=red")


def test_names_state_the_groups():
    groups = label_groups(NAMES)
    assert groups == (
        LabelGroup("species", 0, ("oak", "a=b")),
        LabelGroup("colour", 2, ("red",)),
    )
    assert [group.columns for group in groups] == [slice(0, 2), slice(2, 3)]
    assert sum((group.column_names for group in groups), ()) == NAMES


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["oak"], "got oak, expected label=class"),
        (["a=1", "b=1", "a=2"], "columns of a in two places"),
    ],
)
def test_other_names_are_refused(names, message):
    with pytest.raises(CaiTError, match=message):
        label_groups(names)
