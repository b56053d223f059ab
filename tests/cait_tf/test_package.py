import pytest

import cait_tf


@pytest.mark.parametrize("name", cait_tf.__all__)
def test_every_public_name_resolves(name):
    assert getattr(cait_tf, name) is not None
    assert name in dir(cait_tf)


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'CaitClassifier'"):
        _ = cait_tf.CaitClassifier
