"""The tutorial can be followed: each file and each command of its pages, from an empty folder on, as a reader would."""

from __future__ import annotations

import re
import sys

import pytest

from tests.tiers import WHOLE

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals there", allow_module_level=True)

from tests.following import Reader, pages, steps

PAGE = """
Save this as `greeting.txt`:

```text
Hello!
```

Add this to `greeting.txt`, at its end:

```text
And goodbye.
```

```sh
mkdir deeper
mv greeting.txt deeper
cd deeper
export WHO=Ann
```

```sh
read -r name
read -r more || more=nothing
sed "s/Hello/&, $name/" greeting.txt
echo "$more from $WHO on port 8000 after 0.5 s"
```

<!-- output -->

```text
> Bo
Hello, Bo!


And goodbye.
run it? y/n/e/a
nothing from Ann on port 8000 after 12.0 s
```

<!-- install -->

```sh
exit 1
```

<!-- another terminal -->

```sh
sh -c 'echo running on 8000 >&2; exec sleep 60'
```
"""
WRONG = {
    "another output": ("```sh\necho one\n```\n<!-- output -->\n```text\ntwo\n```", AssertionError, "-two"),
    "more output": ("```sh\necho one; echo two\n```\n<!-- output -->\n```text\none\n```", AssertionError, "+two"),
    "a command that fails": ("```sh\nfalse\n```", AssertionError, "page.md:2: exit code 1"),
    "a command of several": ("```sh\nfalse\ntrue\n```", AssertionError, "page.md:2: exit code 1"),
    "a file that raises": (
        "Save this as `a.py`:\n```python\n1 / 0\n```\n```sh\npython a.py\n```",
        AssertionError,
        "ZeroDivisionError",
    ),
    "replies that nobody asked for": ('<!-- model: "Hello." -->\n```sh\ntrue\n```', AssertionError, "replies are left"),
    "a server that ends": ("<!-- another terminal -->\n```sh\nfalse\n```", AssertionError, "page.md:3: it ended"),
    "a comment with a slip": ("<!-- instal -->\n```sh\ntrue\n```", ValueError, "nothing is known of 'instal'"),
    "a file without a name": ("Save it:\n```python\nx = 1\n```", ValueError, "page.md:3: a block that is neither"),
    "an output of nothing": ("<!-- output -->\n```text\ntwo\n```", ValueError, "page.md:3: a block that is neither"),
}


def test_every_block_of_the_tutorial_is_followed():
    for page in pages():
        for step in steps(page.name, page.read_text("utf-8")):
            if step.file.endswith(".py"):
                compile(step.block.code, step.where, "exec")


def test_each_chapter_leads_to_the_next_and_says_who_answers():
    index, *chapters = pages()
    listed = re.findall(r"^\| \[\d+\. [^]]+\]\(([^)]+)\)", index.read_text("utf-8"), re.MULTILINE)
    assert listed == [page.name for page in chapters]
    for page, following in zip(pages(), [*chapters, None], strict=True):
        text = page.read_text("utf-8")
        assert (following is None) or re.search(rf"^Next: \[[^]]+\]\({following.name}\)$", text, re.MULTILINE), page
        assert page == index or "\n\n*Who answers: " in text, page


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tutorial_can_be_followed(tmp_path):
    with Reader(tmp_path) as reader:
        for page in pages():
            reader.follow(page.name, page.read_text("utf-8"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not WHOLE, reason="installs everything, and asks a model that computes: scripts/deep does")
def test_the_tutorial_can_be_followed_in_an_environment_of_its_own_with_the_local_model(tmp_path, one_at_a_time):
    with Reader(tmp_path, whole=True) as reader:
        for page in pages():
            reader.follow(page.name, page.read_text("utf-8"))


def test_a_reader_does_what_a_page_says(tmp_path):
    with Reader(tmp_path) as reader:
        reader.follow("page.md", PAGE)
    assert (tmp_path / "deeper/greeting.txt").read_text("utf-8") == "Hello!\n\n\nAnd goodbye.\n"


@pytest.mark.parametrize(("text", "error", "words"), WRONG.values(), ids=WRONG)
def test_a_reader_notices(tmp_path, text, error, words):
    with Reader(tmp_path) as reader, pytest.raises(error, match=re.escape(words)):
        reader.follow("page.md", text)
