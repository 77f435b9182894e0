"""Every cell and every mask against the oracle: values, states, gates and every gradient."""

from __future__ import annotations

import pytest
import torch
from tests.variants.cases import SHAPES, VARIANTS, assert_close, make, on_backend, on_oracle

import cellgate
from cellgate.equations import PLAIN, LSTMWeights, StepMasks, lstm_step
from cellgate.equations.gated import _step


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_reference_equals_the_papers(variant: str, shape: str) -> None:
    case = make(VARIANTS[variant], SHAPES[shape])
    got, masks = on_backend(case, "reference", gates=True)
    assert_close(got, on_oracle(case, masks, gates=True), 1e-11)


@pytest.mark.parametrize("variant", [v for v, options in VARIANTS.items() if "zoneout" in options])
def test_zoneout_in_evaluation_is_its_expectation(variant: str) -> None:
    case = make(VARIANTS[variant], SHAPES["ragged, reset, two directions"])
    case.module.eval()
    got, masks = on_backend(case, "reference")
    zones = [m for m in (masks[0][0].zone_c, masks[0][0].zone_h) if m is not None]
    assert zones
    assert all(float(m.min()) == float(m.max()) > 0 for m in zones)
    assert masks[0][0].candidate is None
    assert masks[0][0].locked is None
    assert_close(got, on_oracle(case, masks), 1e-11)


def test_family_with_everything_left_out_is_the_lstm() -> None:
    """The step of the family and the step of lstm.py, which stand apart, are one."""
    weights = LSTMWeights(*(torch.randn(s, dtype=torch.float64) for s in ((20, 3), (20, 5), (20,), (20,))))
    a_x, h, c = (torch.randn(4, n, dtype=torch.float64) for n in (20, 5, 5))
    new, memory = _step(PLAIN, weights, a_x, h, c, StepMasks())
    assert all(torch.equal(a, b) for a, b in zip(new, lstm_step(a_x, h, c, weights), strict=True))
    assert torch.equal(memory, new.c)


@pytest.mark.parametrize(
    "variant", ["cifg of Greff", "full gate recurrence", "layer norm, peepholes, zoneout", "slstm"]
)
def test_gradcheck(variant: str) -> None:
    case = make(VARIANTS[variant], {}, sizes=(3, 2, 2, 3))
    names = [name for name, _ in case.module.named_parameters()]
    case.module.eval()
    if variant == "slstm":
        case.c0 = case.c0.abs() + 0.5  # an empty state is a place apart, where there is no derivative

    def run(x, h0, c0, *parameters):
        replaced = dict(zip(names, parameters, strict=True))
        with cellgate.use_backend("reference"):
            output, state = torch.func.functional_call(case.module, replaced, (x, (h0, c0)))
        return output, *state

    leaves = [t.detach().clone().requires_grad_() for t in (case.x, case.h0, case.c0, *case.module.parameters())]
    assert torch.autograd.gradcheck(run, leaves)


def test_slstm_survives_extreme_sums() -> None:
    """Neither an empty state nor sums of any size give NaN, forward or backward."""
    module = cellgate.LSTM(2, 4, cell="slstm")
    for scale in (1.0, 1e3, 1e6):
        x = (torch.randn(5, 3, 2) * scale).requires_grad_()
        output, (h_n, c_n) = module(x)
        gradient = torch.autograd.grad(output.sum() + h_n.sum() + c_n.sum(), x)[0]
        assert output.isfinite().all()
        assert gradient.isfinite().all()
        assert (output.abs() <= 1).all()
