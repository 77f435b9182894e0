"""Models as people build them around nn.LSTM, written from their published descriptions.

Each is a small but whole instance of its architecture, with its loss and a batch of synthetic data; nothing in them
knows of cellgate.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class WordLanguageModel(nn.Module):
    """W. Zaremba, I. Sutskever, O. Vinyals, "Recurrent Neural Network Regularization", 2014: a stack with dropout
    between layers, state carried from batch to batch; the readout shares the embedding's weights (O. Press, L. Wolf,
    "Using the Output Embedding to Improve Language Models", EACL 2017).
    """

    def __init__(self, words: int = 50, size: int = 24, layers: int = 2, dropout: float = 0.3) -> None:
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.embedding = nn.Embedding(words, size)
        self.rnn = nn.LSTM(size, size, layers, dropout=dropout)
        self.readout = nn.Linear(size, words)
        self.readout.weight = self.embedding.weight

    def forward(self, words: Tensor, state=None):
        output, state = self.rnn(self.drop(self.embedding(words)), state)
        return self.readout(self.drop(output)), state

    def initial_state(self, batch: int):
        weight = next(self.parameters())
        zeros = weight.new_zeros(self.rnn.num_layers, batch, self.rnn.hidden_size)
        return zeros, zeros.clone()


def word_language_model_loss(model: WordLanguageModel, text: Tensor) -> Tensor:
    """Truncated backpropagation through time: two segments, the state detached in between."""
    state, losses = model.initial_state(text.shape[1]), []
    for start in (0, 8):
        state = tuple(s.detach() for s in state)
        logits, state = model(text[start : start + 8], state)
        losses.append(F.cross_entropy(logits.flatten(0, 1), text[start + 1 : start + 9].flatten()))
    return sum(losses)


class Tagger(nn.Module):
    """Z. Huang, W. Xu, K. Yu, "Bidirectional LSTM-CRF Models for Sequence Tagging", 2015, without the CRF: sentences of
    different lengths, packed in any order.
    """

    def __init__(self, words: int = 40, tags: int = 5) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 12, padding_idx=0)
        self.lstm = nn.LSTM(12, 10, num_layers=2, batch_first=True, bidirectional=True, dropout=0.2)
        self.readout = nn.Linear(20, tags)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embedding(words), lengths, batch_first=True, enforce_sorted=False)
        output, _ = self.lstm(packed)
        return self.readout(pad_packed_sequence(output, batch_first=True)[0])


def tagger_loss(model: Tagger, batch) -> Tensor:
    words, lengths, tags = batch
    return F.cross_entropy(model(words, lengths).flatten(0, 1), tags.flatten(), ignore_index=-1)


class RecurrentActorCritic(nn.Module):
    """M. Hausknecht, P. Stone, "Deep Recurrent Q-Learning", 2015, in today's actor-critic form: one LSTM under a policy
    and a value head, run step by step because its state is cleared where an episode ends.
    """

    def __init__(self, observation: int = 6, actions: int = 3) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(observation, 16), nn.Tanh())
        self.lstm = nn.LSTM(16, 16)
        for name, parameter in self.lstm.named_parameters():
            if "bias" in name:
                nn.init.zeros_(parameter)
            else:
                nn.init.orthogonal_(parameter, 1.0)
        self.policy, self.value = nn.Linear(16, actions), nn.Linear(16, 1)

    def forward(self, observations: Tensor, begins: Tensor, state):
        outputs = []
        for x, begin in zip(self.encoder(observations), begins, strict=True):
            keep = (1.0 - begin).view(1, -1, 1)
            output, state = self.lstm(x.unsqueeze(0), (keep * state[0], keep * state[1]))
            outputs.append(output)
        hidden = torch.cat(outputs)
        return self.policy(hidden), self.value(hidden).squeeze(-1), state


def actor_critic_loss(model: RecurrentActorCritic, batch) -> Tensor:
    observations, begins, actions, returns = batch
    zeros = observations.new_zeros(1, observations.shape[1], 16)
    logits, values, _ = model(observations, begins, (zeros, zeros))
    policy = torch.distributions.Categorical(logits=logits)
    advantage = (returns - values).detach()
    return -(policy.log_prob(actions) * advantage).mean() + F.mse_loss(values, returns) - 0.01 * policy.entropy().mean()


class Translator(nn.Module):
    """M.-T. Luong, H. Pham, C. D. Manning, "Effective Approaches to Attention-based Neural Machine Translation", EMNLP
    2015: encoder and decoder, global attention with the "general" score, attention fed back into the next input.
    """

    def __init__(self, words: int = 30, size: int = 12) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(words, size), nn.Embedding(words, size)
        self.encoder = nn.LSTM(size, size // 2, bidirectional=True, batch_first=True)
        self.decoder = nn.LSTM(2 * size, size, batch_first=True)
        self.score = nn.Linear(size, size, bias=False)
        self.combine = nn.Linear(2 * size, size)
        self.readout = nn.Linear(size, words)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, (h, c) = self.encoder(self.source(source))
        state = tuple(torch.cat([s[0], s[1]], -1).unsqueeze(0) for s in (h, c))
        fed, logits = memory.new_zeros(len(source), 1, memory.shape[-1]), []
        for word in self.target(target).split(1, dim=1):
            output, state = self.decoder(torch.cat([word, fed], -1), state)
            weights = (self.score(output) @ memory.transpose(1, 2)).softmax(-1)
            fed = torch.tanh(self.combine(torch.cat([weights @ memory, output], -1)))
            logits.append(self.readout(fed))
        return torch.cat(logits, 1)


def translator_loss(model: Translator, batch) -> Tensor:
    source, target = batch
    return F.cross_entropy(model(source, target[:, :-1]).flatten(0, 1), target[:, 1:].flatten())


class LibraryLSTM(nn.LSTM):
    """A library's own nn.LSTM: another form of state, a residual connection, a constructor of its own."""

    def __init__(self, size: int, **options) -> None:
        super().__init__(input_size=size, hidden_size=size, batch_first=True, **options)
        self.scale = nn.Parameter(torch.ones(size))

    def forward(self, input, hx=None):
        hx = None if hx is None else tuple(s.transpose(0, 1).contiguous() for s in hx)
        output, state = super().forward(input, hx)
        return input + self.scale * output, tuple(s.transpose(0, 1) for s in state)


class LibraryModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([LibraryLSTM(8, num_layers=2), LibraryLSTM(8)])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x, state = block(x)
            x, _ = block(x, state)
        return x


class WeightDrop(nn.Module):
    """S. Merity, N. S. Keskar, R. Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018: DropConnect
    on the hidden-to-hidden weights, the classic way: the raw weight is a parameter of the wrapper, and the LSTM gets a
    dropped copy at each call.
    """

    def __init__(self, module: nn.LSTM, dropout: float) -> None:
        super().__init__()
        self.module, self.dropout = module, dropout
        self.raw = nn.Parameter(module.weight_hh_l0.data.clone())
        del module._parameters["weight_hh_l0"]
        self._set()

    def _set(self) -> None:
        self.module.weight_hh_l0 = F.dropout(self.raw, self.dropout, self.training)

    def forward(self, *args):
        self._set()
        return self.module(*args)


class AwdLanguageModel(nn.Module):
    """The same paper's stack of single layers with weight drop, and weight normalisation (T. Salimans, D. P. Kingma,
    2016) by parametrization in the last.
    """

    def __init__(self, words: int = 30, size: int = 12) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, size)
        self.layers = nn.ModuleList([WeightDrop(nn.LSTM(size, size), 0.4), nn.LSTM(size, size)])
        parametrizations.weight_norm(self.layers[1], "weight_hh_l0")
        self.readout = nn.Linear(size, words)

    def forward(self, words: Tensor) -> Tensor:
        x = self.embedding(words)
        for layer in self.layers:
            x, _ = layer(x)
        return self.readout(x)


