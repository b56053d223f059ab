from cait_tf import imagenet


def test_a_thousand_classes_in_the_order_of_their_synsets():
    """The published heads are in the order of the sorted folder names."""
    synsets = imagenet.synsets()
    assert len(set(synsets)) == len(imagenet.class_names()) == 1000
    assert list(synsets) == sorted(synsets)
    assert all(len(name) == 9 and name[0] == "n" for name in synsets)


def test_known_classes_have_their_index():
    names = imagenet.class_names()
    assert names[0] == "tench, Tinca tinca"
    assert names[207] == "golden retriever"
    assert imagenet.synsets()[207] == "n02099601"
    assert names[999].startswith("toilet tissue")
