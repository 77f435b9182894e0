"""Threads: one for small work, and always put back."""

import pytest
import torch

from cellgate.training import threads_for


def test_small_work_gets_one_thread_and_the_setting_comes_back():
    torch.set_num_threads(2)
    with threads_for(1e6):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with threads_for(1e12):
        assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError), threads_for(1e6):
        raise ZeroDivisionError
    assert torch.get_num_threads() == 2
