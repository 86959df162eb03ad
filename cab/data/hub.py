"""Fetching from the Hugging Face hub, with its own client: the published files as they are."""

import dataclasses
import os
import shutil
from pathlib import Path

from cab.data import HubSet, inspect, locate
from cab.errors import CabError

TIMEOUT = 20.0
"""Seconds until a hub that does not answer counts as out of reach."""


def fetch_parts(data_set: HubSet, directory: Path, endpoint: str | None = None) -> str:
    """Download a published set's parts, check their form, put them in place; say what was done.

    What has come stays in the folder NAME.part when a download is cut, and the next call goes on
    from it. Files of the user's are never replaced. endpoint is another address than the hub's
    (also HF_ENDPOINT).

    Raises:
        CabError: the set is not on a hub, the hub cannot be reached, or what came is not the set.
    """
    folder = directory / data_set.folder
    scratch = folder / f"{data_set.name}.part"
    if not data_set.hub:
        raise CabError(
            f"Data set {data_set.name} is on no hub. Bring it from {data_set.address} and put "
            f"{', '.join(part.files for part in data_set.parts.values())} into {folder}."
        )
    for path in locate(data_set, directory):
        raise CabError(
            f"{folder} holds a part of data set {data_set.name} ({path.name}), not all of it. "
            f"Nothing was changed; move it away and fetch again, or bring the rest by hand."
        )
    _download(data_set, scratch, endpoint)
    came = dataclasses.replace(data_set, folder=f"{data_set.folder}/{scratch.name}")
    state, sentence = inspect(came, directory)
    if state != "verified":
        raise CabError(
            f"What the hub sent for {data_set.hub} at {data_set.revision} cannot be used, and is "
            f"left in {scratch}. {sentence}"
        )
    for path in locate(came, directory):
        target = folder / path.relative_to(scratch)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
    shutil.rmtree(scratch)
    return f"Data set {data_set.name} was fetched to {folder}. {inspect(data_set, directory)[1]}"


def _download(data_set: HubSet, scratch: Path, endpoint: str | None) -> None:
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        raise _unreachable(data_set, scratch, "HF_HUB_OFFLINE is set")
    import huggingface_hub
    from huggingface_hub import errors

    # What the client's transport raises; which library that is changes with its version.
    cut_off: type[Exception] = vars(errors)["HTTPError"]

    try:
        # One question that is not repeated: a machine without a network is told so at once.
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
        f"What came so far is kept in {scratch}; run the same command again where there is a "
        f"network, or copy {', '.join(part.files for part in data_set.parts.values())} into "
        f"{scratch.parent} by hand."
    )
