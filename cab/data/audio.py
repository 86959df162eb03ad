"""Mel features of speech, from torch.stft."""

import functools

import torch
from jaxtyping import Float
from torch import Tensor


@functools.cache
def mel_filters(bands: int, bins: int, sample_rate: int) -> Float[Tensor, "bands bins"]:
    """Return triangular filters of height 1, evenly spaced in mel from 0 Hz to half the rate.

    The scale is m = 2595 log10(1 + f / 700) (O'Shaughnessy, 1987); `bins` are the one-sided
    frequencies of a Fourier transform.
    """
    highest = 2595 * torch.log10(torch.tensor(1 + sample_rate / 2 / 700, dtype=torch.float64))
    edges = 700 * (
        10 ** (torch.linspace(0, 1, bands + 2, dtype=torch.float64) * highest / 2595) - 1
    )
    frequency = torch.linspace(0, sample_rate / 2, bins, dtype=torch.float64)
    low, peak, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rise, fall = (frequency - low) / (peak - low), (high - frequency) / (high - peak)
    return torch.minimum(rise, fall).clamp(min=0).float()


def log_mel(
    waveform: Float[Tensor, "*batch samples"],
    *,
    sample_rate: int,
    bands: int = 40,
    window: int = 256,
    hop: int = 100,
) -> Float[Tensor, "*batch frames bands"]:
    """Return the logarithm of the mel power spectrum; window and hop are in samples.

    The waveform is in [-1, 1]. The 1 + samples // hop frames are centred on multiples of the hop.
    Beyond its ends a waveform is silent, so that padding with zeros changes no frame.
    """
    spectrum = torch.stft(
        waveform,
        window,
        hop,
        window=torch.hann_window(window),
        pad_mode="constant",
        return_complex=True,
    )
    power = spectrum.abs().square()
    return torch.log(mel_filters(bands, window // 2 + 1, sample_rate) @ power + 1e-6).mT
