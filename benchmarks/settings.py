"""The command line of the benchmark scripts, and the output of their results."""

import argparse
import datetime as dt
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contestants import BY_NAME, OFFLINE, SERVERS, Contestant, brief_names, default_names, find_contestants
from environments import console, default_folder
from machine import describe_machine, processor_flags
from models import Model, minilm
from tables import markdown

RESULTS = Path(__file__).parent / "results"
Result = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a run.

    Attributes:
        question: The name of the script.
        short: True for a quick run with less exact figures.
        contestants: The contestants to compare.
        rounds: The number of rounds.
        texts: The maximum number of texts; None for the number of the workload.
        model: The model to embed with, for scripts that measure one model.
        environments: The folder of environments and exported models.
        output: The folder of the results.
        workloads: The workloads to measure; empty for all.
        seconds: The duration of a round, for servers.
    """

    question: str
    short: bool
    contestants: list[Contestant]
    rounds: int
    texts: int | None
    model: Model
    environments: Path
    output: Path
    workloads: tuple[str, ...] = ()
    seconds: float = 0.0

    def wants(self, workload: str) -> bool:
        """True if a workload is to be measured."""
        return not self.workloads or workload in self.workloads

    def count(self, full: int, brief: int) -> int:
        """Return the number of texts: ``texts`` if set, otherwise that of a full or of a short run."""
        return min(self.texts or (brief if self.short else full), full)


def read_settings(
    question: str,
    about: str | None,
    *,
    rounds: int = 5,
    short_rounds: int = 3,
    seconds: tuple[float, float] | None = None,
) -> Settings:
    """Read the command line.

    Args:
        question: The name of the script.
        about: Its docstring, shown by --help.
        rounds: The number of rounds of a full run.
        short_rounds: The number of rounds of a short run.
        seconds: The duration of a round in a full and in a short run, for servers; None for other scripts.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer rounds, texts and contestants")
    parser.add_argument("--contestants", help="comma-separated names, or 'all'")
    parser.add_argument("--rounds", type=int, help=f"number of rounds (default: {rounds}, short {short_rounds})")
    parser.add_argument("--texts", type=int, help="maximum number of texts of a workload")
    parser.add_argument("--workloads", help="comma-separated names (default: all workloads of the script)")
    parser.add_argument("--model", type=Path, help="folder of a checkpoint (default: all-MiniLM-L6-v2)")
    parser.add_argument(
        "--environments",
        type=Path,
        default=default_folder(),
        help="folder of the peers' environments and models (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results (default: %(default)s)")
    full, brief = seconds or (0.0, 0.0)
    if seconds:
        parser.add_argument("--seconds", type=float, help=f"duration of a round (default: {full}, short {brief})")
    options = parser.parse_args()
    default = default_names(processor_flags()) if seconds is None else SERVERS
    names = brief_names(processor_flags()) if options.short and seconds is None else default
    if options.contestants:
        names = (
            default
            if options.contestants == "all"
            else _applicable(options.contestants.split(","), serving=seconds is not None)
        )
    return Settings(
        question=question,
        short=options.short,
        contestants=find_contestants(names),
        rounds=options.rounds or (short_rounds if options.short else rounds),
        texts=options.texts,
        model=Model(options.model.name, options.model.name, options.model.resolve()) if options.model else minilm(),
        environments=options.environments,
        output=options.output,
        workloads=tuple(options.workloads.split(",")) if options.workloads else (),
        seconds=getattr(options, "seconds", None) or (brief if options.short else full),
    )


def _applicable(names: list[str], *, serving: bool) -> tuple[str, ...]:
    """Return the contestants that a script can measure: servers, or those that embed offline.

    Raises:
        SystemExit: If no contestant is left.
    """
    available = SERVERS if serving else tuple(contestant.name for contestant in OFFLINE)
    # Unknown names are kept: find_contestants reports them.
    applicable = tuple(name for name in names if name in available or name not in BY_NAME)
    if not applicable:
        raise SystemExit(f"This script cannot measure {', '.join(names)}. Available: {', '.join(available)}.")
    return applicable


def new_result(settings: Settings) -> Result:
    """Return a result with the conditions of the run and without figures."""
    return {
        "question": settings.question,
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "short": settings.short,
        "rounds": settings.rounds,
        "model": settings.model.name,
        "machine": describe_machine(),
        "contestants": {},
        "left_out": {},
    }


def write(result: Result, settings: Settings) -> None:
    """Print a result as tables, and write it as JSON and as Markdown."""
    result["machine"]["load_after"] = round(os.getloadavg()[0], 2)
    settings.output.mkdir(parents=True, exist_ok=True)
    path = settings.output / f"{settings.question}.json"
    text = markdown(result)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    print(text)
    console.print(f"Written: {path}, {path.with_suffix('.md').name}")
