"""Our AdamW is PyTorch's, without the wait for TorchDynamo."""

import copy
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

import cellgate
from cellgate.training.adamw import AdamW


def test_it_is_pytorchs_to_the_last_bit():
    torch.manual_seed(0)
    ours = nn.Linear(5, 3)
    theirs = copy.deepcopy(ours)

    def groups(model):
        return [{"params": [model.weight], "weight_decay": 0.1}, {"params": [model.bias], "weight_decay": 0.0}]

    mine, other = AdamW(groups(ours), lr=0.01), torch.optim.AdamW(groups(theirs), lr=0.01, fused=True)
    for k in range(20):
        x = torch.randn(7, 5)
        for model, optimizer in ((ours, mine), (theirs, other)):
            model.zero_grad()
            (model(x) ** 2).sum().backward()
            optimizer.step()
            optimizer.param_groups[0]["lr"] = 0.01 / (k + 1)
        assert torch.equal(ours.weight, theirs.weight)
        assert torch.equal(ours.bias, theirs.bias)
    again = AdamW(groups(copy.deepcopy(ours)), lr=0.01)
    again.load_state_dict(mine.state_dict())
    for index, state in other.state_dict()["state"].items():
        for name, value in state.items():
            assert torch.equal(again.state_dict()["state"][index][name], value)


def test_a_training_with_checkpoints_imports_no_torchdynamo(tmp_path):
    source = str(Path(cellgate.__file__).parents[1])
    code = (
        f"import sys; sys.path.insert(0, {source!r})\nimport cellgate\n"
        "forecaster = cellgate.Forecaster(3, max_epochs=2)\n"
        f"forecaster.fit('airline', checkpoint={str(tmp_path)!r}, checkpoint_every=0).predict()\n"
        "print([m for m in sys.modules if m.startswith(('torch._dynamo', 'torch._inductor'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