def next_word_loss(model: nn.Module, text: Tensor) -> Tensor:
    return F.cross_entropy(model(text[:-1]).flatten(0, 1), text[1:].flatten())


class AnyRecurrent(nn.Module):
    """The textbook's model for every kind of recurrent layer, which asks what it holds. A layer that hid its type would
    have c_n taken for h_n here, without an error.
    """

    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM) -> None:
        super().__init__()
        self.rnn = kind(4, 6)
        self.readout = nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        _, hidden = self.rnn(x)
        last = hidden[0][-1] if isinstance(self.rnn, nn.LSTM) else hidden[-1]
        return self.readout(last)


class SineExtrapolator(nn.Module):
    """Two cells stepped by hand in double precision, going on from its own predictions after the data end."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LSTMCell(1, 9), nn.LSTMCell(9, 9)
        self.readout = nn.Linear(9, 1)
        self.double()

    def forward(self, x: Tensor, future: int = 3) -> Tensor:
        zeros = x.new_zeros(len(x), 9)
        one, two, outputs = (zeros, zeros), (zeros, zeros), []
        for step in x.split(1, dim=1):
            one = self.first(step, one)
            two = self.second(one[0], two)
            outputs.append(self.readout(two[0]))
        for _ in range(future):
            one = self.first(outputs[-1], one)
            two = self.second(one[0], two)
            outputs.append(self.readout(two[0]))
        return torch.cat(outputs, 1)


def squared(model: nn.Module, batch) -> Tensor:
    x, y = batch
    return F.mse_loss(model(x), y)


@dataclass
class Case:
    """A model, its data and its loss; how many LSTMs are in it."""

    build: Callable[[], nn.Module]
    batch: Callable[[], object]
    loss: Callable[..., Tensor]
    lstms: int

    def made(self) -> tuple[nn.Module, object]:
        torch.manual_seed(1)
        return self.build(), self.batch()


def _tags():
    lengths = torch.tensor([4, 7, 1, 6])
    inside = torch.arange(7) < lengths.unsqueeze(1)
    return torch.randint(1, 40, (4, 7)) * inside, lengths, torch.where(inside, torch.randint(0, 5, (4, 7)), -1)


def _episodes():
    begins = (torch.rand(9, 4) < 0.25).float()
    return torch.randn(9, 4, 6), begins, torch.randint(0, 3, (9, 4)), torch.randn(9, 4)


def _sines():
    x = torch.sin(torch.arange(10, dtype=torch.float64) / 3 + torch.arange(4, dtype=torch.float64).unsqueeze(1))
    return x, torch.cat([x[:, 1:], x.new_zeros(4, 4)], 1)


CASES = {
    "word language model": Case(
        WordLanguageModel, lambda: torch.randint(0, 50, (17, 4)), word_language_model_loss, lstms=1
    ),
    "tagger": Case(Tagger, _tags, tagger_loss, lstms=1),
    "actor-critic": Case(RecurrentActorCritic, _episodes, actor_critic_loss, lstms=1),
    "translator": Case(
        Translator, lambda: (torch.randint(0, 30, (3, 5)), torch.randint(0, 30, (3, 6))), translator_loss, lstms=2
    ),
    "library subclass": Case(LibraryModel, lambda: (torch.randn(3, 5, 8), torch.randn(3, 5, 8)), squared, lstms=2),
    "awd": Case(AwdLanguageModel, lambda: torch.randint(0, 30, (7, 4)), next_word_loss, lstms=2),
    "any recurrent": Case(AnyRecurrent, lambda: (torch.randn(6, 3, 4), torch.randn(3, 1)), squared, lstms=1),
    "cells": Case(SineExtrapolator, _sines, squared, lstms=2),
}
