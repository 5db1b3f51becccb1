from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import Transcript
from agentkit.approval import Approve
from agentkit.looks.html import page_of
from agentkit.looks.timeline import timeline_of
from agentkit.messages import Message, ToolCall, ToolResult
from agentkit.transcript import CallRecord, Entry

VOID = {"meta", "img"}
KNOWN = (
    "html head meta title style body header main article h1 p span div pre b code details summary img "
    "table thead tbody tr th td"
).split()
IMAGE = "data:image/png;base64,iVBORw0KGgo="


class Page(HTMLParser):
    """Reads a page, and holds it to being well formed: what is opened is closed, in order, and nothing else."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.open = []
        self.tags = []
        self.texts = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag in KNOWN
        assert len(attrs) == len(dict(attrs))
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((tuple(self.open), data))

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    def text(self):
        return "".join(data for place, data in self.texts if "style" not in place)


def checked(source):
    """The page, after a look for anything that would be fetched or run."""
    page = Page(source)
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "a", "object", "form", "base"}
        assert not [name for name in attributes if name.startswith("on") or name in {"style", "srcset", "href"}]
        if "src" in attributes:
            assert tag == "img"
            assert attributes["src"].startswith("data:image/")
    styles = "".join(data for place, data in page.texts if "style" in place)
    assert "url(" not in styles
    assert "@import" not in styles
    return page


def page_with(text, **fields):
    call = ToolCall(text, text, text)
    message = Message({"role": "assistant", "content": text, "reasoning_content": text, "tool_calls": [call.data]})
    parts = ({"type": "image_url", "image_url": {"url": text}}, {"type": "image_url", "image_url": {"url": IMAGE}})
    record = CallRecord(call, 1.0, ToolResult(text, "failed", parts, text))
    entries = [
        Entry(Message({"role": "user", "content": [{"type": "text", "text": text}, *parts]}), at=1.0),
        Entry(message, author="model", agent=text, source=text, finish_reason=text, calls=(record,), **fields),
    ]
    return page_of(timeline_of(Transcript(entries)), title=text)


HOSTILE = [
    "<script>alert(1)</script>",
    "</pre></details></style></title><img src=x onerror=alert(1)>",
    "\" onmouseover=alert(1) x='",
    "' onmouseover='alert(1)",
    'data:image/png;base64,"><script>alert(1)</script>',
    "javascript:alert(1)",
    "<!--",
    "]]>",
    "&lt;b&gt; &#60;",
    "\x00\x08\x0b\x1b[2J\x7f\x85\ud800\ufffe\uffff",
    "\n\nfirst",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text(text):
    page = checked(page_with(text))
    shown = re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)
    # a page's parser drops the one line break that comes first in <pre>
    assert page.text().count(shown) >= 8


@given(st.text())
def test_any_text_makes_a_well_formed_page(text):
    checked(page_with(text))


def test_a_conversation_in_a_call():
    for text in ("inner", *HOSTILE):
        call = ToolCall("c1", "ask", "{}")
        message = Message({"role": "assistant", "content": None, "tool_calls": [call.data]})
        inside = Transcript([Entry(Message({"role": "user", "content": text}), agent=text)])
        record = CallRecord(call, 1.0, ToolResult("x"), transcript=inside, decision=Approve({"a": text}))
        entry = Entry(message, calls=(record,), instructions={text: (text, "")})
        page = checked(page_of(timeline_of(Transcript([entry])), title="t"))
        assert [attributes["class"] for tag, attributes in page.tags if tag == "article"] == ["model", "user"]


def test_what_is_shown():
    page = checked(page_with("hello"))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [image["src"] for image in images] == [IMAGE, IMAGE]
    policy = next(attributes for tag, attributes in page.tags if attributes.get("http-equiv"))
    assert policy["content"].startswith("default-src 'none'; img-src data:;")
    assert [attributes.get("class") for tag, attributes in page.tags if tag == "article"] == ["user", "model"]


def test_short_calls_are_open_and_long_ones_folded():
    for text, is_open in [("short", True), ("long " * 400, False)]:
        page = checked(page_with(text))
        call = next(attributes for tag, attributes in page.tags if attributes.get("class", "").startswith("call"))
        assert ("open" in call) is is_open


def test_the_page_reads_in_the_dark_and_on_paper():
    source = page_with("hello")
    assert "@media (prefers-color-scheme: dark)" in source
    assert "@media print" in source
    assert '<meta name="color-scheme" content="light dark">' in source
