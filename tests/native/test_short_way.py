"""The way of a call through C++: taken where it may be, with the same numbers, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import cellgate
from cellgate.backends import cpu
from cellgate.errors import InputError
from cellgate.nn import call, quick
from cellgate.nn.quick import run_quick

pytestmark = pytest.mark.skipif(
    cpu.tensors() is None, reason="needs the native core and a PyTorch with its DLPack table"
)


def peer(module):
    kwargs = {name: getattr(module, name) for name in ("bias", "batch_first", "bidirectional", "proj_size")}
    other = torch.nn.LSTM(
        module.input_size, module.hidden_size, module.num_layers, dtype=module.weight_ih_l0.dtype, **kwargs
    )
    other.load_state_dict(module.state_dict())
    return other


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["time first", "batch first", "unbatched", "strided", "large"])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"num_layers": 2, "bidirectional": True}, {"proj_size": 5}])
def test_same_numbers_and_same_memory_layout(options, form, dtype):
    torch.manual_seed(0)
    module = cellgate.LSTM(7, 11, batch_first=form == "batch first", dtype=dtype, **options)
    shape = {"unbatched": (6, 7), "large": (300, 32, 7)}.get(form, (6, 4, 7))
    x = torch.randn(*shape, dtype=dtype)
    if form == "strided":
        x = torch.randn(4, 6, 9, dtype=dtype).transpose(0, 1)[..., :7]
    for hx in (None, run_quick(module, x, None)[1]):
        y, (h, c) = run_quick(module, x, hx)
        expected, (h_n, c_n) = peer(module)(x, hx)
        for mine, his in ((y, expected), (h, h_n), (c, c_n)):
            assert torch.allclose(mine, his, atol=2e-6)
            assert mine.stride() == his.stride()
            assert mine.dtype == dtype


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("form", ["time first", "batch first", "unbatched"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 3, "bidirectional": True}, {"num_layers": 2, "proj_size": 5}])
def test_gates_are_those_of_the_full_way(options, form, monkeypatch):
    torch.manual_seed(0)
    module = cellgate.LSTM(7, 11, batch_first=form == "batch first", **options)
    x = torch.randn(6, 7) if form == "unbatched" else torch.randn(6, 4, 7)
    monkeypatch.setattr(call, "prepare", lambda *args, **kwargs: pytest.fail("the full way"))
    y, state, layers = module.gates(x, module(x)[1])
    monkeypatch.undo()
    monkeypatch.setattr(quick, "_run", None)
    expected_y, expected_state, expected = module.gates(x, module(x)[1])
    assert torch.equal(y, expected_y)
    assert torch.equal(state[1], expected_state[1])
    for layer, like in zip(layers, expected, strict=True):
        for mine, his in [(layer, like)] + ([(layer.backward, like.backward)] if module.bidirectional else []):
            for name in "ifgoch":
                assert torch.equal(getattr(mine, name), getattr(his, name)), name


def test_the_results_belong_to_the_caller():
    module = cellgate.LSTM(3, 5)
    x = torch.randn(4, 2, 3)
    first = module(x)
    copies = [first[0].clone(), first[1][0].clone(), first[1][1].clone()]
    module(x + 1)
    assert all(torch.equal(a, b) for a, b in zip((first[0], *first[1]), copies, strict=True))
    first[0].resize_(100)  # ordinary tensors, as nn.LSTM's are


class Subclass(torch.Tensor):
    pass


def _replaced(module):
    del module._parameters["weight_hh_l0"]
    module.weight_hh_l0 = torch.zeros(20, 5)


# Each makes (module, x, hx) something that the short way leaves to the full one.
OTHERS = {
    "subclass": lambda m, x: (m, x.as_subclass(Subclass), None),
    "negated": lambda m, x: (m, torch._neg_view(x), None),
    "state in a list": lambda m, x: (m, x, [torch.zeros(1, 2, 5), torch.zeros(1, 2, 5)]),
    "state with strides": lambda m, x: (m, x, (torch.zeros(1, 5, 2).mT, torch.zeros(1, 2, 5))),
    "features apart": lambda m, x: (m, torch.randn(4, 2, 6)[..., ::2], None),
    "no steps": lambda m, x: (m, x[:0], None),
    "replaced weight": lambda m, x: (_replaced(m) or m, x, None),
    "transposed weight": lambda m, x: (setattr(m.weight_hh_l0, "data", torch.zeros(5, 20).t()) or m, x, None),
    "variant": lambda m, x: (cellgate.LSTM(3, 5, peephole=True), x, None),
    "sizes a layer": lambda m, x: (cellgate.LSTM(3, [5, 4]), x, None),
    "dropout": lambda m, x: (cellgate.LSTM(3, 5, 2, dropout=0.5), x, None),
    "sparse": lambda m, x: (m, x.to_sparse(), None),
    "meta": lambda m, x: (m, x.to("meta"), None),
    "half": lambda m, x: (m, x.half(), None),
    "no tensor": lambda m, x: (m, x.numpy(), None),
}


@pytest.mark.parametrize("which", OTHERS)
def test_what_is_not_plain_is_left_to_the_full_way(which):
    module, x, hx = OTHERS[which](cellgate.LSTM(3, 5), torch.randn(4, 2, 3))
    assert run_quick(module, x, hx) is None


def test_modes_and_other_backends_are_left_to_the_full_way():
    module, x = cellgate.LSTM(3, 5), torch.randn(4, 2, 3)
    assert run_quick(module, x, None) is not None
    with torch.enable_grad():
        assert run_quick(module, x, None) is None
    with torch.autocast("cpu"):
        assert run_quick(module, x, None) is None
    with cellgate.use_backend("aten"):
        assert run_quick(module, x, None) is None
    with cellgate.use_backend("cpu"):
        assert run_quick(module, x, None) is not None
    with torch.overrides.BaseTorchFunctionMode():
        assert run_quick(module, x, None) is None
    with torch.autograd.forward_ad.dual_level():
        assert run_quick(module, x, None) is None
    seen = []
    torch.func.vmap(lambda part: seen.append(run_quick(module, part, None)) or part)(torch.randn(2, 4, 2, 3))
    assert seen == [None]


def test_plain_calls_do_take_the_short_way(monkeypatch):
    module, x = cellgate.LSTM(3, 5, 2), torch.randn(4, 2, 3)
    monkeypatch.setattr(call, "prepare", lambda *args, **kwargs: pytest.fail("the full way"))
    module(x)
    module.eval()(x, module(x)[1])
    with torch.inference_mode():
        assert module(x)[0].is_inference()
    cellgate.convert(torch.nn.LSTM(3, 5))(x)


def test_wrong_sizes_have_the_full_way_s_words():
    module = cellgate.LSTM(3, 5)
    with pytest.raises(InputError, match="expected"):
        module(torch.randn(4, 2, 4))
    with pytest.raises(InputError, match="batch"):
        module(torch.randn(4, 2, 3), (torch.zeros(1, 3, 5), torch.zeros(1, 3, 5)))
    # A weight that became too small: its memory must not be read past the end.
    module.weight_hh_l0.data = module.weight_hh_l0.data[:10]
    with pytest.raises(InputError, match="weight_hh_l0"):
        module(torch.randn(4, 2, 3))


CHANGES = {
    "in place": lambda p: p.mul_(1.5),
    "data in place": lambda p: p.data.mul_(1.5),
    "other data": lambda p: setattr(p, "data", p.data * 1.5),
    "through numpy": lambda p: np.multiply(p.numpy(), 1.5, out=p.numpy()),
    "copy_": lambda p: p.copy_(p * 1.5),
}


@pytest.mark.parametrize("steps", [1, 12])
@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_are_seen_by_the_next_call(change, steps):
    module, x = cellgate.LSTM(8, 16, 2), torch.randn(steps, 3, 8)
    module(x)
    for parameter in module.parameters():
        CHANGES[change](parameter)
        assert torch.allclose(module(x)[0], peer(module)(x)[0], atol=1e-6)


# ---- streams ---------------------------------------------------------------------------------------------------------


def test_plain_steps_do_not_go_through_python(monkeypatch):
    for batch in (None, 1, 4):
        stream = cellgate.LSTM(3, 5).stream(batch=batch)
        monkeypatch.setattr(stream, "_run", lambda *args: pytest.fail("the way through Python"))
        x = torch.randn(3) if batch is None else torch.randn(batch, 3)
        stream.push(x)
        assert isinstance(stream.push(x.numpy()), np.ndarray)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("change", [*CHANGES, "replaced"])
def test_a_stream_follows_weights_after_any_number_of_steps(batch, change):
    if batch > 2 and change in ("data in place", "through numpy"):
        pytest.skip("writes of which PyTorch keeps no record need refresh() with packed weights, as documented")
    module = cellgate.LSTM(4, 6, 2)
    for before in (1, 2):  # the state lies in either of two places
        x = torch.randn(before + 2, batch, 4)
        stream = module.stream(batch=batch)
        for x_t in x[:before]:
            stream.push(x_t)
        state = stream.state
        with torch.no_grad():
            if change == "replaced":
                module.weight_hh_l1 = torch.nn.Parameter(module.weight_hh_l1 * 0.5)
            else:
                CHANGES[change](module.weight_hh_l1)
        expected, _ = peer(module)(x[before:], state)
        for k, x_t in enumerate(x[before:]):
            assert torch.allclose(stream.push(x_t), expected[k], atol=1e-6)


def test_a_stream_refuses_a_weight_that_became_too_small():
    module = cellgate.LSTM(4, 6)
    stream = module.stream()
    stream.push(torch.randn(4))
    module.weight_hh_l0.data = module.weight_hh_l0.data[:12]
    with pytest.raises(InputError, match="weight_hh_l0"):
        stream.push(torch.randn(4))


def test_resets_of_rows_reach_the_present_state():
    module = cellgate.LSTM(4, 6)
    for before in (1, 2):
        stream = module.stream(batch=3)
        for _ in range(before):
            stream.push(torch.randn(3, 4))
        stream.reset(rows=[1])
        x = torch.randn(3, 4)
        assert torch.allclose(stream.push(x)[1], module(x[None, 1:2])[0][0, 0], atol=1e-6)


def test_a_stream_of_weights_made_in_inference_mode():
    with torch.inference_mode():
        module = cellgate.LSTM(4, 6)
        stream = module.stream(batch=3)
        x = torch.randn(3, 4)
        assert torch.allclose(stream.push(x), module(x[None])[0][0], atol=1e-6)
