"""The name of the processor, on systems that report it in different ways."""

import pytest

from millpond_command import processor


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (
            "processor\t: 0\nmodel name\t: A  Chip @ 2.5GHz\n\nprocessor\t: 1\nmodel name\t: Another\n",
            "A Chip @ 2.5GHz",
        ),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n", "CPU implementer 0x41 CPU part 0xd40"),
        ("", ""),
        ("no colon here", ""),
    ],
)
def test_the_processor_has_the_name_that_the_system_states(cpuinfo, name):
    assert processor.name_in(cpuinfo) == name


def test_this_machine_has_a_name():
    assert processor.processor_name() == processor.processor_name() != ""


def test_a_machine_that_reports_nothing_still_has_a_name(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "CPUINFO_PATH", tmp_path / "absent")
    assert processor.processor_name.__wrapped__()
