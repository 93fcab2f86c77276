"""Make the page of benchmarks: run every one of them, and write what they printed into ``docs/benchmarks.md``, with plots.

    pip install -e '.[benchmarks]'
    python benchmarks/page.py [--only NAME ...] [--kept DIRECTORY] [--full]

It takes about an hour, and wants a quiet machine. ``--kept`` is a directory for what the benchmarks print: what lies there is
taken as it is, what is missing is measured and left there. ``--only`` measures some of them anew, and takes the others from there.
``--full`` has thirty rounds of the reloads, which takes an hour more.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lastgood

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
PICTURES = "_static/benchmarks"
PEERS = (
    "watchfiles",
    "uvicorn",
    "granian",
    "jurigged",
    "uvicorn-hmr",
    "hypercorn",
    "fastapi",
    "hmr",
    "ipython",
    "anyio",
    "execnet",
    "rpyc",
    "trio-parallel",
    "grpcio",
)
OURS, FLOOR, OTHERS = "#2a78d6", "#8a8a8a", "#c9a15a"
"""Colours that can be told apart on a light and on a dark page, and by those who do not see red and green."""


INTRODUCTION = """\
`python benchmarks/page.py` has made this page. Read the times as ratios: each benchmark measures its floor, and the other
libraries, in the same run. [benchmarks/README.md](../benchmarks/README.md) says what each does to be fair.
"""


@dataclass(frozen=True)
class Benchmark:
    """A script, with the heading and the words that stand above what it prints."""

    name: str
    title: str
    about: str
    arguments: tuple[str, ...] = ()
    tells: bool = False


BENCHMARKS = (
    Benchmark(
        "reload",
        "From a save to the first new answer",
        "Every reloader has its own copy of the same program, and is asked over and over until the new version answers. *Bare* is\n"
        "a new process that imports the program and answers; *x bare* is the ratio to it. *Swapped* is the moment at which calls\n"
        "go to lastgood's new worker, without the debounce of 20 ms. *Stall* is the time for which a reload held up the app's\n"
        "event loop. The last table counts after how many of 24 edits the answer is that of a new process.",
        tells=True,
    ),
    Benchmark(
        "serve",
        "A web application that is edited while it serves",
        "A FastAPI application is saved 100 times at random moments, 20 times broken and mended by the next edit, while eight\n"
        "clients ask over and over on connections that they keep, and send nothing a second time. *Failed*: requests without a\n"
        "good answer. *Broken*: answers from code that cannot be imported. *Older*: answers that are older than one that came\n"
        "before the request was sent. *Median* and *worst*: from the save to the first new answer; *mended*: the same for an edit\n"
        "after a broken one. *Stream*: a client keeps a stream of events open meanwhile. *Stuck*: three edits in a row without an\n"
        "answer within ten seconds; *gone*: the server's process has ended.",
        tells=True,
    ),
    Benchmark(
        "calls",
        "A call into the worker",
        "The floor is the least that two processes need: thirty bytes through a raw pipe, and as many back.",
        tells=True,
    ),
    Benchmark(
        "streams",
        "An item of a stream",
        "Beside one call that returns a list of the same items, and other libraries' streams.",
    ),
    Benchmark(
        "queueing",
        "A long call beside short ones",
        "How long calls of 1 ms take while one of 2 s runs in the same worker, by the number of its `threads`.",
    ),
    Benchmark("generate", "Wrappers of many modules", "The floor is one module, parsed, compiled and outlined."),
    Benchmark(
        "promotion",
        "1,000 files, written so that no crash spoils them",
        "*Plain* writes the same files with neither journal nor flush.",
    ),
    Benchmark(
        "watching",
        "A project of 20,000 directories",
        "The floor is a bare walk of the tree, and a bare start of the system's watcher.",
    ),
)


def measured(benchmark: Benchmark, kept: Path, *, full: bool) -> None:
    """Run a benchmark, and leave what it prints, and its single times if it tells them, in ``kept``."""
    text, figures = kept / f"{benchmark.name}.txt", kept / f"{benchmark.name}.json"
    arguments = [*benchmark.arguments, *(["--json", str(figures)] if benchmark.tells else [])]
    arguments += ["--full"] if full and benchmark.name == "reload" else []
    print(f"{benchmark.name} …", flush=True)
    done = subprocess.run(
        [sys.executable, HERE / f"{benchmark.name}.py", *arguments],
        cwd=HERE,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    text.write_text(done.stdout)
    (kept / f"{benchmark.name}.machine").write_text(machine())


def machine() -> str:
    """Say on which machine, when and with what was measured."""
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if cpuinfo.exists()
        else []
    )
    versions = {}
    for name in PEERS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    load = os.getloadavg()[0]
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({names[0] if names else platform.processor()}), "
        f"{platform.system()} {platform.release().partition('-')[0]}, load {load:.1f}; Python {platform.python_version()}, "
        f"lastgood {lastgood.__version__}, {', '.join(f'{name} {version}' for name, version in versions.items())}."
    )


# The plots.


def figure(height: float) -> tuple[Any, Any]:
    """Return an empty plot, with a transparent ground and grey text, for a light and for a dark page."""
    import matplotlib as mpl

    mpl.use("svg")
    grey = "#808080"
    colours = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), grey)
    mpl.rcParams.update(
        {**colours, "svg.hashsalt": "lastgood", "svg.fonttype": "none", "font.size": 10, "axes.grid": True}
    )
    mpl.rcParams.update({"grid.color": grey, "grid.alpha": 0.25, "axes.spines.top": False, "axes.spines.right": False})
    mpl.rcParams.update({"legend.frameon": False, "axes.axisbelow": True, "font.family": "sans-serif"})
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(7.2, height), layout="constrained")


def saved(plot: Any, name: str, alternative: str) -> str:
    """Save a plot, and return the Markdown that shows it."""
    where = DOCS / PICTURES / f"{name}.svg"
    where.parent.mkdir(parents=True, exist_ok=True)
    plot.savefig(where, transparent=True, metadata={"Date": None})
    where.write_text("\n".join(line.rstrip() for line in where.read_text().splitlines()) + "\n")
    return f"![{alternative}]({PICTURES}/{name}.svg)\n"


def with_plain_numbers(axes: Any, places: Sequence[float]) -> None:
    """Label logarithmic axes by numbers as they are said, and add a legend."""
    from matplotlib.ticker import LogLocator

    axes.set_xticks(places, [f"{place:,g}" for place in places])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.legend()


def ratios(name: str, rows: Sequence[tuple[str, float, str]], label: str, alternative: str) -> str:
    """Plot ratios as bars, the smallest on top."""
    rows = sorted(rows, key=lambda row: row[1], reverse=True)
    plot, axes = figure(0.7 + 0.32 * len(rows))
    bars = axes.barh([row[0] for row in rows], [row[1] for row in rows], color=[row[2] for row in rows], height=0.7)
    axes.bar_label(bars, [f" {row[1]:.2g}" if row[1] < 10 else f" {row[1]:.0f}" for row in rows])
    axes.axvline(1, color=FLOOR, linewidth=1, linestyle="--")
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(label)
    return saved(plot, name, alternative)


def median(row: Mapping[str, Any], what: str) -> float:
    """Return the median of a row's times, in milliseconds."""
    return statistics.median(row[what])


