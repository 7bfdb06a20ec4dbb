"""A hanging batch can be abandoned: it ends once, and its inputs are blocked until it has ended."""

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


def test_inputs_of_a_hanging_batch_are_blocked_until_it_has_ended(kit, model, make_thread, gate):
    model.on_forward = gate
    thread = make_thread(1)
    thread.failing_inputs.seconds = kit.hour
    first = kit.request([1])
    thread.submit([first])
    gate.wait()
    for _ in range(3):
        thread.abandon(thread.engine.running[0], "it hangs", may_be_cause=True)
    (again,) = kit.quarantined(thread, [kit.request([1])])
    assert isinstance(again.error, BlockedInputError)
    gate.open()
    kit.check(kit.run(thread, [kit.request([2])]))
    kit.check(kit.run(thread, [kit.request([1])]))
