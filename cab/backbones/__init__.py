"""Networks with attention slots: plain PyTorch, one file each, the same for every variant."""
