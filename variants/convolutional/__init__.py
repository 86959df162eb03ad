"""Token mixers without attention: convolutions, pooling and spectra."""
