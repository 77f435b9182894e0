"""The child of a fork has one thread: what others held when the process forked must not hold up that one."""

from __future__ import annotations

import gc
import os
import signal
import threading
import weakref
from collections.abc import Callable

import pytest
import torch

import cellgate
from cellgate.trace import recorder

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork"),
    # Python 3.12 and later warn of what is tested here.
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]


def in_child_while_held(lock: threading.Lock, function: Callable[[], bool]) -> bool:
    """Fork while another thread holds a lock; return whether the function is true, and ends, in the child."""
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(1)  # as long as a fork may have to wait for it

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)  # a child that waits for ever ends by that
        try:
            good = function()
        except BaseException:
            good = False
        os._exit(0 if good else 1)
    done.set()
    thread.join()
    return os.waitpid(child, 0)[1] == 0


def test_a_stream_goes_on_in_the_child() -> None:
    lstm, x = cellgate.LSTM(3, 4), torch.randn(3, 3)
    expected = lstm(x)[0].detach()
    stream = lstm.stream()
    stream.push(x[0])
    other = stream.fork()
    for each in (stream, other):
        assert in_child_while_held(each._lock, lambda s=each: torch.allclose(s.push(x[1]), expected[1], atol=1e-6))
        # The parent's own is where it was.
        torch.testing.assert_close(each.push(x[1]), expected[1])


def test_a_block_of_a_trace_opens_in_the_child() -> None:
    lstm, x = cellgate.LSTM(3, 4), torch.randn(3, 2, 3)

    def traced() -> bool:
        with torch.no_grad(), cellgate.trace(lstm) as tape:
            lstm(x)
        return len(tape["lstm"]) == 1 and type(lstm) is cellgate.LSTM

    assert traced()
    assert in_child_while_held(recorder._lock, traced)
    assert traced()


def test_streams_are_not_kept_for_that() -> None:
    stream = cellgate.LSTM(3, 4).stream()
    there = weakref.ref(stream)
    del stream
    gc.collect()
    assert there() is None
