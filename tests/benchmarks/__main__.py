"""agentkit beside a loop written by hand, as ratios of CPU: `python -m tests.benchmarks`. See README.md."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.clients import CLIENTS, FLOOR
from tests.benchmarks.server import Scenario

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "speed.md"
BEGIN, END = "<!-- figures -->", "<!-- end of the figures -->"
# Proxies are no part of the work; compiled modules are what users have.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.lower().endswith("_proxy") and name != "PYTHONDONTWRITEBYTECODE"
}
IMPORTED = "import resource as r; u = r.getrusage(r.RUSAGE_SELF); print(u.ru_utime + u.ru_stime)"


class Workload(NamedTuple):
    """One line of the tables: what is done, and which of the figures is looked at, in a unit that is `scale` of it."""

    name: str
    figure: str
    unit: str
    scale: float
    do: str
    count: int = 1
    task: dict[str, Any] = {}  # noqa: RUF012  # never changed
    quick: dict[str, Any] = {}  # noqa: RUF012  # what stands in for fields of task and scenario, or the count
    fresh: bool = False  # each time in a new process

    def order(self, *, quick: bool) -> dict[str, Any]:
        task = dict(self.task)
        changes = dict(self.quick) if quick else {}
        count = changes.pop("count", self.count)
        task |= {name: changes.pop(name) for name in task.keys() & changes.keys()}
        task["scenario"] = Scenario(**{**task.get("scenario", {}), **changes})._asdict()
        return {"do": self.do, "count": count, "task": task}


def _rounds(count: int) -> dict[str, Any]:
    return {"scenario": {"rounds": count}, "result_bytes": 4096}


TIMES = [
    Workload("a run of one round", "cpu_s", "ms", 1e3, "run", 60, quick={"count": 5}),
    Workload("the same, sync", "cpu_s", "ms", 1e3, "run_sync", 60, quick={"count": 5}),
    Workload("a run of 10 rounds, 4 KB each", "cpu_s", "ms", 1e3, "run", 3, _rounds(10), {"count": 1}),
    Workload("a run of 50 rounds, 4 KB each", "cpu_s", "ms", 1e3, "run", 1, _rounds(50), {"rounds": 20}),
    Workload("a run of 200 rounds, 4 KB each", "cpu_s", "ms", 1e3, "run", 1, _rounds(200), {"rounds": 40}),
    Workload("500 runs of 3 rounds at once", "cpu_s", "ms a run", 1e3, "burst", 500, {"scenario": {"rounds": 3}},
             {"count": 20}, fresh=True),
    Workload("their peak memory", "peak_mb", "MB", 1, "burst", 500, {"scenario": {"rounds": 3}},
             {"count": 20}, fresh=True),
    Workload("text of 20,000 chunks", "cpu_s", "µs a chunk", 1e6 / 20_000, "stream", 1,
             {"scenario": {"rounds": 0, "tokens": 20_000}}, {"tokens": 500}),
    Workload("its first token, one each 2 ms", "first_s", "ms", 1e3, "stream", 5,
             {"scenario": {"rounds": 0, "tokens": 50, "token_ms": 2}}, {"count": 1}),
    Workload("arguments of 100 KB, 10 bytes a chunk", "cpu_s", "µs a chunk", 1e6 / 10_000, "stream", 1,
             {"scenario": {"args_bytes": 100_000, "pieces": 10_000}}, {"args_bytes": 1000, "pieces": 100}),
    Workload("16 tools of 50 ms in one reply", "wall_s", "ms", 1e3, "run", 1,
             {"scenario": {"calls": 16}, "sleep_ms": 50}),
    Workload("8 calls, 100 ms to stream, 300 to run", "wall_s", "ms", 1e3, "stream", 1,
             {"scenario": {"calls": 8, "args_ms": 100}, "sleep_ms": 300}, {"args_ms": 10, "sleep_ms": 20}),
    Workload("the same, the first takes 900 ms", "wall_s", "ms", 1e3, "stream", 1,
             {"scenario": {"calls": 8, "args_ms": 100}, "sleep_ms": 300, "first_sleep_ms": 900},
             {"args_ms": 10, "sleep_ms": 20, "first_sleep_ms": 60}),
    Workload("schemas of 100 functions", "cpu_s", "ms", 1e3, "schemas", 100, quick={"count": 5}),
]  # fmt: skip
MEMORY = [
    Workload("a live run, in its tool", "kb", "KB", 1, "live", 500, {"held": True}, {"count": 20}, fresh=True),
    Workload("an idle conversation of 200 rounds, 4 KB each", "kb", "KB", 1, "idle", 3, _rounds(200),
             {"rounds": 10, "count": 1}, fresh=True),
    Workload("5,000 runs at once, in their tools", "mb", "MB", 1, "crowd", 5000, {"held": True}, {"count": 20},
             fresh=True),
]  # fmt: skip


def growth(runs: int) -> Workload:
    return Workload(f"growth over {runs:,} runs", "kb", "KB", 1, "growth", runs, quick={"count": 50}, fresh=True)


@contextmanager
def process(*args: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process to talk with line by line. It ends with the block."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, *args], stdin=pipe, stdout=pipe, text=True, env=ENVIRONMENT, cwd=ROOT
    ) as made:
        try:
            yield made
        finally:
            assert made.stdin is not None
            made.stdin.close()


def ask(made: subprocess.Popen[str], order: dict[str, Any] | None = None) -> Any:
    """What a process says, or says to an order."""
    assert made.stdin is not None and made.stdout is not None
    if order is not None:
        made.stdin.write(json.dumps(order) + "\n")
        made.stdin.flush()
    return json.loads(made.stdout.readline() or '{"failed": true}')


class Bench:
    """Measures in rounds over all clients, so that a noisy neighbour hits all of them."""

    def __init__(self, stack: ExitStack, names: list[str], *, rounds: int, quick: bool) -> None:
        self.names = names
        self.rounds = rounds
        self.quick = quick
        self._stack = stack
        server = stack.enter_context(process("-m", "tests.benchmarks.server"))
        self._url = f"http://127.0.0.1:{ask(server)}/v1"
        self._workers: dict[str, subprocess.Popen[str]] = {}
        self._measured: dict[str, dict[str, list[dict[str, float]]]] = {}

    def _worker(self, name: str) -> Any:
        return process("-m", "tests.benchmarks.worker", name, self._url)

    def _once(self, name: str, order: dict[str, Any], *, fresh: bool) -> dict[str, float] | None:
        """What one client measured, None if it can't do that."""
        if fresh:
            with self._worker(name) as worker:
                ask(worker)
                told = ask(worker, order)
        else:
            if name not in self._workers:
                self._workers[name] = self._stack.enter_context(self._worker(name))
                ask(self._workers[name])
            told = ask(self._workers[name], order)
        if "failed" in told:
            self._workers.pop(name, None)  # it may have died of it
            return None
        return told

    def figures(self, workload: Workload, rounds: int) -> dict[str, float]:
        """The median of each client's figures."""
        order = workload.order(quick=self.quick)
        kept = self._measured.get(json.dumps(order))
        if kept is None:
            kept = self._measured[json.dumps(order)] = {name: [] for name in self.names}
            for turn in range(-(not workload.fresh), rounds):  # the first one of a process only warms it
                for name in list(kept):
                    if (told := self._once(name, order, fresh=workload.fresh)) is None:
                        del kept[name]
                    elif turn >= 0:
                        kept[name].append(told)
        return {
            name: statistics.median(told[workload.figure] * workload.scale for told in listed)
            for name, listed in kept.items()
        }

    def imports(self) -> dict[str, float]:
        """Milliseconds of CPU that a process takes with each client's imports, all modules compiled."""
        kept: dict[str, list[float]] = {name: [] for name in self.names}
        for turn in range(-(not self.quick), 1 if self.quick else 2 * self.rounds):
            for name in self.names:
                code = f"{CLIENTS[name].imports}\n{IMPORTED}"
                told = subprocess.check_output([sys.executable, "-c", code], text=True, env=ENVIRONMENT, cwd=ROOT)
                if turn >= 0:
                    kept[name].append(float(told) * 1e3)
        return {name: statistics.median(figures) for name, figures in kept.items()}


