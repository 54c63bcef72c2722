"""Reading and writing captures needs no Linux, and asks for nothing that Windows or macOS lack."""

import subprocess
import sys
from pathlib import Path

import pytest

from linnix_rec.capture import files
from linnix_rec.capture.reader import open_capture
from linnix_rec.capture.writer import CaptureWriter
from tests.story import Story, document, write_capture

_BLOCKED = (
    "fcntl",
    "pwd",
    "grp",
    "resource",
    "linnix_rec.bpf",
    "linnix_rec.ring",
    "linnix_rec.sources",
    "linnix_rec.session",
)

_READ_WITHOUT = f"""
import sys
from pathlib import Path

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.startswith({_BLOCKED!r}):
            raise ImportError(name + " is blocked")

# What Python's own modules have loaded stays with them; ours may not load it.
for name in [name for name in sys.modules if name.startswith({_BLOCKED!r})]:
    del sys.modules[name]
sys.meta_path.insert(0, Refusing())
import linnix_rec.capture.columns, linnix_rec.capture.writer
from linnix_rec.capture.reader import open_capture
print(sum(batch.num_rows for batch in open_capture(Path(sys.argv[1])).batches()))
"""


def small_story() -> Story:
    story = Story()
    story.exit(story.task(1))
    return story


def test_a_capture_is_read_where_linux_modules_can_not_be_imported(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "a.lrec", small_story())
    done = subprocess.run(
        [sys.executable, "-c", _READ_WITHOUT, path], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stderr, done.stdout) == ("", "2\n")


def test_a_capture_is_written_where_files_have_no_owners_and_directories_no_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.fchown")
    monkeypatch.delattr("os.chown")
    monkeypatch.delattr("os.O_NOFOLLOW")
    monkeypatch.delattr("os.O_CLOEXEC")
    monkeypatch.setattr(files, "_DIRECTORIES_SYNC", False)
    files.make_directory(tmp_path / "a.lrec", (1, 1))
    writer = CaptureWriter(tmp_path / "a.lrec", document(), owner=(1, 1))
    writer.write(small_story().batch())
    writer.turn_over()
    assert sum(batch.num_rows for batch in open_capture(tmp_path / "a.lrec").batches()) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
def test_a_capture_whose_path_is_not_utf8_is_read(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "caf\udce9.lrec", small_story())
    assert sum(batch.num_rows for batch in open_capture(path).batches()) == 2
