"""IOProcessorConformance reports each fault: IO processors with one fault each."""

import re

import pytest
from tests.core.testing.conformance.fault_tests import FaultTests

pytestmark = pytest.mark.slow

PLUGINS = """

class MyProcessor(Mine, IOProcessorConformance):
    name, record, fields = "mine", IOProcessorSpec, {"tasks": ("plugin",)}
    items = ([5, 6, 7], [8], [9] * 30)
    chunked = (([], 0), ([5, 6], 1), ([7] * 30, 8))
    refused = ("text", [0])


class TestProcessorRight(MyProcessor):
    target = Vectors


class TestProcessorTrusting(MyProcessor):
    refused = ()

    class target(Vectors):
        def read(self, data):
            return data


class TestProcessorTakesAll(MyProcessor):
    class target(Vectors):
        def read(self, data):
            try:
                return super().read(data)
            except InvalidInputError:
                return [5]


class TestProcessorSilent(MyProcessor):
    class target(Vectors):
        def read(self, data):
            try:
                return super().read(data)
            except InvalidInputError as error:
                raise InvalidInputError("") from error


@dataclass(eq=False, kw_only=True, slots=True)
class SpentJob(Job):
    tickets: list


class TestProcessorSpends(MyProcessor):
    class target(Vectors):
        def job(self, data, params):
            return SpentJob(sequences=super().job(data, params).sequences, tickets=[1])

        def decode(self, job):
            return super().decode(job) * job.tickets.pop()


class TestProcessorForgetsNone(MyProcessor):
    class target(Vectors):
        def decode(self, job):
            return super().decode(job) if job.sequences else job.sequences[0]


class TestProcessorMiscounts(MyProcessor):
    target, chunked = Vectors, (([5, 6], 2),)


class TestProcessorByChance(MyProcessor):
    class target(Vectors):
        numbers = count()

        def complete(self, asked):
            return replace(asked, params=PoolingParams(use_activation=bool(next(self.numbers) % 2)))


class TestProcessorRemembers(MyProcessor):
    class target(Vectors):
        calls = 0

        def decode(self, job):
            self.calls += 1
            return super().decode(job) * self.calls


class TestProcessorOfOneThread(MyProcessor):
    class target(Vectors):
        def read(self, data):
            self.data = super().read(data)
            time.sleep(0.02)
            return self.data

        def job(self, data, params):
            time.sleep(0.02)
            return super().job(self.data, params)


@dataclass(eq=False, kw_only=True, slots=True)
class ScaledJob(Job):
    scale: float


class Packed(Vectors):  # the same as bytes, whose last bits may be others each time that an item is computed
    numbers = count()

    def job(self, data, params):
        scale = 1 + 2e-7 * (next(self.numbers) % 2)
        return ScaledJob(sequences=super().job(data, params).sequences, scale=scale)

    def decode(self, job):
        return {"packed": (super().decode(job) * job.scale).astype("<f4").tobytes()}


class TestProcessorPackedRight(MyProcessor):
    target = Packed

    def comparable(self, output):
        return np.frombuffer(output["packed"], dtype="<f4")


class TestProcessorOfOtherBytes(MyProcessor):
    class target(Vectors):
        made = count()

        def decode(self, job):
            return b"head" + bytes([next(self.made) % 256])


class TestProcessorEncodesInReverse(MyProcessor):
    class target(Vectors):
        def encode(self, call):
            return super().encode(call)[::-1]


class TestProcessorEncodesTooFew(MyProcessor):
    class target(Vectors):
        def encode(self, call):
            return super().encode(call)[:1]


class TestProcessorDecodesByChance(MyProcessor):
    class target(Vectors):
        numbers = count()

        def decode(self, job):
            return super().decode(job) * next(self.numbers)


class TestProcessorEncodesLists(MyProcessor):
    class target(Vectors):
        def encode(self, call):
            return [list(job.sequences) for job in super().encode(call)]


class TestProcessorWrongIds(MyProcessor):
    class target(Vectors):
        def job(self, data, params):
            return Job(sequences=(PoolingRequest(input_ids=data, representations=(Representation("embed", params),)),))
"""

RIGHT = ("Processor", "ProcessorPacked")
FAULTS = {
    "TestProcessorTrusting": {"test_any_json_is_accepted_or_rejected", "test_malformed_items_are_accepted_or_rejected"},
    "TestProcessorTakesAll": {"test_invalid_items_are_rejected"},
    "TestProcessorSilent": {"test_invalid_items_are_rejected"},
    "TestProcessorSpends": {"test_sequences_can_be_decoded_twice"},
    "TestProcessorForgetsNone": {"test_any_number_of_chunks"},
    "TestProcessorMiscounts": {"test_any_number_of_chunks"},
    "TestProcessorByChance": {"test_parameters_are_completed"},
    "TestProcessorRemembers": {"test_sequences_can_be_decoded_twice", "test_each_item_has_its_own_output"},
    "TestProcessorOfOneThread": {"test_several_threads_may_call_it"},
    "TestProcessorOfOtherBytes": {"test_sequences_can_be_decoded_twice", "test_each_item_has_its_own_output"},
    "TestProcessorEncodesInReverse": {"test_items_are_encoded_independently"},
    "TestProcessorEncodesTooFew": {"test_items_are_encoded_independently"},
    "TestProcessorDecodesByChance": {"test_sequences_can_be_decoded_twice", "test_each_item_has_its_own_output"},
    "TestProcessorEncodesLists": {"test_each_item_has_its_own_output", "test_malformed_items_are_accepted_or_rejected"},
    "TestProcessorWrongIds": {"test_each_item_has_its_own_output", "test_malformed_items_are_accepted_or_rejected"},
}


class TestIOProcessorFaults(FaultTests):
    plugins, right, faults = PLUGINS, RIGHT, FAULTS


def test_error_messages_name_the_fault(outcomes):
    for pattern in (
        r"mine neither accepts nor rejects None: the IO processor 'mine' .* failed in encode: TypeError",
        r"5 bytes instead of 5, different from byte 4\. .* override comparable\(output\)",
        r"mine splits \[5, 6\] into 1 sequences, not 2",
    ):
        assert re.search(pattern, outcomes.output), pattern
