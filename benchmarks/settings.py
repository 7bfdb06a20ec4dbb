"""What every script can be told on the command line, and where its figures go."""

import argparse
import datetime as dt
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contestants import ALL, BY_NAME, SERVERS, Contestant, brief_names, chosen, default_names
from environments import console, default_folder
from machine import describe_machine, processor_flags
from models import Model, minilm
from tables import markdown

RESULTS = Path(__file__).parent / "results"
Result = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a script was told.

    Attributes:
        question: The name of the script.
        short: Whether figures are wanted soon rather than exact.
        contestants: Who is compared.
        rounds: How often each works.
        texts: How many texts there are to embed at most; None for what the workload says.
        model: What is embedded with, where the question is about one model.
        environments: Where environments and exported models are kept.
        output: The folder that the figures are written to.
        workloads: What is measured, of the question's workloads; empty for all.
        seconds: How long each works in a round, where the question is how much is done in a time.
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
        """Whether a workload is measured."""
        return not self.workloads or workload in self.workloads

    def count(self, full: int, brief: int) -> int:
        """How many texts: of a full or of a short run, unless there is a number of its own."""
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
        about: Its docstring.
        rounds: How often each contestant works in a full run.
        short_rounds: How often in a short one.
        seconds: Of a question to servers: how long each works in a round of a full and of a short run.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer rounds, texts and contestants")
    parser.add_argument("--contestants", help="their names, with commas between; 'all' for all")
    parser.add_argument("--rounds", type=int, help=f"how often each works (default: {rounds}, short {short_rounds})")
    parser.add_argument("--texts", type=int, help="the most texts of a workload")
    parser.add_argument("--workloads", help="their names, with commas between (default: all of the question)")
    parser.add_argument("--model", type=Path, help="a checkpoint's folder (default: all-MiniLM-L6-v2)")
    parser.add_argument(
        "--environments",
        type=Path,
        default=default_folder(),
        help="where the peers' environments and models are kept (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="where figures go (default: %(default)s)")
    full, brief = seconds or (0.0, 0.0)
    if seconds:
        parser.add_argument("--seconds", type=float, help=f"how long a round takes (default: {full}, short {brief})")
    given = parser.parse_args()
    usual = default_names(processor_flags()) if seconds is None else SERVERS
    names = brief_names(processor_flags()) if given.short and seconds is None else usual
    if given.contestants:
        names = (
            usual
            if given.contestants == "all"
            else _taking_part(given.contestants.split(","), serving=seconds is not None)
        )
    return Settings(
        question=question,
        short=given.short,
        contestants=chosen(names),
        rounds=given.rounds or (short_rounds if given.short else rounds),
        texts=given.texts,
        model=Model(given.model.name, given.model.name, given.model.resolve()) if given.model else minilm(),
        environments=given.environments,
        output=given.output,
        workloads=tuple(given.workloads.split(",")) if given.workloads else (),
        seconds=getattr(given, "seconds", None) or (brief if given.short else full),
    )


def _taking_part(names: list[str], *, serving: bool) -> tuple[str, ...]:
    """Of some contestants those that can take part, where others are for other questions.

    Raises:
        SystemExit: If there is none.
    """
    possible = SERVERS if serving else tuple(contestant.name for contestant in ALL)
    taking = tuple(name for name in names if name in possible or name not in BY_NAME)  # who is unknown is told of later
    if not taking:
        raise SystemExit(f"{', '.join(names)}: none can take part here; there are: {', '.join(possible)}")
    return taking


def new_result(settings: Settings) -> Result:
    """What every result says beside its figures."""
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
    """Print the figures as tables, and write them as JSON and as Markdown."""
    result["machine"]["load_after"] = round(os.getloadavg()[0], 2)
    settings.output.mkdir(parents=True, exist_ok=True)
    path = settings.output / f"{settings.question}.json"
    text = markdown(result)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    print(text)
    console.print(f"Written: {path}, {path.with_suffix('.md').name}")