def row(name: str, unit: str, figures: dict[str, float], names: Iterable[str]) -> str:
    """A line of a table in Markdown: each client's figure, and its ratio to the loop by hand."""
    floor = figures.get(FLOOR)
    cells = [name, unit]
    for client in names:
        figure = figures.get(client)
        if figure is None:
            cells.append("none")
        elif client == FLOOR or not floor or floor < 0:
            cells.append(f"{figure:.3g}")
        else:
            cells.append(f"{figure:.3g} ({figure / floor:.2f})")
    return f"| {' | '.join(cells)} |"


def late(figures: dict[int, dict[str, float]]) -> Iterator[tuple[str, dict[str, float]]]:
    """CPU of one round early in a run and late in a long one."""
    few, some, many = sorted(figures)
    yield "a round, early (1 to 10)", {name: time / (few + 1) for name, time in figures[few].items()}
    both = figures[some].keys() & figures[many].keys()
    yield (
        "a round, late (51 to 200)",
        {name: (figures[many][name] - figures[some][name]) / (many - some) for name in both},
    )


def machine() -> str:
    """What the figures were made on."""
    cpu = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", cpu.read_text("utf-8")) if cpu.exists() else None
    versions = ", ".join(f"{name} {version(name)}" for name in ("httpx", "httpcore", "h11", "anyio", "pydantic-core"))
    model = found[1] if found else platform.machine()
    return f"Python {platform.python_version()}, {versions}; {os.cpu_count()} CPUs of {model}, {platform.system()}."


