"""Large blocks of memory: used again, bounded, alive as long as a tensor is, safe among threads and forks."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import threading

import pytest
import torch

import cellgate
from cellgate.backends import cpu

pytestmark = pytest.mark.skipif(
    cpu.tensors() is None, reason="needs the native core and a PyTorch with its DLPack table"
)

LARGE = (5 << 20,)  # floats: 20 MB


@pytest.fixture(autouse=True)
def _clean():
    gc.collect()
    cpu.native().release_blocks()
    yield
    cpu.native().release_blocks()


def waiting():
    return cpu.native().block_statistics()[0]


def new(size=LARGE):
    return cpu.new_block(size, torch.empty(0))


def test_a_block_waits_for_the_next_tensor_and_serves_it():
    first = new()
    at = first.data_ptr()
    view = first[7:]
    del first
    assert waiting() == 0  # a view keeps it
    del view
    assert waiting() == 1
    again = new()
    assert again.data_ptr() == at
    assert waiting() == 0
    assert again.shape == LARGE
    again.fill_(3.0)
    assert again.sum() == 3.0 * LARGE[0]


def test_two_tensors_never_share_one():
    tensors = [new().fill_(k) for k in range(3)]
    assert len({t.data_ptr() for t in tensors}) == 3
    assert [int(t[-1]) for t in tensors] == [0, 1, 2]


def test_small_ones_are_ordinary_tensors():
    small = new((4, 3, 2))
    assert small.shape == (4, 3, 2)
    small.resize_(100)
    del small
    assert waiting() == 0


def test_what_waits_is_bounded():
    blocks = [new((LARGE[0] + (k << 20),)) for k in range(24)]
    del blocks
    count, size, *_ = cpu.native().block_statistics()
    assert 0 < count < 24
    assert size <= 1 << 30


def test_so_is_their_number():
    blocks = [cpu.new_block((1 << 19,), torch.empty(0), 1 << 20) for _ in range(100)]
    del blocks
    assert waiting() == 64


def test_threads_take_and_give_at_once():
    def work(k):
        for _ in range(20):
            block = new()
            block[:: 1 << 18] = k
            assert (block[:: 1 << 18] == k).all()

    failures = []

    def guarded(k):
        try:
            work(k)
        except AssertionError as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*")  # of Python 3.12 and JAX: there are several threads
def test_a_child_has_blocks_of_its_own():
    block = new().fill_(1.0)
    waits = new()
    del waits
    pid = os.fork()
    if pid == 0:
        mine = new().fill_(2.0)
        os._exit(0 if float(mine[0]) == 2.0 and float(block[0]) == 1.0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert float(block[-1]) == 1.0


def test_output_trace_and_saved_block_use_them():
    module, x = cellgate.LSTM(1, 128), torch.randn(320, 128, 1)
    with torch.no_grad():
        module(x)
        assert waiting() == 1
        output, _, gates = module.gates(x)
        fresh = cpu.native().block_statistics()[2]
        assert gates[0].f.data_ptr() % 64 == 0
        del output, gates
        module.gates(x)
    assert cpu.native().block_statistics()[2] == fresh


def weights_of(module):
    return {name: p for name, p in module.named_parameters() if p.numel() >= 1 << 18}


WAYS = {
    "plain": ({}, {}, {}),
    "with lengths": ({}, {}, {"lengths": [3, 2]}),
    "peephole": ({"peephole": True}, {}, {}),
    "layer norm": ({"norm": "layer"}, {}, {}),
    "bfloat16": ({"dtype": torch.bfloat16}, {"dtype": torch.bfloat16}, {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_gradients_of_large_weights_use_them(way):
    if way == "bfloat16" and not cpu.native().has_half():
        pytest.skip("is widened, and then trains in float32")
    options, kind, call = WAYS[way]
    module, x = cellgate.LSTM(512, 512, **options), torch.randn(3, 2, 512, **kind)

    def train():
        module.zero_grad(set_to_none=True)
        module(x, **call)[0].square().sum().backward()  # a sum's gradient has no strides, and goes the full way
        return {name: p.grad for name, p in weights_of(module).items()}

    train()
    _, _, before, reused = cpu.native().block_statistics()
    kept = train()
    _, _, fresh, again = cpu.native().block_statistics()
    if way == "bfloat16":  # of two bytes a number: no such block
        assert again == reused
        return
    assert fresh == before
    assert again - reused >= len(kept) == 2
    numbers = {name: grad.clone() for name, grad in kept.items()}
    train()  # into other memory, while these are held
    assert all(torch.equal(kept[name], numbers[name]) for name in numbers)


def test_gradients_in_blocks_do_what_gradients_do():
    torch.manual_seed(0)
    module, twin, x = cellgate.LSTM(512, 512), torch.nn.LSTM(512, 512), torch.randn(3, 2, 512)
    twin.load_state_dict(module.state_dict())
    for model in (module, twin):
        for _ in range(2):  # adds the second to the first, in place
            model(x)[0].sum().backward()
    for name, p in module.named_parameters():
        torch.testing.assert_close(p.grad, twin.get_parameter(name).grad, rtol=1e-4, atol=1e-4)
    again = pickle.loads(pickle.dumps(copy.deepcopy(module.weight_hh_l0.grad)))
    assert torch.equal(again, module.weight_hh_l0.grad)
    numbers = again.clone()
    module.share_memory()  # to train in several processes: gradients go with the weights
    assert module.weight_hh_l0.grad.is_shared()
    assert torch.equal(module.weight_hh_l0.grad, numbers)
    module.zero_grad(set_to_none=False)
    assert not module.weight_hh_l0.grad.any()


def test_a_trace_outlives_its_call():
    module, x = cellgate.LSTM(1, 128), torch.randn(320, 128, 1)
    with torch.no_grad(), cellgate.trace(module) as tape:
        module(x)
    forget = tape["lstm"].layer(0).f.clone()
    with torch.no_grad():
        module.gates(x * 2)
        module(x * 3)
    assert torch.equal(tape["lstm"].layer(0).f, forget)


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"proj_size": 6}])
@pytest.mark.parametrize("shape", [(3, 1, 5), (9, 2, 5), (9, 7, 5), (40, 3, 5)])
def test_without_gradients_one_run_serves_model_and_trace(options, shape, monkeypatch):
    torch.manual_seed(1)
    module, x = cellgate.LSTM(5, 20, **options), torch.randn(*shape)
    with torch.no_grad():
        y, (h, c) = module(x)
        # The recorded run alone must give these bits.
        monkeypatch.setattr(cellgate.LSTM, "forward", lambda *args, **kwargs: pytest.fail("a second run"))
        with cellgate.trace(module) as tape:
            y2, (h2, c2) = module(x)
    assert torch.equal(y, y2)
    assert torch.equal(h, h2)
    assert torch.equal(c, c2)
    assert tape["lstm"].only().distance == 0
