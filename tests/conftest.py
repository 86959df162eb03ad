"""What every test shares: shapes in signatures are checked, and random cases repeat."""

import jaxtyping
from hypothesis import settings

# Before anything of these packages is imported: beartype then checks each call's shapes.
jaxtyping.install_import_hook(
    ["cab.attention", "cab.backbones", "cab.variants", "cab.kernels", "cab.audio"],
    "beartype.beartype",
)

settings.register_profile("cab", deadline=None, derandomize=True, database=None)
settings.load_profile("cab")
