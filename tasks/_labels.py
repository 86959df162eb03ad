"""Shared parts of tasks with labels at some positions.

Shapes: B examples, N positions, V classes.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from cab.task import IGNORED, Batch, Task


def share(right: Tensor, asked: Tensor) -> Tensor:
    """Return the share of each example's labels that are right: (B, N), (B, N) -> (B,)."""
    return (right & asked).sum(dim=1) / asked.sum(dim=1)


class LabelledTask(Task):
    """targets (B, N) are IGNORED at positions without a label.

    The metric is `accuracy`, the share of an example's labels that are right.
    """

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the network's logits at each position (B, N, V)."""
        return model(batch["inputs"])

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the cross-entropy at the labels."""
        logits = self.logits(model, batch)
        return F.cross_entropy(logits.mT, batch["targets"], ignore_index=IGNORED)

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the share of each example's labels that are right."""
        return {"accuracy": self.score(self.logits(model, batch).argmax(dim=-1), batch)}

    def score(self, answers: Tensor, batch: Batch) -> Tensor:
        """Return the share of each example's labels that answers (B, N) or (B, 1) give: (B,)."""
        targets = batch["targets"]
        return share(answers == targets, targets != IGNORED)
