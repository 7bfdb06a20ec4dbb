"""TextStepConformance reports each fault: text steps with one fault each."""

import pytest
from tests.core.testing.conformance.fault_tests import FaultTests

pytestmark = pytest.mark.slow

PLUGINS = """

class Lower(TextStep):
    def on_prompt(self, prompt, call):
        if prompt.text is not None:
            prompt.text = prompt.text.lower() + " tea"


class MyStep(Mine, TextStepConformance):
    name, record, target = "mine", TextStepSpec, Lower
    fields = {"after": "named_prompt"}


class TestTextStepRight(MyStep):
    pass


class TestTextStepKeepsState(MyStep):
    class target(TextStep):
        numbers = count()

        def on_prompt(self, prompt, call):
            prompt.text = f"{prompt.text} {next(self.numbers)}"


class TestTextStepMixesCalls(MyStep):
    class target(TextStep):
        latest = None

        def on_tokens(self, job):
            job.sequences, self.latest = self.latest or job.sequences, job.sequences


class TestTextStepMixesThreads(MyStep):
    class target(TextStep):
        def on_prompt(self, prompt, call):
            self.text = prompt.text
            time.sleep(0.01)
            prompt.text = self.text


class TestTextStepEmptiesSequences(MyStep):
    class target(TextStep):
        def on_tokens(self, job):
            job.sequences[0].input_ids = job.sequences[0].input_ids[:0]


class TestTextStepReadsTextsOnly(MyStep):
    class target(TextStep):
        def on_prompt(self, prompt, call):
            prompt.text = prompt.text.lower()


class TestTextStepFollowsNothing(MyStep):
    fields = {"after": "nothing"}


class TestTextStepIsAnotherClass(MyStep):
    class target:
        def __init__(self, ctx):
            pass
"""

RIGHT = ("TextStep",)
FAULTS = {
    "TestTextStepKeepsState": {"test_results_do_not_depend_on_other_prompts"},
    "TestTextStepMixesCalls": {"test_results_do_not_depend_on_other_prompts"},
    "TestTextStepMixesThreads": {"test_sequences_do_not_depend_on_other_threads"},
    "TestTextStepEmptiesSequences": {"test_results_do_not_depend_on_other_prompts"},
    "TestTextStepReadsTextsOnly": {"test_token_ids_are_accepted_or_refused"},
    "TestTextStepFollowsNothing": {"test_record_is_right"},
    "TestTextStepIsAnotherClass": {"test_target_imports"},
}


class TestTextStepFaults(FaultTests):
    plugins, right, faults = PLUGINS, RIGHT, FAULTS
