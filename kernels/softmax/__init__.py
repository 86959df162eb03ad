"""Softmax attention: causal in both alignments, windowed, rectangular, with grouped heads."""
