"""A hanging batch can be abandoned and ends once; requests can be refused before they are computed."""

from millpond.types.errors import BlockedInputError


def test_a_hanging_batch_can_be_abandoned_and_ends_once(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1)
    requests = [kit.request([number]) for number in range(3)]
    ended = []
    for request in requests:
        request.state.on_done = ended.append
    thread.submit(requests[:1])
    gate.wait()
    thread.submit(requests[1:])
    assert [batch == requests[:1] for batch in thread.engine.running] == [True]
    thread.abandon(thread.engine.running[0], "it hangs")
    assert (ended, str(requests[0].error), thread.pending) == (requests[:1], "it hangs", 2)
    assert set(thread.waiting()) == set(requests[1:])
    gate.open()
    thread.close()
    assert set(ended) == set(requests)
    assert len(ended) == 3
    kit.check(requests[1:])
    assert str(requests[0].error) == "it hangs"
    assert thread.waiting_tokens == 0


def test_the_requests_of_a_hanging_batch_are_reported_as_a_failure_once(kit, model, make_thread, gate):
    model.on_forward = gate
    thread, failures = make_thread(1), []
    thread.engine.on_failure = failures.append
    requests = [kit.request([1]), kit.request([2])]
    thread.submit(requests)
    gate.wait()
    for _ in range(3):
        thread.abandon(thread.engine.running[0], "it hangs", may_be_cause=True)
    assert failures == [requests]


def test_screened_requests_end_at_once_and_ended_ones_are_reported(kit, make_thread):
    thread, ended = make_thread(1), []
    thread.screen = lambda requests: {requests[0]: BlockedInputError("no")}
    thread.on_ended = ended.extend
    refused, computed = kit.quarantined(thread, [kit.request([1]), kit.request([2])])
    assert str(refused.error) == "no"
    kit.check([computed])
    thread.close()
    assert (ended, thread.waiting_tokens) == ([computed], 0)
