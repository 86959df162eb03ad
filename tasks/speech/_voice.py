"""A seeded synthetic voice that says ten words, for the tasks without a data set.

A source-filter model of speech (Fant, 1960): a pulse train at the pitch, with some breath, passes
three resonators in cascade (Klatt, 1980) at the formants of the vowel being said. A word is two
vowels, the first gliding into the second; five words are the other five backwards, so that
no word can be recognised without the order of its sounds.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

SAMPLE_RATE = 8_000
FRAME = 40
"""Samples for which the formants stand still: 5 ms."""

FORMANTS = {
    "i": (270.0, 2290.0, 3010.0),
    "e": (530.0, 1840.0, 2480.0),
    "a": (730.0, 1090.0, 2440.0),
    "o": (570.0, 840.0, 2410.0),
    "u": (300.0, 870.0, 2240.0),
}
"""Hertz, the means of the men of Peterson and Barney (1952) in heed, head, hod, hawed, who'd."""
BANDWIDTHS = (60.0, 90.0, 150.0)
"""Hertz, of the three resonators."""
WORDS = ("ai", "ia", "au", "ua", "iu", "ui", "io", "oi", "eu", "ue")

DURATION = 0.4
"""Seconds of a word at tempo 1."""
STEADY = 0.35
"""The share of a word that each of its vowels stands still."""
FADE = 0.02
"""Seconds in which a word swells, and in which it dies away."""


class Speakers(NamedTuple):
    """What makes each speaker's voice, all (S,).

    tract scales the formants, pitch is in hertz, tempo divides durations, breath is the noise's
    standard deviation in units of the pulse train's, tilt the source's pole on the real axis.
    """

    tract: Tensor
    pitch: Tensor
    tempo: Tensor
    breath: Tensor
    tilt: Tensor


def draw_speakers(count: int, generator: torch.Generator) -> Speakers:
    """Draw speakers, from long vocal tracts to short ones and from low voices to high ones."""
    tract, pitch, tempo, breath, tilt = torch.rand(5, count, generator=generator)
    return Speakers(
        tract=0.9 + 0.3 * tract,
        pitch=90 * (240 / 90) ** pitch,
        tempo=0.8 + 0.45 * tempo,
        breath=0.02 * 10**breath,
        tilt=0.5 + 0.4 * tilt,
    )


class Takes(NamedTuple):
    """One saying of a word each, all (R,): the word, the speaker's voice, and how it was said."""

    words: Int[Tensor, " R"]
    voices: Speakers
    samples: Int[Tensor, " R"]
    formant_drift: Float[Tensor, "R 3"]


def draw_takes(words: Tensor, voices: Speakers, generator: torch.Generator) -> Takes:
    """Draw how each word is said: its duration, pitch and formants vary around the speaker's."""
    count = len(words)
    duration = DURATION / voices.tempo * (0.9 + 0.2 * torch.rand(count, generator=generator))
    pitch = voices.pitch * (0.95 + 0.1 * torch.rand(count, generator=generator))
    return Takes(
        words,
        voices._replace(pitch=pitch),
        (duration * SAMPLE_RATE).long(),
        torch.exp(0.03 * torch.randn(count, 3, generator=generator)),
    )


def formant_tracks(takes: Takes) -> Float[Tensor, "R T 3"]:
    """Return the formants in hertz, one row per FRAME samples of the longest take."""
    vowels = torch.tensor([[FORMANTS[vowel] for vowel in word] for word in WORDS])
    first, second = vowels[takes.words].unbind(dim=1)
    middle = FRAME * (torch.arange(math.ceil(int(takes.samples.max()) / FRAME)) + 0.5)
    place = middle / takes.samples[:, None]
    glide = ((place - STEADY) / (1 - 2 * STEADY)).clamp(0, 1)[..., None]
    track = first[:, None].log() * (1 - glide) + second[:, None].log() * glide
    scale = takes.formant_drift * takes.voices.tract[:, None]
    return track.exp() * scale[:, None]


def source(takes: Takes, generator: torch.Generator) -> Float[Tensor, "R L"]:
    """Return the pulse train and the breath, at unit power, silent from each take's end on.

    The pitch falls from 1.1 to 0.9 times the take's, as at the end of a statement.
    """
    longest = int(takes.samples.max())
    place = torch.arange(longest) / takes.samples[:, None]
    pitch = takes.voices.pitch[:, None] * (1.1 - 0.2 * place)
    turns = (pitch / SAMPLE_RATE).cumsum(dim=1).floor().long()
    pulses = turns.diff(dim=1, prepend=torch.zeros_like(turns[:, :1])).float()
    noise = torch.randn(len(takes.words), longest, generator=generator)
    sound = pulses * (SAMPLE_RATE / pitch).sqrt() + takes.voices.breath[:, None] * noise
    left = (takes.samples[:, None] - torch.arange(longest)) / (FADE * SAMPLE_RATE)
    swell = torch.arange(1, longest + 1) / (FADE * SAMPLE_RATE)
    return sound * torch.minimum(swell, left).clamp(0, 1)


def resonate(
    sound: Float[Tensor, "R L"], formants: Float[Tensor, "R T 3"], tilt: Float[Tensor, " R"]
) -> Float[Tensor, "R L"]:
    r"""Pass the source through its tilt and three resonators, one after the other.

    .. math:: y_n = A x_n + B y_{n-1} + C y_{n-2}, \quad A = 1 - B - C,
        \quad B = 2 e^{-\pi b / f_s} \cos(2 \pi F / f_s), \quad C = -e^{-2 \pi b / f_s}

    for a formant F of bandwidth b at the sample rate f_s (Klatt, 1980).
    """
    decay = torch.exp(-math.pi * torch.tensor(BANDWIDTHS) / SAMPLE_RATE)
    near = (2 * decay * torch.cos(2 * math.pi * formants / SAMPLE_RATE)).permute(1, 2, 0)
    far = -decay.square()
    gain = 1 - near - far[:, None]
    tilted = torch.zeros_like(sound[:, 0])
    state = [(torch.zeros_like(tilted), torch.zeros_like(tilted)) for _ in BANDWIDTHS]
    said = []
    for sample, pulse in enumerate(sound.T.contiguous()):
        frame = sample // FRAME
        y = tilted = (1 - tilt) * pulse + tilt * tilted
        for formant, (last, before) in enumerate(state):
            y = gain[frame, formant] * y + near[frame, formant] * last + far[formant] * before
            state[formant] = (y, last)
        said.append(y)
    return torch.stack(said, dim=1)


def say(takes: Takes, generator: torch.Generator) -> Float[Tensor, "R L"]:
    """Return waveforms of equal loudness, zero after each take's own samples."""
    sound = resonate(source(takes, generator), formant_tracks(takes), takes.voices.tilt)
    sound = sound * (torch.arange(sound.shape[1]) < takes.samples[:, None])
    power = sound.square().sum(dim=1, keepdim=True) / takes.samples[:, None]
    return 0.1 * sound / power.sqrt()
