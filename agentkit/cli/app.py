"""The command `agentkit`: its commands and options."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from agentkit.cli import answer
from agentkit.cli.chat import Chat, check_file
from agentkit.cli.choosing import Chosen, choose
from agentkit.cli.codes import CANCELLED, FAILED, code_of
from agentkit.cli.console import complain, err, out, say
from agentkit.cli.deciding import decisions_of
from agentkit.cli.endpoints import endpoint_of, models_of, prefixes, print_endpoints
from agentkit.cli.files import load_transcript, save_transcript
from agentkit.cli.keeping import Talk, print_conversations, store_of
from agentkit.cli.loading import load_agent, load_deps
from agentkit.cli.localmodel import model_name, path_of_model, pull
from agentkit.cli.serving import serve_agent
from agentkit.cli.show import show_transcript
from agentkit.cli.tools import print_findings, print_tools
from agentkit.errors import AgentKitError, UsageError
from agentkit.logs import debug as log_to_terminal
from agentkit.plain import plain
from agentkit.transcript import Transcript

_DEBUG: Final = "AGENTKIT_DEBUG"


def _examples(*lines: str) -> str:
    # paragraphs: within one, typer joins the lines
    return "\n\n".join(["Examples:" if len(lines) > 1 else "Example:", *(f"[bold]  {line}[/]" for line in lines)])


class Commands(TyperGroup):
    """Commands whose errors are one red line each, and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(CANCELLED) from None
        except BrokenPipeError:
            # whoever read has gone; Python would complain of it once more at its exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(FAILED) from None
        except AgentKitError as error:
            if is_debugging():
                err().print_exception()
            complain(error)
            raise typer.Exit(code_of(error)) from None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take --debug wherever it stands."""
        end = args.index("--") if "--" in args else len(args)
        if "--debug" in args[:end]:
            args.remove("--debug")
            args.insert(0, "--debug")
        return super().parse_args(ctx, args)


app: Final = typer.Typer(
    name="agentkit",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Agents and tool calling over Chat Completions, at the terminal.",
    epilog=_examples("agentkit chat"),
)
local_app: Final = typer.Typer(no_args_is_help=True, help="The model that runs on this machine.")
app.add_typer(local_app, name="local")


class Output(StrEnum):
    """How an answer is written."""

    text = "text"
    json = "json"


AgentName = Annotated[str | None, typer.Argument(metavar="[MODULE:AGENT]", help="The agent, as in mybot:agent.")]
GivenAgent = Annotated[str, typer.Argument(metavar="MODULE:AGENT", help="The agent, as in mybot:agent.")]
AgentOption = Annotated[
    str | None, typer.Option("--agent", "-a", metavar="MODULE:AGENT", help="The agent, as in mybot:agent.")
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", envvar="AGENTKIT_MODEL", help="Which model answers, as in openai:gpt-5-mini."),
]
Instructions = Annotated[str | None, typer.Option("--instructions", "-i", help="What the model is told in front.")]
ToolNames = Annotated[
    list[str] | None,
    typer.Option(
        "--tools", "-t", metavar="MODULE:FUNCTION", help="A function that the model may call; may be given again."
    ),
]
NoTools = Annotated[bool, typer.Option("--no-tools", help="Take away the tools that there would be otherwise.")]
DepsName = Annotated[
    str | None, typer.Option("--deps", metavar="MODULE:NAME", help="What reaches the tools through their Context.")
]
TranscriptFile = Annotated[
    Path | None,
    typer.Option("--transcript", metavar="FILE", help="The conversation: gone on from if it is there, and saved."),
]
ConversationName = Annotated[
    str | None,
    typer.Option("--conversation", "-c", metavar="NAME", help="A conversation in the store: gone on with, or begun."),
]
StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store", envvar="AGENTKIT_STORE", metavar="URL", help="Where conversations are kept, as in sqlite:///bot.db."
    ),
]


def is_debugging() -> bool:
    """Whether errors are shown with their traceback."""
    return bool(os.environ.get(_DEBUG))


def _show_version(value: bool) -> None:  # noqa: FBT001  # as typer calls it
    if value:
        try:
            number = version("agentkit")
        except PackageNotFoundError:
            number = "from a folder, not installed"
        out().print(f"agentkit {number}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks, and each exchange with an endpoint.")
    ] = False,
    version: Annotated[  # noqa: ARG001  # typer calls _show_version with it
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    if debug:
        os.environ[_DEBUG] = "1"
    if is_debugging():
        log_to_terminal()


@app.command(
    epilog=_examples(
        "agentkit chat",
        "agentkit chat mybot:agent --conversation ann/library",
        "agentkit chat --model openai:gpt-5-mini --tools mytools:search",
    )
)
def chat(
    agent: AgentName = None,
    *,
    model: ModelOption = None,
    instructions: Instructions = None,
    tools: ToolNames = None,
    no_tools: NoTools = False,
    deps: DepsName = None,
    transcript: TranscriptFile = None,
    conversation: ConversationName = None,
    store: StoreUrl = None,
) -> None:
    """Talk to an agent; without one, to a small model on this machine that can tell the time and do sums.

    Answers stream, tool calls are shown, and calls that need your word are asked about. Ctrl-C stops an answer.
    """
    check_file(transcript)
    if transcript is not None and conversation is not None:
        raise UsageError("--transcript and --conversation exclude each other: leave one of them out")
    with ExitStack() as ending:
        kept = transcript if conversation is None else Talk(ending.enter_context(store_of(store)), conversation)
        chosen = choose(agent, model=model, instructions=instructions, tools=tools or (), no_tools=no_tools, deps=deps)
        _talk(Chat(chosen, kept, debug=is_debugging()))


def _talk(talk: Chat) -> None:
    talk.greet()
    talk.talk()


@app.command(
    epilog=_examples(
        "agentkit run 'What is 12 * 17?'",
        "git diff | agentkit run 'Write a commit message' -m openai:gpt-5-mini",
        "agentkit run --agent mybot:agent --output json 'Clean up' | jq .output",
        "agentkit run --agent mybot:agent --transcript talk.json --approve all",
    )
)
def run(
    prompt: Annotated[list[str] | None, typer.Argument(help="The question; what is piped in comes after it.")] = None,
    *,
    agent: AgentOption = None,
    model: ModelOption = None,
    instructions: Instructions = None,
    tools: ToolNames = None,
    no_tools: NoTools = False,
    deps: DepsName = None,
    transcript: TranscriptFile = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="How the answer is written.")] = Output.text,
    approve: Annotated[list[str] | None, typer.Option(metavar="ID|all", help="Let a call run that waits.")] = None,
    deny: Annotated[list[str] | None, typer.Option(metavar="ID|all[=WHY]", help="Refuse a call that waits.")] = None,
    answer_: Annotated[
        list[str] | None, typer.Option("--answer", metavar="ID=VALUE", help="Give the result of a call that waits.")
    ] = None,
) -> None:
    """Ask once, print the answer, and end with an exit code that scripts can go by.

    0 answered, 1 model, endpoint or tool failed, 2 wrong use, 3 a limit was
    reached, 4 calls wait for a decision, 130 cancelled.
    """
    check_file(transcript)
    decisions = decisions_of(approve or (), deny or (), answer_ or ())
    chosen = choose(agent, model=model, instructions=instructions, tools=tools or (), no_tools=no_tools, deps=deps)
    past = load_transcript(transcript) if transcript is not None and transcript.exists() else Transcript()
    asked = answer.prompt_of(prompt or [])
    if asked is None and not len(past):
        raise UsageError("there is nothing to ask: give a prompt, pipe one in, or give --transcript to go on from")
    watch = output is Output.text and sys.stdout.isatty()
    try:
        result = answer.run_once(chosen, asked, past, decisions, watch=watch)
    except BaseException as error:
        done = getattr(error, "transcript", None)
        if transcript is not None and isinstance(done, Transcript):
            save_transcript(transcript, done)
        if output is Output.json and isinstance(error, AgentKitError):
            answer.write_json(answer.error_data(error))
        raise
    if transcript is not None:
        save_transcript(transcript, result.transcript)
    code = answer.print_result(result, output.value, was_watched=watch)
    if code:
        raise typer.Exit(code)


@app.command(epilog=_examples("agentkit conversations", "agentkit conversations ann/ --store sqlite:///bot.db"))
def conversations(
    prefix: Annotated[str, typer.Argument(help="Only those whose names begin so.")] = "", *, store: StoreUrl = None
) -> None:
    """List the conversations in a store, newest first: when they last went on, how many messages they have, names."""
    with store_of(store) as opened:
        print_conversations(opened, prefix)


@app.command(epilog=_examples("agentkit serve mybot:agent --port 8080 --key a-key-of-8-letters-up"))
def serve(
    agent: GivenAgent,
    *,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on.")] = 8000,
    key: Annotated[
        str | None, typer.Option(envvar="AGENTKIT_SERVE_KEY", help="The key that clients have to give.")
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(
            envvar="AGENTKIT_SERVE_SECRET",
            help="16 letters or more; with the same one conversations go on after a restart.",
        ),
    ] = None,
    deps: DepsName = None,
) -> None:
    """Offer an agent as a Chat Completions endpoint, with a page to chat.

    Ctrl-C or SIGTERM ends it between two steps of its runs: clients are told so, and can go on.
    """
    given = None if deps is None else load_deps(deps)
    serve_agent(load_agent(agent), name=agent, host=host, port=port, key=key, secret=secret, deps=given)


@app.command(epilog=_examples("agentkit tools mybot:agent", "agentkit tools mybot:agent --strict"))
def tools(
    agent: GivenAgent,
    *,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with exit code 1 if there is anything to mend.")
    ] = False,
) -> None:
    """Show an agent's tools as the model is told of them, about how many tokens that takes, and what to mend."""
    if print_findings(print_tools(Chosen(load_agent(agent)).tools)) and strict:
        raise typer.Exit(FAILED)


