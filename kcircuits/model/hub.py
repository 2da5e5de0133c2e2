"""Models by their Hugging Face name, from the cache that Hugging Face's libraries share."""

from __future__ import annotations

import re
from pathlib import Path

from kcircuits.errors import KCircuitsError
from kcircuits.model.huggingface import first_line

_NAME = re.compile(r"(?P<repo>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[\w./-]+))?")
_SNAPSHOT = re.compile(r"models--(?P<repo>.+)/snapshots/[^/]+/?")


def hub_name(source: str | Path) -> str | None:
    """The source as a Hugging Face name, `org/model` or `model`, optional `@revision`; None for a path.

    An existing path always counts as a path.

    Examples
    --------
    >>> hub_name("EleutherAI/pythia-70m@step3000")
    'EleutherAI/pythia-70m@step3000'
    >>> hub_name("./models/pythia") is None
    True
    """
    text = str(source)
    if not isinstance(source, str) or Path(source).expanduser().exists() or text.endswith(".gguf"):
        return None
    return text if _NAME.fullmatch(text) and not text.startswith(".") else None


def cached_snapshot(name: str) -> Path:
    """The folder of a model in Hugging Face's cache.

    `huggingface_hub` determines the place of the cache (`HF_HUB_CACHE`, `HF_HOME`). Nothing is downloaded.

    Raises
    ------
    KCircuitsError
        If the cache does not have this model or revision; the message says how to get it.
    """
    found = _NAME.fullmatch(name)
    assert found is not None, name
    repo, revision = found["repo"], found["revision"]
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(repo, revision=revision, local_files_only=True))
    except HFValidationError as error:
        raise KCircuitsError(f"{name!r} is neither a path nor a model name: {first_line(error)}") from error
    except OSError as error:  # the library raises OSErrors for a missing model or revision
        wanted = f"{repo} --revision {revision}" if revision else repo
        raise KCircuitsError(
            f"model {name!r} does not exist: there is no such path, and Hugging Face's cache "
            f"({constants.HF_HUB_CACHE}) does not have it (nothing is downloaded). Get it with: "
            f"hf download {wanted}. Or give a Hugging Face folder, a .gguf file, or demo"
        ) from error


def name_of_folder(folder: Path) -> str:
    """The name of a model in a folder: the model's name in Hugging Face's cache, else the folder's.

    Examples
    --------
    >>> name_of_folder(Path("/cache/models--EleutherAI--pythia-70m/snapshots/a39f36b100fe8a53"))
    'EleutherAI/pythia-70m'
    """
    text = folder.as_posix()
    found = _SNAPSHOT.search(text)
    return found["repo"].replace("--", "/") if found and found.end() == len(text) else folder.name
