"""How much memory there is, and what a step takes."""

from pathlib import Path

import pytest
import torch

from phosphene_server.engine.memory import HostMeter, budget_bytes, free_host_bytes, model_bytes
from phosphene_server.models.lowering.kernels import arranged_bytes

LARGE = 2**50


@pytest.fixture
def machine(tmp_path: Path):
    """Files like those of a kernel, for a process in the control group `/a/b` of version 2."""
    process = tmp_path / "proc"
    process.mkdir()
    groups = tmp_path / "cgroup"
    (groups / "a" / "b").mkdir(parents=True)

    def limit(folder: str, *, most: str, used: int, inactive: int = 0) -> None:
        (groups / folder / "memory.max").write_text(most)
        (groups / folder / "memory.current").write_text(str(used))
        (groups / folder / "memory.stat").write_text(f"anon 1\ninactive_file {inactive}\n")

    def free(cgroup: str = "0::/a/b\n") -> int:
        (process / "cgroup").write_text(cgroup)
        return free_host_bytes(process=process, control_groups=groups)

    return limit, free


def test_the_tightest_group_on_the_way_up_decides(machine):
    limit, free = machine
    limit("a/b", most="max", used=10)
    limit("a", most="1000", used=300)
    limit("", most=str(LARGE), used=0)
    assert free() == 700


def test_a_cache_of_files_counts_as_free(machine):
    limit, free = machine
    limit("a/b", most="1000", used=900, inactive=500)
    assert free() == 600


def test_inside_a_container_the_group_is_the_root(machine):
    limit, free = machine
    limit("", most="800", used=0)
    assert free("0::/not/mounted/here\n") == 800


def test_groups_of_version_one_are_read(machine, tmp_path):
    _, free = machine
    folder = tmp_path / "cgroup" / "memory" / "a"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text("500")
    (folder / "memory.usage_in_bytes").write_text("100")
    (folder / "memory.stat").write_text("cache 3\n")
    assert free("4:cpu,memory:/a\n") == 400


def test_without_groups_the_machine_decides(machine, tmp_path):
    assert 0 < free_host_bytes(process=tmp_path / "nowhere", control_groups=tmp_path / "nowhere") < LARGE


def test_the_operator_has_the_last_word():
    assert budget_bytes(12345, torch.device("cpu")) == 12345
    assert 0 < budget_bytes(0, torch.device("cpu")) < LARGE


def test_a_tensor_counts_twice_and_the_weight_of_a_convolution_with_its_arranged_forms():
    assert model_bytes(torch.nn.Linear(10, 5, dtype=torch.float32)) == 2 * 4 * 55
    weight = torch.nn.Conv2d(3, 4, 5, bias=False)
    assert model_bytes(weight) == weight.weight.nbytes + arranged_bytes(weight.weight)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
def test_memory_that_is_freed_again_counts_at_its_height():
    size = 64 * 2**20

    def run() -> None:
        torch.ones(size, dtype=torch.uint8)

    meter = HostMeter()
    for _ in range(2):  # also when it was freed before
        assert 0.8 * size <= meter.peak_bytes(run) <= 1.5 * size
