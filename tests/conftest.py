"""What every test shares: shapes in signatures are checked, and random cases repeat."""

import sys
from pathlib import Path

import jaxtyping
from hypothesis import settings

# Helpers beside the tests are imported by their own names, wherever pytest is started.
sys.path.insert(0, str(Path(__file__).with_name("helpers")))

# Before anything of these packages is imported: beartype then checks each call's shapes.
jaxtyping.install_import_hook(
    [
        "cab.attention",
        "cab.decoding",
        "cab.backbones",
        "cab.variants",
        "cab.kernels",
        "cab.data.audio",
    ],
    "beartype.beartype",
)

settings.register_profile("cab", deadline=None, derandomize=True, database=None)
settings.load_profile("cab")
