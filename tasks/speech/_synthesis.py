"""Shared parts of the text-to-speech tasks: the voice, and how speech is compared."""

import torch
from torch import Tensor

from cab.task import Batch, Split, Task
from cab.tasks.speech._distortion import cepstra, distortion
from cab.tasks.speech._utterances import draw_utterances, moments


class Synthesis(Task):
    """Speech from symbols, compared as in CAB's text-to-speech task, without a vocoder.

    The CAB paper compares the synthesised and the recorded waveform by features computed from
    both; here the log mel frames are compared directly, so that no vocoder adds noise.
    """

    @property
    def moments(self) -> Tensor:
        """Means and standard deviations of the log mel bands in training: (2, bands)."""
        return moments().frames

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Draw utterances of the synthetic voice."""
        return draw_utterances(self.recipe.data, split, count, generator)

    def compare(self, said: Tensor, lengths: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the mel cepstral and spectral distortion of standardised frames (B, T, bands)."""
        mean, deviation = self.moments.to(said)
        pair = [frames * deviation + mean for frames in (said, batch["targets"])]

        def distance(ours: Tensor, true: Tensor) -> Tensor:
            return distortion(ours, lengths, true, batch["lengths"])

        return {"mcd": distance(*map(cepstra, pair)), "msd": distance(*pair)}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cepstral distortion of the training recordings' mean frame, as often."""
        silent = torch.zeros_like(batch["targets"])
        return {"mean frame": self.compare(silent, batch["lengths"], batch)["mcd"]}

    def tokens(self, batch: Batch) -> int:
        """Count the frames."""
        return int(batch["lengths"].sum())
