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
        def parse(self, data):
            return data


class TestProcessorTakesAll(MyProcessor):
    class target(Vectors):
        def parse(self, data):
            try:
                return super().parse(data)
            except InvalidInputError:
                return [5]


class TestProcessorSilent(MyProcessor):
    class target(Vectors):
        def parse(self, data):
            try:
                return super().parse(data)
            except InvalidInputError as error:
                raise InvalidInputError("") from error


class TestProcessorMixesUp(MyProcessor):
    class target(Vectors):
        def pre_process_many(self, items):
            return super().pre_process_many(items)[::-1]


class TestProcessorSpends(MyProcessor):
    class target(Vectors):
        def post_process(self, requests):
            return super().post_process(requests) * sum(request.note.pop() for request in requests)


class TestProcessorForgetsNone(MyProcessor):
    class target(Vectors):
        def post_process(self, requests):
            return super().post_process(requests) if requests else requests[0]


class TestProcessorMiscounts(MyProcessor):
    target, chunked = Vectors, (([5, 6], 2),)


class TestProcessorByChance(MyProcessor):
    class target(Vectors):
        numbers = count()

        def pooling_params(self, given):
            return PoolingParams(use_activation=bool(next(self.numbers) % 2))


class TestProcessorRemembers(MyProcessor):
    class target(Vectors):
        calls = 0

        def post_process(self, requests):
            self.calls += 1
            return super().post_process(requests) * self.calls


class TestProcessorOfOneThread(MyProcessor):
    class target(Vectors):
        def parse(self, data):
            self.data = super().parse(data)
            time.sleep(0.02)
            return self.data

        def pre_process(self, data, params):
            time.sleep(0.02)
            return super().pre_process(self.data, params)


class Packed(Vectors):  # the same as bytes, whose last bits may be others each time that an item is computed
    numbers = count()

    def pre_process(self, data, params):
        requests = super().pre_process(data, params)
        for request in requests:
            request.note = 1 + 2e-7 * (next(self.numbers) % 2)
        return requests

    def post_process(self, requests):
        found = super().post_process(requests) * (requests[0].note if requests else 1)
        return {"packed": found.astype("<f4").tobytes()}


class TestProcessorPackedRight(MyProcessor):
    target = Packed

    def comparable(self, output):
        return np.frombuffer(output["packed"], dtype="<f4")


class TestProcessorOfOtherBytes(MyProcessor):
    class target(Vectors):
        made = count()

        def post_process(self, requests):
            return b"head" + bytes([next(self.made) % 256])


class Encoded(IOProcessor):  # the same as Vectors, by encode and decode
    def encode(self, call):
        from millpond.pipeline.io_processor import Work

        works = []
        for data, asked in call.items:
            if not isinstance(data, list) or not all(type(number) is int and 5 <= number < 90 for number in data):
                works.append(Work(error=InvalidInputError("a list of ids from 5 to 89 was wanted")))
                continue
            wanted = (Representation("embed", asked.params),)
            pieces = [np.array(data[start : start + 4]) for start in range(0, len(data), 4)]
            works.append(
                Work(sequences=tuple(PoolingRequest(input_ids=piece, representations=wanted) for piece in pieces))
            )
        return works

    def decode(self, work):
        return sum((one.results[0] for one in work.sequences), np.zeros(32, dtype=np.float32))


class TestProcessorEncodedRight(MyProcessor):
    target = Encoded


class TestProcessorEncodesInReverse(MyProcessor):
    class target(Encoded):
        def encode(self, call):
            return super().encode(call)[::-1]


class TestProcessorEncodesTooFew(MyProcessor):
    class target(Encoded):
        def encode(self, call):
            return super().encode(call)[:1]


class TestProcessorDecodesByChance(MyProcessor):
    class target(Encoded):
        numbers = count()

        def decode(self, work):
            return super().decode(work) * next(self.numbers)


class TestProcessorEncodesLists(MyProcessor):
    class target(Encoded):
        def encode(self, call):
            return [list(work.sequences) for work in super().encode(call)]


class TestProcessorWrongIds(MyProcessor):
    class target(Vectors):
        def pre_process(self, data, params):
            return [PoolingRequest(input_ids=data, representations=(Representation("embed", params),))]
"""

RIGHT = ("Processor", "ProcessorPacked", "ProcessorEncoded")
FAULTS = {
    "TestProcessorTrusting": {"test_any_json_is_accepted_or_rejected", "test_malformed_items_are_accepted_or_rejected"},
    "TestProcessorTakesAll": {"test_invalid_items_are_rejected"},
    "TestProcessorSilent": {"test_invalid_items_are_rejected"},
    "TestProcessorMixesUp": {"test_items_are_encoded_independently"},
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
        r"mine neither accepts nor rejects None: the IO processor 'mine' .* failed in pre_process: TypeError",
        r"5 bytes instead of 5, different from byte 4\. .* override comparable\(output\)",
        r"mine splits \[5, 6\] into 1 sequences, not 2",
    ):
        assert re.search(pattern, outcomes.output), pattern
