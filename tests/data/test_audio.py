"""Mel features, against a filter bank computed by hand."""

import math

import numpy as np
import torch

from cab.data.audio import log_mel, mel_filters


def hertz_to_mel(frequency: float) -> float:
    return 2595 * math.log10(1 + frequency / 700)


def mel_to_hertz(mel: float) -> float:
    return 700 * (10 ** (mel / 2595) - 1)


def filters_by_hand(bands: int, bins: int, sample_rate: int) -> np.ndarray:
    top = hertz_to_mel(sample_rate / 2)
    edges = [mel_to_hertz(top * i / (bands + 1)) for i in range(bands + 2)]
    bank = np.zeros((bands, bins))
    for band in range(bands):
        low, peak, high = edges[band : band + 3]
        for column in range(bins):
            frequency = column * sample_rate / 2 / (bins - 1)
            if low <= frequency <= peak:
                bank[band, column] = (frequency - low) / (peak - low)
            elif peak < frequency <= high:
                bank[band, column] = (high - frequency) / (high - peak)
    return bank


def test_mel_filters_equal_a_bank_computed_by_hand():
    for bands, bins, rate in ((40, 129, 8000), (7, 65, 16000)):
        by_hand = filters_by_hand(bands, bins, rate)
        assert np.abs(mel_filters(bands, bins, rate).numpy() - by_hand).max() < 1e-6


def test_log_mel_equals_a_discrete_fourier_transform_written_out():
    rate, window, hop, bands = 8000, 64, 20, 9
    wave = torch.randn(211, generator=torch.Generator().manual_seed(3)) * 0.1
    padded = np.pad(wave.numpy().astype(np.float64), window // 2)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    bank = filters_by_hand(bands, window // 2 + 1, rate)
    expected = []
    for start in range(0, len(padded) - window + 1, hop):
        spectrum = np.fft.rfft(padded[start : start + window] * hann)
        expected.append(np.log(bank @ (np.abs(spectrum) ** 2) + 1e-6))
    found = log_mel(wave, sample_rate=rate, bands=bands, window=window, hop=hop)
    assert found.shape == (1 + 211 // hop, bands)
    assert np.abs(found.numpy() - np.array(expected)).max() < 1e-3


def test_a_pure_tone_is_loudest_in_the_band_around_its_frequency():
    rate = 8000
    for frequency in (300.0, 1000.0, 2500.0):
        tone = torch.sin(2 * math.pi * frequency * torch.arange(4000) / rate)
        loudest = int(log_mel(tone, sample_rate=rate)[20].argmax())
        top = hertz_to_mel(rate / 2)
        centre = mel_to_hertz(top * (loudest + 1) / 41)
        assert abs(hertz_to_mel(centre) - hertz_to_mel(frequency)) <= top / 41


def test_padding_a_waveform_with_silence_changes_no_frame_of_its_own():
    wave = torch.randn(1, 1000, generator=torch.Generator().manual_seed(5))
    alone = log_mel(wave, sample_rate=8000)
    padded = log_mel(torch.nn.functional.pad(wave, (0, 700)), sample_rate=8000)
    assert torch.allclose(padded[:, : alone.shape[1]], alone, atol=1e-4)
