"""The fence is nothing on x86 and a release and acquire of one lock elsewhere."""

from __future__ import annotations

import threading

from linnix_rec.ring.fence import _lock_fence


def test_the_lock_fence_returns_however_often_it_is_called() -> None:
    fence = _lock_fence()
    for _ in range(1000):
        fence()


def test_two_fences_do_not_wait_for_each_other() -> None:
    one, other = _lock_fence(), _lock_fence()
    crossed = threading.Thread(target=lambda: [other() for _ in range(1000)], daemon=True)
    crossed.start()
    for _ in range(1000):
        one()
    crossed.join(timeout=30)
    assert not crossed.is_alive()
