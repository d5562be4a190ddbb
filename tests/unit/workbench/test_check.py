"""Checks in processes of their own, and what comes of files that keep them from ending well."""

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from phosphene_server.workbench import check as checking
from phosphene_server.workbench.check import Limits, check


def test_file_that_asks_for_terabytes_ends_at_the_limit_of_memory(tmp_path: Path):
    terabytes = [
        helper.make_node("ConstantOfShape", ["shape"], ["many"], "fill"),
        helper.make_node("ReduceSum", ["many"], ["sum"], "sum", keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"], "add"),
    ]
    graph = helper.make_graph(
        terabytes,
        "greedy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [helper.make_tensor("shape", TensorProto.INT64, [1], [2**40])],
    )
    path = tmp_path / "greedy.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    report = check(path, limits=Limits(memory_gibibytes=1.0))
    assert not report["passed"]
    (problem,) = report["problems"]
    print(problem)
    assert "\n" not in problem


def test_time_limit_ends_it_and_names_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", endless(tmp_path))
    report = check(tmp_path / "any.onnx", limits=Limits(time_seconds=0.5))
    assert report["problems"] == ["it was not finished within 0.5 s (stage: probe)"]


def test_process_that_dies_is_told_with_its_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", script(tmp_path, "echo 'stage: parity' >&2; kill -9 $$"))
    (problem,) = check(tmp_path / "any.onnx")["problems"]
    assert problem == "the examination was ended by SIGKILL, perhaps for want of memory (stage: parity)"


def test_memory_is_bounded_by_the_machine():
    assert Limits(memory_gibibytes=1e9).memory_bytes < 1e9 * checking.GIBIBYTE
    assert Limits(memory_gibibytes=1e-3).memory_bytes == checking.GIBIBYTE // 1000


def test_exit_status_tells_whether_it_passed(tmp_path: Path):
    path = tmp_path / "noise.onnx"
    path.write_bytes(bytes(range(256)) * 40)
    command = [sys.executable, "-m", "phosphene_server.workbench.check", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert json.loads(result.stdout)["problems"][0].startswith("noise.onnx is not an ONNX model")


def script(folder: Path, text: str) -> str:
    path = folder / "interpreter"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def endless(folder: Path) -> str:
    return script(folder, "echo 'stage: probe' >&2; exec sleep 60")
