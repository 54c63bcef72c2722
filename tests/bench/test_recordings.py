"""Private memory is counted from what the kernel says of each mapping."""

from linnix_rec.bench.recordings import private_bytes

SMAPS = """\
00400000-00500000 r-xp 00000000 08:02 173521      /usr/bin/python3.11
Size:               1024 kB
Private_Clean:        12 kB
Private_Dirty:         4 kB
7f0000000000-7f0008000000 r--s 00000000 00:0e 1049       anon_inode:bpf-map
Private_Clean:    131072 kB
Private_Dirty:         8 kB
7f0009000000-7f000a000000 rw-p 00000000 00:00 0
Shared_Dirty:         64 kB
Private_Dirty:       100 kB
"""


def test_the_ring_is_left_out_of_private_memory() -> None:
    assert private_bytes(SMAPS) == (12 + 4 + 100) << 10
