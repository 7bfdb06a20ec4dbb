"""The threads that compiled kernels share their work among: the bits do not depend on the thread."""

import subprocess
import sys
import threading
import time

import pytest
import torch

from millpond.nn import AttentionSpec, PackedBatch
from millpond_kernels import native
from millpond_kernels.attention.native import attention, attention_int8
from millpond_kernels.attention.rotary import rotary_native
from millpond_kernels.feed_forward.gated import gated_native
from millpond_kernels.feed_forward.gelu import gelu_native
from millpond_kernels.feed_forward.native import (
    FeedForwardInt8Native,
    GatedFeedForwardInt8Native,
    GatedFeedForwardNative,
)
from millpond_kernels.linear.int8 import LinearInt8Native
from millpond_kernels.linear.native import LinearNative
from millpond_kernels.norms.layer_norm_residual import layer_norm_residual_native
from millpond_kernels.norms.rms_norm import rms_norm_native
from millpond_kernels.testing.parts import LinearModule

pytestmark = pytest.mark.skipif(not native.is_available(), reason="needs the kernels compiled for this processor")
in_bytes = pytest.mark.skipif(
    native.int8_attention_availability() is not True,
    reason="needs the kernels compiled for a processor with AVX-512 VNNI",
)


@pytest.fixture(autouse=True)
def as_before():
    """The number of threads is torch's; each test leaves it as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def attended(kernel, rows, generator):
    lengths = sorted([rows, 1, 7, 7])
    batch = PackedBatch.pack([torch.zeros(length, dtype=torch.long) for length in lengths])
    query = torch.randn(batch.num_tokens, 8, 32, generator=generator)
    key, value = torch.randn(2, batch.num_tokens, 4, 32, generator=generator)
    spec = AttentionSpec(scale=0.2)
    return lambda: kernel(query, key, value, batch, spec)


def mapped(kernel, rows, generator):
    weight, bias = torch.randn(1000, 700, generator=generator), torch.randn(1000, generator=generator)
    x = torch.randn(rows, 700, generator=generator)
    linear = kernel(weight, bias)
    return lambda: linear(x)


def mapped_twice(kernel, rows, generator):
    up = LinearModule(kernel, torch.randn(1000, 300, generator=generator) / 20, torch.randn(1000, generator=generator))
    down = LinearModule(kernel, torch.randn(310, 1000, generator=generator), None)
    x = torch.randn(rows, 300, generator=generator)
    both = FeedForwardInt8Native(up=up, down=down, gelu=gelu_native)
    return lambda: both(x)


def mapped_twice_with_gate(kernel, rows, generator):
    first = LinearModule(
        kernel, torch.randn(1280, 300, generator=generator) / 20, torch.randn(1280, generator=generator)
    )
    down = LinearModule(kernel, torch.randn(310, 640, generator=generator), torch.randn(310, generator=generator))
    x = torch.randn(rows, 300, generator=generator)
    fused = GatedFeedForwardInt8Native if kernel is LinearInt8Native else GatedFeedForwardNative
    both = fused(gate_up=first, down=down, gated=gated_native, activation="silu")
    return lambda: both(x)


def turned(kernel, rows, generator):
    x = torch.randn(rows, 36, 32, generator=generator)
    angles = torch.randn(rows, 1, 16, generator=generator)
    return lambda: kernel(x.clone()[:, :24], angles.cos(), angles.sin())


def between(kernel, rows, generator):
    x, residual = torch.randn(2, rows, 1001, generator=generator)
    bias, weight, shift = torch.randn(3, 1001, generator=generator)
    if kernel is gelu_native:
        return lambda: kernel(x.clone(), bias)
    if kernel is gated_native:
        return lambda: kernel(torch.cat([x, residual], dim=1), "gelu_tanh")
    if kernel is rms_norm_native:
        return lambda: kernel(x, weight, 1e-5)
    return lambda: kernel(x.clone(), bias, residual, weight, shift, 1e-5)


OPS = [
    pytest.param(mapped, LinearNative, id="linear"),
    pytest.param(mapped, LinearInt8Native, id="linear_int8"),
    pytest.param(mapped_twice, LinearInt8Native, id="feed_forward_int8"),
    pytest.param(mapped_twice_with_gate, LinearNative, id="gated_feed_forward"),
    pytest.param(mapped_twice_with_gate, LinearInt8Native, id="gated_feed_forward_int8"),
    pytest.param(attended, attention, id="attention"),
    pytest.param(attended, attention_int8, id="attention_int8", marks=in_bytes),
    pytest.param(between, gelu_native, id="gelu"),
    pytest.param(between, gated_native, id="gated"),
    pytest.param(between, layer_norm_residual_native, id="layer_norm_residual"),
    pytest.param(between, rms_norm_native, id="rms_norm"),
    pytest.param(turned, rotary_native, id="rotary"),
]


@pytest.mark.parametrize("rows", [1, 12, 97, 250])
@pytest.mark.parametrize(("op", "kernel"), OPS)
def test_results_are_bit_identical_for_any_number_of_threads(op, kernel, rows):
    compute = op(kernel, rows, torch.Generator().manual_seed(rows))
    torch.set_num_threads(1)
    alone = compute()
    for threads in (2, 3, 8):
        torch.set_num_threads(threads)
        assert all(torch.equal(compute(), alone) for _ in range(5)), threads


@pytest.mark.parametrize(("op", "kernel"), OPS)
def test_callers_at_the_same_time_do_not_meet(op, kernel):
    """One of them has the helpers, and the others work alone."""
    works = [op(kernel, 60 + number, torch.Generator().manual_seed(number)) for number in range(4)]
    torch.set_num_threads(1)
    wanted = [work() for work in works]
    right = []

    def call(work, result):
        torch.set_num_threads(3)
        right.append(all(torch.equal(work(), result) for _ in range(40)))

    callers = [threading.Thread(target=call, args=pair) for pair in zip(works, wanted, strict=True)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert right == [True] * 4


def test_idle_helpers_sleep():
    compute = mapped(LinearNative, 97, torch.Generator().manual_seed(1))
    torch.set_num_threads(3)
    compute()
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.1


START = """
import os, sys, torch
from millpond_kernels.linear.native import LinearNative

def threads():
    return len(os.listdir("/proc/self/task"))

def compute(number):
    torch.set_num_threads(number)
    return linear(x)

generator = torch.Generator().manual_seed(1)
x, linear = torch.randn(97, 700, generator=generator), LinearNative(torch.randn(1000, 700, generator=generator), None)
"""

COUNT = """
before = threads()
for number in (1, 2, 2, 4, 3):
    compute(number)
    print(threads() - before)
"""

# Results are compared as bytes: torch's own threads do not survive a fork.
FORK = """
import signal

def bits(number):
    return compute(number).numpy().tobytes()

alone = bits(1)
assert bits(3) == alone
child = os.fork()
if child == 0:
    signal.alarm(60)
    assert threads() == 1
    right = all(bits(3) == alone for _ in range(5))
    os._exit(0 if right and threads() == 3 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), bits(3) == alone)
"""


def output_of(program):
    """Return the output of code in a new interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", START + program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_there_are_at_most_the_requested_number_of_helpers():
    assert output_of(COUNT) == ["0", "1", "1", "3", "3"]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_a_forked_process_creates_its_own_helpers():
    assert output_of(FORK) == ["0", "True"]
