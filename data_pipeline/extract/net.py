"""Train the convolutional network that judges the blocks of a page in their order; `train.py` calls it. Needs torch.

The forests judge each block by numbers about it and its surroundings, one at a time. This network sees the same numbers
of all blocks of a page at once. It has three hundred inputs and four residual layers over 3 blocks with gaps of 1, 2, 4
and 8 (as WaveNet, van den Oord et al. 2016), each also told the mean and the maximum over the page.

What annotators take is often all or nothing: the products of a list, the answers below a question, the footnotes. So
the network gives several readings of a page, each with a score for every block, and a gate with the chance of each
reading (a mixture of experts that chooses once a page; Jacobs, Jordan, Nowlan and Hinton 1991). Training maximises the
likelihood of a page's labels under the mixture, so that no reading has to average over both, and a little of the soft
F1 of the page's words; a block's score is the log-odds of its chance over all readings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from data_pipeline.extract.reference.net import squash
from millbase.log import get_logger

logger = get_logger(__name__)

SETTINGS: dict[str, Any] = {
    "width": 32, "gaps": [1, 2, 4, 8], "readings": 4, "evidence": 24.0, "soft_f1": 0.25, "passes": 12,
    "learning_rate": 2e-3, "weight_decay": 0.02, "dropout": 0.3, "blocks_per_window": 700, "blocks_per_batch": 4000,
    "pages_per_batch": 24, "seed": 0,
}  # fmt: skip
"""In choosing a reading the labels of a page count as `evidence` independent ones: its blocks are far from that."""
Floats = NDArray[np.float32]


@dataclass
class NetPage:
    """A page to train on."""

    features: Floats
    """[blocks, inputs], made by models that have not seen the page."""
    words: Floats
    """[blocks]"""
    label: Floats
    """[blocks], 1 for main text."""
    weight: float
    """What the page counts."""


def train_net(pages: list[NetPage]) -> dict[str, Any]:
    """The arrays of a network, `net_...`, trained on `pages`; the same on every run of a machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    state = torch.get_rng_state()
    torch.manual_seed(SETTINGS["seed"])
    try:
        squashed = squash(np.concatenate([page.features[::3] for page in pages]))
        mean, scale = squashed.mean(0), (1 / (squashed.std(0) + 1e-3)).astype(np.float32)
        rows = [np.clip((squash(page.features) - mean) * scale, -4, 4) for page in pages]
        net = _fit([torch.from_numpy(x) for x in rows], pages)
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(state)
    return {"net_mean": mean, "net_scale": scale, **net.arrays()}


class _Net(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        width, gaps = SETTINGS["width"], SETTINGS["gaps"]
        self.input, self.dropout = nn.Linear(inputs, width), nn.Dropout(SETTINGS["dropout"])
        self.conv = nn.ModuleList(nn.Conv1d(width, width, 3, padding=gap, dilation=gap) for gap in gaps)
        self.norm = nn.ModuleList(nn.LayerNorm(width) for _ in gaps)
        self.page = nn.ModuleList(nn.Linear(2 * width, width) for _ in gaps)
        self.common, self.output = nn.Linear(width, 1), nn.Linear(width, SETTINGS["readings"])
        self.gate = nn.Linear(2 * width, SETTINGS["readings"])
        with torch.no_grad():  # readings start apart, from strict to generous, and little different otherwise
            self.output.bias.copy_(torch.linspace(-1, 1, SETTINGS["readings"]))
            self.output.weight.mul_(0.3)

    def forward(self, x: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """[pages, blocks, inputs], [pages, blocks] (1: a block, 0: none) -> scores, log-chances of the readings.

        Scores are [pages, blocks, readings], the logarithms of chances [pages, readings].
        """
        mask = there[..., None]
        h = torch.relu(self.input(self.dropout(x))) * mask
        for conv, norm, page in zip(self.conv, self.norm, self.page, strict=True):
            z = conv(h.transpose(1, 2)).transpose(1, 2) + page(_summary(h, mask))[:, None]
            h = (h + self.dropout(torch.relu(norm(z)))) * mask
        return self.common(h) + self.output(h), torch.log_softmax(self.gate(_summary(h, mask)), -1)

    def arrays(self) -> dict[str, Any]:
        """As the extension reads them: weights [.., from, to], in half precision."""
        layers = [dict(conv.named_parameters()) for conv in self.conv]
        page = [dict(linear.named_parameters()) for linear in self.page]
        norm = [dict(layer.named_parameters()) for layer in self.norm]
        found = {
            "input": self.input.weight.T, "input_bias": self.input.bias,
            "conv": torch.stack([layer["weight"].permute(2, 1, 0) for layer in layers]),
            "page": torch.stack([layer["weight"].T for layer in page]),
            "bias": torch.stack([a["bias"] + b["bias"] for a, b in zip(layers, page, strict=True)]),
            "gain": torch.stack([layer["weight"] for layer in norm]),
            "shift": torch.stack([layer["bias"] for layer in norm]),
            "output": (self.common.weight + self.output.weight).T, "output_bias": self.common.bias + self.output.bias,
            "gate": self.gate.weight.T, "gate_bias": self.gate.bias,
        }  # fmt: skip
        halves = {name: value.detach().numpy().astype(np.float16) for name, value in found.items()}
        return {**{f"net_{name}": value for name, value in halves.items()}, "net_gaps": np.array(SETTINGS["gaps"])}


def _summary(h: Tensor, mask: Tensor) -> Tensor:
    """Means and maxima over the blocks that are there."""
    return torch.cat([(h * mask).sum(1) / mask.sum(1), (h - 1e4 * (1 - mask)).amax(1)], -1)


def _fit(rows: list[Tensor], pages: list[NetPage]) -> _Net:
    random = np.random.default_rng(SETTINGS["seed"])
    net = _Net(rows[0].shape[1])
    rate = SETTINGS["learning_rate"]
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=SETTINGS["weight_decay"])
    steps = SETTINGS["passes"] * len(_batches(pages, random))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 50)  # batches vary a little
    net.train()
    for number in range(SETTINGS["passes"]):
        total = 0.0
        for batch in _batches(pages, random):
            loss = _loss(net, batch, rows, pages, random)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            if schedule.last_epoch < schedule.total_steps:
                schedule.step()
            total += loss.item()
        logger.info("network, pass %d of %d: loss %.4f", number + 1, SETTINGS["passes"], total)
    return net


