"""Data sets: their sources, verification and loading.

`sets` defines a data set: read it first. `catalogue` lists them, `fetch` downloads them,
`inspection` verifies files before use, `loading` reads them. The folder of data sets is
`--data-dir`, otherwise `CAB_DATA`, otherwise the user's cache.
"""

from cab.data.catalogue import DATA_SETS, VERBATIM, get_data_set
from cab.data.inspection import State, inspect, require
from cab.data.loading import (
    decode_audio,
    decode_image,
    load_part,
    load_recordings,
    load_table,
    load_text,
)
from cab.data.sets import (
    DataSet,
    HubSet,
    Part,
    checksum,
    data_directory,
    locate,
    locate_part,
)
from cab.data.splitting import divide, keep_apart

__all__ = [
    "DATA_SETS",
    "VERBATIM",
    "DataSet",
    "HubSet",
    "Part",
    "State",
    "checksum",
    "data_directory",
    "decode_audio",
    "decode_image",
    "divide",
    "get_data_set",
    "inspect",
    "keep_apart",
    "load_part",
    "load_recordings",
    "load_table",
    "load_text",
    "locate",
    "locate_part",
    "require",
]