@app.command(epilog=_examples("agentkit models", "agentkit models openai"))
def models(
    prefix: Annotated[
        str | None,
        typer.Argument(autocompletion=prefixes, help="An endpoint to ask for its models: a prefix, or a base URL."),
    ] = None,
) -> None:
    """Show the endpoints that are known by name and whether their key is set; with one, its models."""
    if prefix is None:
        print_endpoints()
        return
    if prefix.removesuffix(":") == "local":
        answer.write("local\n")
        return
    endpoint = endpoint_of(prefix)
    with err().status(f"asking {plain(endpoint.source)}"):
        names = models_of(endpoint)
    label = "" if "://" in prefix else f"{endpoint.dialect.name}:"
    for name in names:
        answer.write(f"{label}{name}\n")
    if not names:
        say("it has none")


@app.command(epilog=_examples("agentkit show talk.json", "agentkit show talk.json --html talk.html"))
def show(
    transcript: Annotated[
        Path, typer.Argument(metavar="FILE", help="A dumped transcript, or a list of messages; - for stdin.")
    ],
    *,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page that needs nothing but itself.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Show long texts whole.")] = False,
) -> None:
    """Show a conversation: who said what, each call with its result, times and tokens."""
    show_transcript(transcript, html=html, full=full)


@local_app.command("pull", epilog=_examples("agentkit local pull"))
def local_pull() -> None:
    """Fetch the file of the local model, once."""
    answer.write(f"{pull()}\n")


@local_app.command("path", epilog=_examples('ls -l "$(agentkit local path)"'))
def local_path() -> None:
    """Print where the local model's file lies; exit code 1 if it is not there yet."""
    path, is_there = path_of_model()
    answer.write(f"{path}\n")
    if not is_there:
        say("it is not there yet: agentkit local pull fetches it")
        raise typer.Exit(FAILED)


@local_app.command("run", epilog=_examples("agentkit local run", "agentkit local run qwen3.gguf"))
def local_run(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE.gguf]", help="A model's file.")] = None,
    *,
    instructions: Instructions = None,
    tools: ToolNames = None,
    no_tools: NoTools = False,
    transcript: TranscriptFile = None,
) -> None:
    """Talk to a model on this machine, fetched first if need be."""
    check_file(transcript)
    name = model_name(file)
    chosen = choose(None, model=name, instructions=instructions, tools=tools or (), no_tools=no_tools, deps=None)
    _talk(Chat(chosen, transcript, debug=is_debugging()))


def run_app() -> None:
    """Run the command with the process's arguments. Ends the process."""
    app()
