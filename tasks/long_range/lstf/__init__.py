"""Long-sequence time-series forecasting as the CAB paper does it: five series, Informer.

A series is forecast in one channel (`uni`) or in all of them (`multi`), each with the variant in
the encoder (`ns`) or between decoder and encoder (`nc`). `_informer` is what they share.
"""
