"""Attention inside a convolutional network: gates on a feature map."""
