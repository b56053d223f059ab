import pytest

from cait_finetune.benchmark.transfer.readme import Passage
from cait_finetune.errors import UserError

PAGE = """# Title
<!-- transfer -->
old words
![accuracy](pictures/transfer.png)
<!-- /transfer -->
The end, with \\1 in it.
"""


@pytest.fixture
def passage(tmp_path):
    (tmp_path / "page.md").write_text(PAGE)
    return Passage(tmp_path / "page.md", "transfer")


def test_what_stands_between_the_marks_is_written_anew(passage, tmp_path):
    passage.check()
    for _ in range(2):  # the second time nothing changes
        passage.write("a table with \\1\n", lambda path: path.write_text("drawn"))
        assert passage.file.read_text() == (
            "# Title\n<!-- transfer -->\n\na table with \\1\n\n"
            "![accuracy](pictures/transfer.png)\n<!-- /transfer -->\nThe end, with \\1 in it.\n"
        )
    assert (tmp_path / "pictures" / "transfer.png").read_text() == "drawn"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<!-- /transfer -->", "", r"without its passage, expected the lines <!-- transfer -->"),
        ("old words", "<!-- /transfer -->\n<!-- transfer -->\n", "without its passage"),
        ("![accuracy]", "[accuracy]", "without a picture"),
    ],
)
def test_a_page_without_such_a_passage(passage, old, new, message):
    passage.file.write_text(PAGE.replace(old, new))
    with pytest.raises(UserError, match=message):
        passage.check()


def test_no_such_file(tmp_path):
    with pytest.raises(UserError, match="a Markdown file"):
        Passage(tmp_path / "nothing.md", "transfer").check()