def _batches(pages: list[NetPage], random: np.random.Generator) -> list[list[int]]:
    """Pages of similar length together, in any order."""
    size = [len(page.words) + random.random() * 30 for page in pages]
    batches: list[list[int]] = [[]]
    for i in sorted(range(len(pages)), key=lambda i: size[i]):
        batches[-1].append(i)
        blocks = len(batches[-1]) * min(len(pages[i].words), SETTINGS["blocks_per_window"])
        if blocks > SETTINGS["blocks_per_batch"] or len(batches[-1]) >= SETTINGS["pages_per_batch"]:
            batches.append([])
    batches = [batch for batch in batches if batch]
    return [batches[k] for k in random.permutation(len(batches))]


def _loss(net: _Net, batch: list[int], rows: list[Tensor], pages: list[NetPage], random: np.random.Generator) -> Tensor:
    x, label, words, there = _padded(batch, rows, pages, random)
    scores, chances = net(x, there)
    sized = (words + 1) ** 0.75 * there
    sized = sized / sized.sum(1, keepdim=True)
    labels = label[..., None].expand_as(scores)
    entropy = (functional.binary_cross_entropy_with_logits(scores, labels, reduction="none") * sized[..., None]).sum(1)
    likelihood = torch.logsumexp(chances - SETTINGS["evidence"] * entropy, -1) / SETTINGS["evidence"]
    taken = (torch.sigmoid(scores) * chances.exp()[:, None]).sum(-1) * there * words
    soft_f1 = 2 * (taken * label).sum(1) / (taken.sum(1) + (words * label).sum(1) + 1)
    gain = likelihood + SETTINGS["soft_f1"] * (soft_f1 - 1)
    return -(gain * torch.tensor([pages[i].weight for i in batch])).mean()


def _padded(
    batch: list[int], rows: list[Tensor], pages: list[NetPage], random: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features, labels, words and whether there is a block; of long pages a window."""
    limit = SETTINGS["blocks_per_window"]
    count = [len(rows[i]) for i in batch]
    start = [int(random.integers(0, n - limit)) if n > limit else 0 for n in count]
    most = min(max(count), limit)
    x = torch.zeros(len(batch), most, rows[0].shape[1])
    label, words, there = (torch.zeros(len(batch), most) for _ in range(3))
    for k, i in enumerate(batch):
        window = slice(start[k], start[k] + limit)
        size = min(count[k], limit)
        x[k, :size] = rows[i][window]
        label[k, :size] = torch.from_numpy(pages[i].label[window])
        words[k, :size] = torch.from_numpy(pages[i].words[window])
        there[k, :size] = 1
    return x, label, words, there