def reload_plots(told: Mapping[str, Any]) -> list[str]:
    """Plot latencies beside peers, over modules, and over imports."""
    rows = [row for row in told["rows"] if row["answered"]]
    plots = []
    for part, title in (("one", "one module"), ("heavy", "pandas before the edit")):
        of_part = [row for row in rows if row["part"] == part]
        program = of_part[0]["program"] if of_part else ""
        bars = [
            (row["who"], median(row, "answered") / median(row, "bare"), OURS if row["who"] == "lastgood" else OTHERS)
            for row in of_part
            if row["program"] == program and row["who"] != "bare"
        ]
        if bars:
            label = f"from the save to the first new answer, × a bare process ({title})"
            plots.append(ratios(f"reload-{part}", bars, label, f"Latency of each reloader, {title}"))
    modules = {
        int(row["program"].split()[0].replace(",", "")): row
        for row in rows
        if row["part"] == "modules" and row["who"] == "lastgood" and not row["program"].endswith("first")
    }
    if modules:
        plot, axes = figure(3.2)
        counts = sorted(modules)
        lines = (("a bare process", "bare", FLOOR, "--"), ("lastgood, swapped", "swapped", OURS, "-"))
        for name, what, colour, style in lines:
            axes.plot(
                counts, [median(modules[count], what) for count in counts], style, marker="o", color=colour, label=name
            )
        axes.set(xscale="log", yscale="log", xlabel="modules, of which the last is edited", ylabel="ms from the save")
        with_plain_numbers(axes, counts)
        plots.append(saved(plot, "reload-modules", "Latency over the number of modules"))
    places = [row for row in rows if row["part"] == "places" and row["who"] == "lastgood"]
    if places:
        plot, axes = figure(3.2)
        for place, style in (("bottom", "-"), ("middle", "--"), ("top", ":")):
            at = sorted((float(row["program"].split()[0]), row) for row in places if row["program"].endswith(place))
            seconds = [each[0] for each in at]
            axes.plot(
                seconds,
                [median(row, "swapped") for _, row in at],
                style,
                marker="o",
                color=OURS,
                label=f"lastgood, edited at the {place}",
            )
        alone = sorted({float(row["program"].split()[0]): median(row, "bare") for row in places}.items())
        axes.plot(
            [each[0] for each in alone],
            [each[1] for each in alone],
            "-",
            marker="o",
            color=FLOOR,
            label="a bare process",
        )
        axes.set(xscale="log", yscale="log", xlabel="seconds that the local imports take", ylabel="ms from the save")
        with_plain_numbers(axes, [each[0] for each in alone])
        plots.append(saved(plot, "reload-imports", "Latency over the time that imports take"))
    return plots


