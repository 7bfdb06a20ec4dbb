"""What ``millpond tune`` has found is told in a line."""

from millpond.loading.profile import ComputeMode, Machine, Measured, Profile, ProfileKey, ProfileSettings, shape_of
from millpond_cli import tuning
from millpond_cli.lab import Attempt
from millpond_cli.tune_report import lines_of


def test_what_was_found_is_told_in_a_line():
    key = ProfileKey(
        model=shape_of("X", {}),
        mode=ComputeMode(device="cpu", dtype="float32", quantization=None, deterministic=False),
        machine=Machine(processor="A", cores=1),
    )

    def line(gain, *attempts, **settings):
        measured = Measured(date="", millpond="", torch="", seconds=1.0, gain=gain, tokens_per_second=1.0)
        profile = Profile(key=key, settings=ProfileSettings(**settings), measured=measured)
        found = tuning.Tuning(
            attempts=attempts, settings=profile.settings, gain=gain, tokens_per_second=1.0, seconds=1.0
        )
        return next(it for it in lines_of(profile, found, None) if it.startswith("Chosen: "))

    tried = Attempt(setting="gelu", value="torch", verdict="slower", ratio=0.9, spread=0.1, rounds=5)
    together = Attempt(setting="all", value="what was chosen", verdict="no_difference", ratio=1.0, spread=0.1, rounds=5)
    assert line(None, tried).endswith("the defaults; nothing else was faster by more than the rounds differ.")
    assert line(None, tried, together).endswith("the defaults; what was faster by itself is not, all together.")
    assert line(1.234, tried, together, num_workers=3).endswith("num_workers=3; 1.23 times as fast as the defaults.")
