"""Measure the cost of tokenisation: texts tokenised per second, and embedded with and without tokenisation.

python benchmarks/tokenisation.py [--short] [--rounds N] [--texts N] [--output FOLDER]
"""

from contest import Contest, alternate
from figures import Spread, quotients, rates
from settings import Result, Settings, new_result, read_settings, write
from workloads import prose

ACTIONS = {"tokenised": "tokenise", "embedded": "run", "embedded_from_ids": "run_ids"}


def measure(settings: Settings) -> Result:
    """Tokenise, embed texts, and embed token ids, in turns."""
    result = new_result(settings)
    workload = prose(settings.model.tokenizer, settings.count(2000, 300))
    runs: dict[str, dict[str, list[Result]]] = {}
    with Contest(settings.environments) as contest:
        contest.load([contestant for contestant in settings.contestants if contestant.is_ours], settings.model)
        contest.set_workload(workload)
        for number in range(settings.rounds):
            for name, action in ACTIONS.items():
                title = f"{name.replace('_', ' ')}, {number + 1} of {settings.rounds}"
                results = alternate(contest.workers, 1, action, title, workload=workload.name)
                for contestant, (run,) in results.items():
                    runs.setdefault(contestant, {}).setdefault(name, []).append(run)
        result |= contest.describe()
    return {
        **result,
        "workload": workload.name,
        "texts": len(workload.texts),
        "fingerprint": workload.fingerprint,
        "rows": {name: _figures(len(workload.texts), measured) for name, measured in runs.items()},
    }


def _figures(texts: int, runs: dict[str, list[Result]]) -> Result:
    wall = {name: [run["wall"] for run in rounds] for name, rounds in runs.items()}
    cpu = {name: [run["cpu"] for run in rounds] for name, rounds in runs.items()}
    share = [one / other for one, other in zip(cpu["tokenised"], cpu["embedded"], strict=True)]
    return {
        **{f"{name}_per_second": rates(texts, wall[name]).as_dict() for name in ACTIONS},
        "share_of_cpu": Spread.of(share).as_dict(),
        "wall_over_ids": quotients(wall["embedded"], wall["embedded_from_ids"]).as_dict(),
    }


if __name__ == "__main__":
    settings = read_settings("tokenisation", __doc__)
    write(measure(settings), settings)
