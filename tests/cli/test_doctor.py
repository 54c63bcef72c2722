"""`doctor` says what is there and what is missing, and ends with whether recording can work."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from click.testing import CliRunner

from linnix_rec.bpf.host import Requirement
from linnix_rec.cli import doctor

PR_CAPBSET_DROP = 24  # include/uapi/linux/prctl.h

GOOD = Requirement("kernel", required=True, met=True, found="Linux 6.1")
NOTED = Requirement("--pin", required=False, met=False, found="not mounted", advice="mount it")
BAD = Requirement("btf", required=True, met=False, found="none", advice="boot another kernel")


def run(monkeypatch: pytest.MonkeyPatch, found: tuple[Requirement, ...], *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(doctor, "examine", lambda: found)
    result = CliRunner().invoke(doctor.command, list(arguments), standalone_mode=False)
    return result.return_value, result.output


def test_what_is_optional_does_not_stop_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    status, output = run(monkeypatch, (GOOD, NOTED))
    assert status == 0
    assert output.splitlines() == [
        "ok    kernel              Linux 6.1",
        "note  --pin               not mounted",
        "                          to do: mount it",
        "",
        "recording can work here; captures can be read on any system",
    ]


def test_what_is_required_stops_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    status, output = run(monkeypatch, (GOOD, BAD))
    assert status == 1
    assert "FAIL  btf                 none\n                          to do: boot another kernel" in output
    assert output.endswith("recording with BPF can't work here; captures can be read on any system\n")


CONNECTOR = Requirement("--source connector", required=False, met=True, found="records without BPF")


def test_what_works_without_bpf_is_named_where_bpf_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    status, output = run(monkeypatch, (GOOD, BAD, CONNECTOR))
    assert status == 1
    assert output.splitlines()[-1].startswith("`linnix-rec record --source connector` can, without BPF:")
    _, output = run(monkeypatch, (GOOD, CONNECTOR))
    assert "without BPF:" not in output


def test_json_carries_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    status, output = run(monkeypatch, (GOOD, BAD), "--format", "json")
    document = json.loads(output)
    assert status == 1
    assert document["can_record"] is False
    assert document["requirements"][1] == {
        "name": "btf",
        "required": True,
        "met": False,
        "found": "none",
        "advice": "boot another kernel",
    }


def test_other_systems_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    (line,) = doctor.examine()
    assert (line.required, line.met, line.found) == (True, False, "darwin")


@pytest.mark.kernel
def test_the_real_object_is_put_before_the_verifier(
    linnix_rec: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    ended = linnix_rec("doctor")
    assert ended.returncode == 0, ended.stdout
    assert "sequencer object" in ended.stdout
    assert "accepted by the verifier" in ended.stdout
    assert "ok    --source connector  records without BPF, by the process connector and /proc" in ended.stdout
    assert ended.stderr == ""


def drop_capabilities() -> None:
    """Leave root nothing to gain from an exec: the files stay its own, the capabilities do not."""
    libc = ctypes.CDLL(None)
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


@pytest.mark.kernel
def test_without_privileges_it_says_which_are_missing() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "linnix_rec", "doctor"],
        preexec_fn=drop_capabilities,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "FAIL  capabilities        no CAP_BPF and no CAP_PERFMON" in ended.stdout
    assert "sequencer object" not in ended.stdout
    assert "--source connector" in ended.stdout
    assert ended.stderr == ""


@pytest.mark.kernel
def test_in_a_container_s_pid_namespace_the_connector_is_no_way_out() -> None:
    ended = subprocess.run(
        ["unshare", "--pid", "--fork", sys.executable, "-m", "linnix_rec", "doctor", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = {line["name"]: line for line in json.loads(ended.stdout)["requirements"]}
    assert not lines["--source connector"]["met"]
    assert lines["--source connector"]["found"] == lines["--witness connector"]["found"]
