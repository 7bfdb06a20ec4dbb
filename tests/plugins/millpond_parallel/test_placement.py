"""Placement of engine processes on devices and cores."""

import os

import pytest
import torch

from millpond.types.errors import InvalidInputError
from millpond.types.parallel import ParallelOptions
from millpond_parallel import placement
from millpond_parallel.placement import place, split_cores

CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A function that describes a machine: the cores of each NUMA node, and pairs of hardware threads."""

    def describe(nodes, threads=(), allowed=None):
        cores = [core for node in nodes for core in node]
        for number, node in enumerate(nodes):
            folder = tmp_path / "node" / f"node{number}"
            folder.mkdir(parents=True)
            folder.joinpath("cpulist").write_text(",".join(map(str, node)) + "\n")
        for pair in threads:
            for core in pair:
                folder = tmp_path / "cpu" / f"cpu{core}" / "topology"
                folder.mkdir(parents=True)
                folder.joinpath("thread_siblings_list").write_text(",".join(map(str, pair)))
        monkeypatch.setattr(placement, "NODES", tmp_path / "node")
        monkeypatch.setattr(placement, "CPUS", tmp_path / "cpu")
        available = set(cores if allowed is None else allowed)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: available, raising=False)
        monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None, raising=False)

    return describe


def cores_of(count):
    return [cores for cores, _ in split_cores(count)]


def test_two_cores_are_one_for_each_of_two_engines(machine):
    machine([[0, 1]])
    assert place(ParallelOptions(size=2), CPU) == [
        placement.Placement("cpu", (0,), 1),
        placement.Placement("cpu", (1,), 1),
    ]


def test_each_engine_has_one_numa_node(machine):
    machine([[0, 2, 4, 6], [1, 3, 5, 7]])
    assert cores_of(2) == [(0, 2, 4, 6), (1, 3, 5, 7)]


def test_engines_of_one_node_share_its_cores(machine):
    machine([[0, 1, 2, 3], [4, 5, 6, 7]])
    assert cores_of(4) == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert cores_of(3) == [(0, 1), (2, 3), (4, 5, 6, 7)]


def test_fewer_engines_than_nodes_have_whole_nodes(machine):
    machine([[0, 1], [2, 3], [4, 5], [6, 7]])
    assert cores_of(2) == [(0, 1, 2, 3), (4, 5, 6, 7)]


def test_hardware_threads_of_a_core_stay_together(machine):
    machine([[0, 1, 2, 3]], threads=[(0, 2), (1, 3)])
    assert cores_of(2) == [(0, 2), (1, 3)]


def test_only_the_cores_of_the_process_are_used(machine):
    machine([[0, 1, 2, 3], [4, 5, 6, 7]], allowed=[2, 3, 5])
    assert cores_of(2) == [(2, 3), (5,)]


def test_more_engines_than_cores_are_not_pinned(machine):
    machine([[0, 1]])
    assert split_cores(3) == [((), 1)] * 3


def test_cores_are_split_where_nodes_are_unknown(machine):
    machine([], allowed=[0, 1, 2, 3, 4])
    assert cores_of(2) == [(0, 1), (2, 3, 4)]


def test_devices_of_the_user_are_used_unchanged(machine):
    machine([[0, 1]])
    assert [it.device for it in place(ParallelOptions(size=2, devices=("cuda:1", "cuda:1")), CPU)] == ["cuda:1"] * 2


def test_each_engine_has_its_own_gpu(machine, monkeypatch):
    machine([[0, 1]])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [it.device for it in place(ParallelOptions(size=2), torch.device("cuda"))] == ["cuda:0", "cuda:1"]


def test_more_engines_than_gpus_are_refused(machine, monkeypatch):
    machine([[0, 1]])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InvalidInputError, match=r"this machine has 2 GPUs: .* devices='cuda:0,cuda:1,cuda:0'"):
        place(ParallelOptions(size=3), torch.device("cuda"))


def test_one_device_for_several_engines_is_refused(machine):
    machine([[0, 1]])
    with pytest.raises(InvalidInputError, match=r"pass the device of each engine, such as devices='cuda:1,cuda:1'"):
        place(ParallelOptions(size=2), torch.device("cuda:1"))
