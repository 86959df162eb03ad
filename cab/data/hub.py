"""Download the published files from the Hugging Face hub, with its own client."""

import dataclasses
import os
import shutil
from pathlib import Path

from cab.data import HubSet, inspect, locate
from cab.errors import CabError

TIMEOUT = 20.0
"""Seconds without an answer after which the hub counts as unreachable."""


def fetch_parts(data_set: HubSet, directory: Path, endpoint: str | None = None) -> str:
    """Download the parts of a published set, verify them and move them to their place.

    An interrupted download leaves the folder NAME.part, and the next call resumes it. Files of the
    user are never replaced.

    Args:
        data_set: the set.
        directory: the data directory.
        endpoint: another address than the hub's (also HF_ENDPOINT).

    Returns:
        A message that says what was done.

    Raises:
        CabError: the set is not on the hub, the hub cannot be reached, or the files are wrong.
    """
    folder = directory / data_set.folder
    scratch = folder / f"{data_set.name}.part"
    if not data_set.hub:
        raise CabError(
            f"Data set {data_set.name} is not on the Hugging Face hub. Download it from "
            f"{data_set.address} and put "
            f"{', '.join(part.files for part in data_set.parts.values())} into {folder}."
        )
    for path in locate(data_set, directory):
        raise CabError(
            f"{folder} holds only a part of data set {data_set.name} ({path.name}). Move it away "
            f"and run `cab data fetch {data_set.name}`, or add the missing files by hand."
        )
    _download(data_set, scratch, endpoint)
    came = dataclasses.replace(data_set, folder=f"{data_set.folder}/{scratch.name}")
    state, sentence = inspect(came, directory)
    if state != "verified":
        raise CabError(
            f"The download of {data_set.hub} at {data_set.revision} cannot be used; it is kept in "
            f"{scratch}. {sentence}"
        )
    for path in locate(came, directory):
        target = folder / path.relative_to(scratch)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
    shutil.rmtree(scratch)
    return (
        f"Data set {data_set.name} was downloaded to {folder}. {inspect(data_set, directory)[1]}"
    )


def _download(data_set: HubSet, scratch: Path, endpoint: str | None) -> None:
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        raise _unreachable(data_set, scratch, "HF_HUB_OFFLINE is set")
    import huggingface_hub
    from huggingface_hub import errors

    # The error of the client's transport, whose library depends on the client's version.
    cut_off: type[Exception] = vars(errors)["HTTPError"]

    try:
        # A single request without retries, so that a machine without a network fails at once.
        huggingface_hub.HfApi(endpoint).dataset_info(
            data_set.hub, revision=data_set.revision, timeout=TIMEOUT
        )
        huggingface_hub.snapshot_download(
            data_set.hub,
            repo_type="dataset",
            revision=data_set.revision,
            allow_patterns=[part.files for part in data_set.parts.values()],
            local_dir=scratch,
            endpoint=endpoint,
        )
    except errors.HfHubHTTPError as error:
        raise CabError(
            f"The hub refuses data set {data_set.hub} at {data_set.revision}: "
            f"{str(error).splitlines()[0]}"
        ) from None
    except (OSError, cut_off) as error:
        raise _unreachable(data_set, scratch, str(error).splitlines()[0]) from None


def _unreachable(data_set: HubSet, scratch: Path, reason: str) -> CabError:
    return CabError(
        f"The hub of data set {data_set.name} ({data_set.origin}) cannot be reached ({reason}). "
        f"Rerun the command with a network connection to resume the download in {scratch}, or "
        f"copy {', '.join(part.files for part in data_set.parts.values())} into {scratch.parent} "
        f"by hand."
    )
