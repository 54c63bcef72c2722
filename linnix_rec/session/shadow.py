"""A second recorder beside this one: the same events through another source. Reads neither's events.

A process of its own, so that neither reader takes the other's time, and either can fail alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Final

from linnix_rec.capture.document import CaptureDocument
from linnix_rec.errors import LinnixRecError, RecordingError
from linnix_rec.session.request import CAPTURE_SUFFIX, ChannelOptions, Request

_BEGIN_SECONDS: Final = 30.0
_END_SECONDS: Final = 60.0
_PR_SET_PDEATHSIG: Final = 1


def shadow_path(directory: Path) -> Path:
    """Where the shadow's capture goes: beside the other, as `NAME.shadow.lrec`."""
    name = directory.name.removesuffix(CAPTURE_SUFFIX)
    return directory.with_name(f"{name}.shadow{CAPTURE_SUFFIX}")


def shadow_command(request: Request, directory: Path, pid: int | None) -> list[str]:
    """The second recorder's command line; `pid` is the root of the tree, None for the whole host."""
    assert request.shadow is not None
    command = [sys.executable, "-m", "linnix_rec", "record", "--quiet", "--source", request.shadow]
    command += ["-o", str(shadow_path(directory))]
    command += ["--force"] * request.force + ["--wait"] * (request.wait and not request.whole_host)
    command += ["--all"] if pid is None else ["--pid", str(pid)]
    command += ["--no-argv"] * (not request.argv)
    if request.redact is not None:
        command += ["--redact", request.redact]
    for field in fields(ChannelOptions):
        value = getattr(request.shadow_channel, field.name)
        if value is not None:
            command += [f"--{field.name.removesuffix('_bytes')}", str(value)]
    if request.shadow == "sequencer":
        command += ["--ring-slots", str(request.ring_slots)]
    return command


class Shadow:
    """One that was started. It ends with the process it follows, or when it is told, or when we die."""

    def __init__(self, request: Request, directory: Path, pid: int | None) -> None:
        self.capture = shadow_path(directory)
        libc = ctypes.CDLL(None)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            shadow_command(request, directory, None if request.whole_host else pid),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C is ours to pass on
            preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM),  # noqa: PLW1509
        )

    def wait_for_recording(self) -> None:
        """Return when it is attached and has listed the tasks; raises RecordingError if it does not."""
        give_up = time.monotonic() + _BEGIN_SECONDS
        while not self._has_begun():
            if self._process.poll() is not None:
                raise RecordingError(f"the shadow recorder could not begin: {self._complaint()}")
            if time.monotonic() > give_up:
                raise RecordingError("the shadow recorder did not begin in time; leave --shadow out")
            time.sleep(0.01)

    def end(self, *, now: bool) -> str:
        """Let it end, `now` or with the process it follows; gives what it complained of, in a line."""
        if now:
            self._tell(signal.SIGTERM)
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._tell(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECONDS)
        return self._complaint() if self._process.returncode != 0 else ""

    def discard(self) -> None:
        """End it, and remove what it has recorded."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        shutil.rmtree(self.capture, ignore_errors=True)

    def _tell(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)

    def _has_begun(self) -> bool:
        try:
            return bool(CaptureDocument.load(self.capture / "capture.json").listings)
        except (LinnixRecError, OSError):
            return False

    def _complaint(self) -> str:
        assert self._process.stderr is not None
        said = self._process.stderr.read().strip().splitlines()
        last = said[-1] if said else f"exit status {self._process.returncode}"
        return last.removeprefix("linnix-rec: ").removeprefix("error: ")
