"""What the examples that do a piece of work promise: what they refuse, what they check, how they go on."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import anyio
import pytest

from agentkit import Agent, Limits
from agentkit.errors import LimitReached
from agentkit.testing import FakeEndpoint, ScriptedModel, assert_called, call, override, say, status
from tests.loading import EXAMPLES, loaded
from tests.tiers import SOON_S


@pytest.fixture
def example(monkeypatch):
    """An example as a module, with its scripted model."""
    monkeypatch.delenv("AGENTKIT_MODEL", raising=False)
    return lambda name: loaded(name, monkeypatch)


def told(record):
    """What became of a call."""
    return record.result.status, record.result.content


# The analyst


@pytest.fixture
def analyst(example):
    return example("data_analyst")


@pytest.fixture
def shop(analyst, tmp_path):
    """The sample database, in a folder of its own."""
    (tmp_path / "shop").mkdir()
    file = tmp_path / "shop" / "shop.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(analyst.SAMPLE.read_text("utf-8"))
    return file


def looked_up(analyst, shop, sql):
    model = ScriptedModel([call("query", sql=sql), "So it is."])
    with override(model=model):
        result = analyst.analyst.run_sync("?", deps=shop)
    return told(result.tool_calls[0])


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM orders",
        "UPDATE products SET euros = 0",
        "INSERT INTO products VALUES (4, 'spoon', 1)",
        "REPLACE INTO products VALUES (1, 'spoon', 1)",
        "WITH old AS (SELECT 1) DELETE FROM orders",
        "DROP TABLE orders",
        "CREATE TABLE mine (a)",
        "CREATE TEMP TABLE mine (a)",
        "ALTER TABLE orders ADD COLUMN mine",
        "ATTACH 'other.db' AS other",
        "VACUUM INTO 'copy.db'",
        "PRAGMA user_version = 7",
        "PRAGMA database_list",
        "BEGIN",
        "SELECT load_extension('evil')",
        "SELECT 1; DELETE FROM orders",
        "SELECT zeroblob(2000000)",
    ],
)
def test_the_analyst_can_only_read(analyst, shop, monkeypatch, sql):
    monkeypatch.chdir(shop.parent)
    before = shop.read_bytes()
    state, said = looked_up(analyst, shop, sql)
    assert state == "failed"
    assert said.endswith("The database can only be read, by one SELECT at a time.")
    assert [path.name for path in shop.parent.iterdir()] == ["shop.db"]
    assert shop.read_bytes() == before


@pytest.mark.parametrize("extra", [0, 1])
def test_the_analyst_is_shown_so_many_rows(analyst, shop, extra):
    count = analyst.MAX_ROWS + extra
    state, said = looked_up(
        analyst, shop, f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {count}) SELECT i FROM n"
    )
    lines = said.splitlines()
    assert state == "ok"
    assert lines[: analyst.MAX_ROWS + 1] == ["i", *map(str, range(1, analyst.MAX_ROWS + 1))]
    assert (
        lines[analyst.MAX_ROWS + 1 :] == ["There are more than these 50 rows: sum them up, or ask for fewer."] * extra
    )


def test_the_analyst_knows_the_tables(analyst, shop):
    model = ScriptedModel(["None."])
    with override(model=model):
        analyst.analyst.run_sync("?", deps=shop)
    assert "count INTEGER NOT NULL" in model.requests[0].messages[0]["content"]


def test_a_query_without_end_is_stopped(analyst, shop, monkeypatch):
    closed = threading.Event()

    class Watched(sqlite3.Connection):
        def close(self):
            super().close()
            closed.set()

    endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    connect = analyst.sqlite3.connect
    monkeypatch.setattr(analyst.sqlite3, "connect", lambda *args, **how: connect(*args, factory=Watched, **how))
    agent = analyst.analyst.with_(instructions="")
    with override(model=ScriptedModel([call("query", sql=endless)])), pytest.raises(LimitReached):
        agent.run_sync("?", deps=shop, limits=Limits(seconds=0.3))
    assert closed.wait(SOON_S)


# The reviewer


@pytest.fixture
def folder(tmp_path):
    """A folder to review, and beside it what nobody is to see."""
    root = tmp_path / "code"
    (root / "sub").mkdir(parents=True)
    (root / ".git").mkdir()
    (tmp_path / "secrets").mkdir()
    for path in (tmp_path / "secrets" / "key.txt", root / ".env", root / ".git" / "config"):
        path.write_text("SECRET")
    (root / "main.py").write_text("one\ntwo\n")
    (root / "sub" / "part.py").write_text("three\n")
    (root / "link.txt").symlink_to(tmp_path / "secrets" / "key.txt")
    (root / "linked").symlink_to(tmp_path / "secrets")
    return root


@pytest.mark.parametrize(
    "name",
    [
        "../secrets/key.txt",
        "sub/../../secrets/key.txt",
        "/etc/passwd",
        "link.txt",
        "linked/key.txt",
        ".env",
        ".git/config",
        "sub/../.env",
        "missing.py",
        "sub",
        "",
    ],
)
def test_the_reviewer_reads_nothing_else(example, folder, name):
    reviewer = example("code_reviewer").reviewer
    with override(model=ScriptedModel([call("read_file", name=name), '{"findings": []}'])):
        result = reviewer.run_sync("?", deps=folder)
    refusal = f"There is no file {name!r} in this folder; list_files tells which there are."
    assert told(result.tool_calls[0]) == ("failed", refusal)


def test_the_reviewer_is_told_of_nothing_else(example, folder):
    reviewer = example("code_reviewer").reviewer
    script = [call("list_files"), call("read_file", name="sub/../main.py"), '{"findings": []}']
    with override(model=ScriptedModel(script)):
        result = reviewer.run_sync("?", deps=folder)
    assert list(map(told, result.tool_calls)) == [("ok", '["main.py","sub/part.py"]'), ("ok", "1: one\n2: two")]


@pytest.mark.parametrize(
    ("file", "line", "objection"),
    [
        ("main.py", 3, "main.py has 2 lines, not 3: read it again."),
        (
            "../secrets/key.txt",
            1,
            "There is no file '../secrets/key.txt' in this folder; list_files tells which there are.",
        ),
        ("main.py", 0, "The answer is wrong:\n- `findings[0].line` should be greater than or equal to 1, not 0"),
    ],
)
def test_a_finding_stands_somewhere(example, folder, file, line, objection):
    reviewer = example("code_reviewer").reviewer
    found = {"findings": [{"file": file, "line": line, "kind": "bug", "what": "It is wrong."}]}
    model = ScriptedModel([json.dumps(found), '{"findings": []}'])
    with override(model=model):
        assert reviewer.run_sync("?", deps=folder).output.findings == []
    assert model.requests[1].messages[-1]["content"].startswith(objection)


@pytest.mark.parametrize(("kind", "code"), [("bug", 1), ("risk", 0)])
def test_the_reviewers_exit_code(folder, kind, code):
    found = {"findings": [{"file": "main.py", "line": 2, "kind": kind, "what": "It is wrong."}]}
    with FakeEndpoint([json.dumps(found)]) as fake:
        ran = subprocess.run(
            [sys.executable, EXAMPLES / "code_reviewer.py", folder],
            env=os.environ
            | {"AGENTKIT_MODEL": "openai:any", "OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": fake.api_key},
            input="+two",
            capture_output=True,
            text=True,
            check=False,
        )
    assert (ran.returncode, ran.stdout) == (code, f"main.py:2: {kind}: It is wrong.\n"), ran.stderr
    assert fake.requests[0].messages[-1]["content"].endswith("The files are as they are after it.\n\n+two")


# The documents


@pytest.fixture
def documents(example, tmp_path):
    library = example("ask_documents")
    (tmp_path / "tea.md").write_text("Preface.\n\n# Tea\n\nGreen tea:\nthree  minutes.\n\n# Tea\n\nBlack tea: five.\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "cups.md").write_text("## Cups\nThey are blue.\n")
    with library.indexed(tmp_path) as indexed:
        yield library, indexed


def test_the_sections_of_documents(documents):
    assert documents[1].sections == {
        "sub/cups.md:1": "## Cups They are blue.",
        "tea.md:1": "Preface.",
        "tea.md:3": "# Tea Green tea: three minutes.",
        "tea.md:8": "# Tea Black tea: five.",
    }


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("blue cup", ["sub/cups.md:1"]),
        ("black", ["tea.md:8"]),
        ('minute" OR NEAR( *', ["tea.md:3"]),
        ("md", []),
        ("?!", []),
    ],
)
def test_documents_are_found_by_any_words(documents, words, found):
    library, index = documents
    with override(model=ScriptedModel([call("search", words=words), answer_of("tea.md:8", "Black tea: five.")])):
        [record] = library.librarian.run_sync("?", deps=index).tool_calls
    state, said = told(record)
    if found:
        assert list(json.loads(said)) == found
    else:
        assert (state, said) == ("failed", "No section has any of these words; try others.")


def answer_of(source, words):
    return json.dumps({"text": "So it is.", "quotes": [{"source": source, "words": words}]})


@pytest.mark.parametrize(
    ("source", "words", "objection"),
    [
        ("tea.md:3", "green tea:\nthree minutes.", None),
        ("tea.md:4", "Green tea: three minutes.", "There is no source 'tea.md:4': search, and name sources as "),
        ("tea.md:8", "Green tea: three minutes.", "'Green tea: three minutes.' does not stand in 'tea.md:8': quote "),
        ("tea.md:3", " ", "' ' does not stand in 'tea.md:3': quote word for word."),
    ],
)
def test_quotes_are_checked(documents, source, words, objection):
    library, index = documents
    model = ScriptedModel([answer_of(source, words), answer_of("tea.md:8", "Black tea: five.")])
    with override(model=model):
        quoted = library.librarian.run_sync("?", deps=index).output.quotes[0].source
    if objection is None:
        assert (quoted, len(model.requests)) == (source, 1)
    else:
        assert model.requests[1].messages[-1]["content"].startswith(objection)


# The letters


def test_what_was_read_is_not_read_again(example, tmp_path, capsys):
    extraction = example("extract_folder")
    results = tmp_path / "results"
    results.mkdir()
    (results / "ann.json").write_text("{}")
    (results / "bo.new").write_text('{"customer": "Bo L')  # a run was killed here
    model = ScriptedModel(lambda _: '{"customer": "Somebody", "order": 1, "wants": "refund"}')
    with override(model=model):
        assert extraction.main(extraction.SAMPLE, results) == 0
        assert extraction.main(extraction.SAMPLE, results) == 0
    assert len(model.requests) == 4
    assert (results / "ann.json").read_text() == "{}"
    assert json.loads((results / "bo.json").read_text())["customer"] == "Somebody"
    assert capsys.readouterr().out == "1 of 5 had been read, now 5 are\n5 of 5 had been read, now 5 are\n"


def test_a_letter_that_is_no_text_is_among_what_failed(example, tmp_path, capsys):
    extraction = example("extract_folder")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    assert extraction.main(tmp_path, tmp_path / "results") == 1
    assert "- a.txt: UnicodeDecodeError: " in capsys.readouterr().out


def test_so_many_letters_are_read_at_once(example, tmp_path, monkeypatch):
    extraction = example("extract_folder")
    inside, most = 0, 0
    full = anyio.Event()

    async def wait_for_the_others() -> str:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if inside == extraction.AT_ONCE:
            for _ in range(20):  # so that one too many would have been read by now, which is done in threads
                await anyio.to_thread.run_sync(bool)
            full.set()
        await full.wait()
        inside -= 1
        return ""

    for name in "abcdef":
        (tmp_path / f"{name}.txt").write_text("Hello!")
    model = ScriptedModel(lambda _: '{"customer": "Ann", "order": 1, "wants": "refund"}')
    monkeypatch.setattr(extraction, "reader", extraction.reader.with_(model=model, instructions=wait_for_the_others))
    assert extraction.main(tmp_path, tmp_path / "results") == 0
    assert most == extraction.AT_ONCE


# The worker


@pytest.fixture
def worker(example, tmp_path):
    """The worker, its database, and a store of its conversations."""
    module = example("background_worker")
    with module.database(tmp_path) as db, module.store_in(tmp_path) as store:
        module.add(tmp_path, "reminders/Ann", "Remind Ann of the bill.")
        yield module, db, store


def jobs_in(db):
    return db.execute("SELECT name, state, tries, answer FROM jobs").fetchall()


def test_a_job_that_another_worker_has_is_left_to_it(worker, tmp_path):
    module, db, store = worker
    agent = Agent(ScriptedModel([]), store=store)
    with store.open("reminders/Ann"):
        module.attempt(agent, db, tmp_path, "reminders/Ann")
    assert jobs_in(db) == [("reminders/Ann", "open", 0, None)]


def test_a_job_that_is_done_is_not_done_again(worker, tmp_path):
    module, db, store = worker
    model = ScriptedModel(module.respond)
    agent = Agent(model, tools=[module.send_letter], store=store)
    for _ in range(2):
        module.attempt(agent, db, tmp_path, "reminders/Ann")
    assert jobs_in(db) == [("reminders/Ann", "done", 0, "Ann has been reminded.")]
    assert db.execute("SELECT name, asked FROM letters").fetchall() == [("Ann", 1)]
    assert len(model.requests) == 2
    assert_called(store.load_sync("reminders/Ann"), "send_letter", name="Ann")


def test_a_job_that_fails_is_tried_again_later_and_given_up_at_last(worker, tmp_path):
    module, db, store = worker
    agent = Agent(ScriptedModel(lambda _: status(500)), store=store)
    seen = []
    for _ in range(module.TRIES):
        module.attempt(agent, db, tmp_path, "reminders/Ann")
        seen.append(db.execute("SELECT state, tries, due - ? > 5 FROM jobs", (module.time.time(),)).fetchone())
    assert seen == [("open", 1, 0), ("open", 2, 1), ("failed", 3, 1)]
    assert jobs_in(db)[0][3] == "HTTP 500: Internal Server Error"


def test_a_job_that_failed_goes_on_where_it_was(worker, tmp_path):
    module, db, store = worker
    script = [call("send_letter", name="Ann", text="Pay!"), status(500), say("Ann has been reminded.")]
    agent = Agent(ScriptedModel(script), tools=[module.send_letter], store=store)
    for _ in range(2):
        module.attempt(agent, db, tmp_path, "reminders/Ann")
    assert jobs_in(db) == [("reminders/Ann", "done", 1, "Ann has been reminded.")]
    assert db.execute("SELECT name, asked FROM letters").fetchall() == [("Ann", 1)]


@pytest.fixture
def sigterm():
    """Puts the handler back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_worker_that_is_to_end_leaves_its_job_to_the_next(worker, tmp_path, sigterm):
    module, db, store = worker

    def respond(request):
        signal.raise_signal(signal.SIGTERM)  # it comes while the model answers
        return module.respond(request)

    with override(model=ScriptedModel(respond)):
        module.work(tmp_path)
    assert jobs_in(db) == [("reminders/Ann", "open", 0, None)]
    assert [entry.calls[0].result for entry in store.load_sync("reminders/Ann") if entry.calls] == [None]
    module.ending.clear()
    module.work(tmp_path)
    assert jobs_in(db) == [("reminders/Ann", "done", 0, "Ann has been reminded.")]
