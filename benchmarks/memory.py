"""Measure the memory of the whole process for loading and embedding, compared with its peers.

python benchmarks/memory.py [--short] [--contestants NAMES] [--rounds N] [--texts N] [--output FOLDER]

Each measurement is a new process; the figure is its peak resident memory (VmHWM).
"""

from contest import Contest, ContestantError
from contestants import Contestant
from environments import console
from figures import Spread
from settings import Result, Settings, new_result, read_settings, write
from workloads import Workload, prose


def measure(settings: Settings) -> Result:
    """Start each contestant in turn, load the model, embed the texts, and end the process."""
    result = new_result(settings)
    workload = prose(settings.model.tokenizer, settings.count(2000, 200))
    runs: dict[str, list[dict[str, float]]] = {}
    with Contest(settings.environments) as contest:
        for number in range(settings.rounds):
            console.print(f"{settings.model.name}, {workload.name}: round {number + 1} of {settings.rounds}")
            for contestant in settings.contestants:
                if contestant.name in result["left_out"]:
                    continue
                try:
                    about, run = _run_process(contest, contestant, settings, workload)
                except ContestantError as error:
                    if not contestant.is_ours or not contestant.options:
                        raise
                    result["left_out"][contestant.name] = str(error)
                    console.print(f"Left out: {error}")
                    continue
                result["contestants"][contestant.name] = about
                runs.setdefault(contestant.name, []).append(run)
    return {
        **result,
        "workload": workload.name,
        "texts": len(workload.texts),
        "fingerprint": workload.fingerprint,
        "rows": {
            name: {
                "loaded_mib": Spread.of([run["loaded"] for run in rounds]).as_dict(),
                "peak_mib": Spread.of([run["peak"] for run in rounds]).as_dict(),
            }
            for name, rounds in runs.items()
        },
    }


def _run_process(
    contest: Contest, contestant: Contestant, settings: Settings, workload: Workload
) -> tuple[Result, dict[str, float]]:
    arguments = contest.load_arguments(contestant, settings.model)
    worker = contest.start(contestant)
    try:
        about = worker.ask("load", **arguments)
        worker.ask("texts", workload=workload.name, texts=list(workload.texts))
        worker.ask("run", workload=workload.name)
        return about, {"loaded": about["memory"]["now"], "peak": worker.ask("memory")["peak"]}
    finally:
        worker.close()


if __name__ == "__main__":
    settings = read_settings("memory", __doc__, rounds=3, short_rounds=1)
    write(measure(settings), settings)