def tables(bench: Bench, match: str, *, whole: bool) -> Iterator[str]:
    """The tables, line by line."""
    names = bench.names
    yield machine()
    # memory is the same each time
    memory = [*MEMORY, growth(100_000 if whole else 10_000)]
    for title, workloads, rounds in (("time", TIMES, bench.rounds), ("memory", memory, 1)):
        yield f"\n| {title} | | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}"
        by_rounds: dict[int, dict[str, float]] = {}
        for workload in workloads:
            if match not in workload.name:
                continue
            figures = bench.figures(workload, rounds)
            yield row(workload.name, workload.unit, figures, names)
            if workload.do == "run" and workload.task.get("result_bytes"):
                by_rounds[workload.order(quick=bench.quick)["task"]["scenario"]["rounds"]] = figures
                if len(by_rounds) == 3:
                    yield from (row(name, "ms", each, names) for name, each in late(by_rounds))
        if title == "time" and match in "import":
            yield row("import", "ms", bench.imports(), names)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each client does each workload")
    parser.add_argument("--quick", action="store_true", help="once, and little of everything: to see that it works")
    parser.add_argument("--whole", action="store_true", help="growth over 100,000 runs, not 10,000: minutes a client")
    parser.add_argument("--only", help="clients beside agentkit and the loop by hand, separated by commas")
    parser.add_argument("--match", default="", help="only workloads whose name holds this")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.relative_to(ROOT)} too")
    args = parser.parse_args()
    names = [FLOOR, "agentkit"]
    if importlib.util.find_spec("pydantic_ai") and (args.only is None or "pydantic-ai" in args.only):
        names.append("pydantic-ai")
    lines: list[str] = []
    with ExitStack() as stack:
        bench = Bench(stack, names, rounds=1 if args.quick else args.rounds, quick=args.quick)
        for line in tables(bench, args.match, whole=args.whole):
            print(line, flush=True)
            lines.append(line)
    if args.write:
        before, mark, rest = PAGE.read_text("utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        written = "\n".join(lines)
        PAGE.write_text(f"{before}{mark}\n{written}\n\n{end}{after}", "utf-8")


if __name__ == "__main__":
    main()
