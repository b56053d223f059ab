"""A page shows every text that is put into it, and runs none of it as code."""

from html.parser import HTMLParser

import pytest
from PIL import Image

from cait_finetune.runs import html

NASTY = "<script>alert(1)</script> & \"double\" 'single' <b>"


class Reader(HTMLParser):
    """Collect the tags, attributes and text of a page. Unbalanced tags raise an error."""

    VOID = {"meta", "img", "br"}

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.attributes, self._open = [], [], [], []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "p.png")
    return tmp_path / "p.png"


def test_every_piece_escapes_its_text(picture):
    pieces = [
        html.heading(NASTY),
        html.paragraph(NASTY, "note"),
        html.picture(picture, NASTY),
        html.table((NASTY, "n"), [(NASTY, 1)]),
        html.facts([(NASTY, NASTY)]),
        html.tiles([(NASTY, NASTY)]),
        html.listed(NASTY, [NASTY]),
        html.code(NASTY),
        html.folded(NASTY, html.code(NASTY)),
    ]
    for piece in pieces:
        read = Reader(piece)
        assert "script" not in read.tags
        assert NASTY in "".join(read.text)
    whole = Reader(html.document(NASTY, NASTY, [(NASTY, "".join(pieces))], ""))
    assert "script" not in whole.tags
    assert "b" in whole.tags  # from `tiles` and `listed`; <b> in a text is escaped
    assert whole.tags.count("b") == 2


def test_a_page_needs_nothing_else(picture):
    page = html.document("t", "s", [("one", html.picture(picture, "d"))], "")
    sources = [value for name, value in Reader(page).attributes if name in ("src", "href")]
    assert sorted(source[:22] for source in sources) == ["#0", "data:image/png;base64,"]
    assert "url(" not in page
    assert "@import" not in page


def test_words_stand_left_and_figures_right():
    read = Reader(html.table(("a", "b", "c"), [("x", "y", 1)], texts=2))
    assert read.tags.count("td") == 3
    assert read.attributes.count(("class", "n")) == 2  # one th, one td