def serve_plots(told: Mapping[str, Any]) -> list[str]:
    """Plot the latencies of the servers, beside lastgood's, with the requests that failed."""
    plots = []
    for part, title in (("plain", "no stream open"), ("stream", "a stream open")):
        rows = {row["who"]: row for row in told["rows"] if row["part"] == part and row["answered"]}
        if "lastgood serve" not in rows:
            continue
        own = median(rows["lastgood serve"], "answered")
        bars = [
            (
                f"{who}, {sum(row['failed'].values()):,} failed",
                median(row, "answered") / own,
                OURS if who == "lastgood serve" else OTHERS,
            )
            for who, row in rows.items()
        ]
        label = f"from a save to the first new answer, × lastgood serve ({title})"
        plots.append(ratios(f"serve-{part}", bars, label, f"Latency of each server, and its failed requests, {title}"))
    return plots


def calls_plots(told: Mapping[str, Any]) -> list[str]:
    """Plot the small calls of lastgood and its peers."""
    rows = [
        (row["name"], float(row["ratio"].split()[0]))
        for row in told["rows"]
        if row["value"].endswith("µs") and "×" in row["ratio"]
    ]
    bars = [(name, ratio, OURS if name == "a small call" else OTHERS) for name, ratio in rows if "floor" not in name]
    bars = [("lastgood" if colour == OURS else name, ratio, colour) for name, ratio, colour in bars]
    return (
        [ratios("calls", bars, "a small call, × a raw pipe", "A small call, of lastgood and of other libraries")]
        if bars
        else []
    )


PLOTS = {"reload": reload_plots, "serve": serve_plots, "calls": calls_plots}


def page(kept: Path) -> str:
    """Return the page, and write its plots."""
    parts = [
        "# Benchmarks\n",
        INTRODUCTION,
    ]
    for benchmark in BENCHMARKS:
        text = kept / f"{benchmark.name}.txt"
        if not text.exists():
            continue
        parts += [f"## {benchmark.title}\n", f"{benchmark.about}\n"]
        if benchmark.tells:
            parts += PLOTS[benchmark.name](json.loads((kept / f"{benchmark.name}.json").read_text()))
        lines = [line.rstrip() for line in text.read_text().strip("\n").splitlines()]
        parts += [
            "`"
            + " ".join(["python", f"benchmarks/{benchmark.name}.py", *benchmark.arguments])
            + "`, "
            + (kept / f"{benchmark.name}.machine").read_text()
            + "\n",
            "```text\n" + "\n".join(lines) + "\n```\n",
        ]
    return "\n".join(parts)


def main() -> None:
    """Measure, and write the page."""
    names = [each.name for each in BENCHMARKS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--kept", type=Path, metavar="DIRECTORY", help="where to keep what is measured")
    parser.add_argument("--full", action="store_true", help="thirty rounds of the reloads")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        kept = options.kept or Path(directory)
        kept.mkdir(parents=True, exist_ok=True)
        for benchmark in BENCHMARKS:
            named = options.only is not names and benchmark.name in options.only
            if named or (benchmark.name in options.only and not (kept / f"{benchmark.name}.txt").exists()):
                measured(benchmark, kept, full=options.full)
        (DOCS / "benchmarks.md").write_text(page(kept))


if __name__ == "__main__":
    main()
