"""Checkpoints by name: the Hugging Face hub, torchvision's and OpenMMLab's models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from initium.checkpoint.sources.fetch import Options
from initium.checkpoint.sources.hashes import read_note
from initium.errors import InitError, InitFileNotFoundError, did_you_mean

_HUB = re.compile(r"hf://([^/@]+/[^/@]+)(?:@([^/]+))?/(.+)", re.IGNORECASE)


def hugging_face(url: str, options: Options) -> Path:
    """A file of `hf://owner/repo[@revision]/path/file`, in the hub's own cache.

    A revision with a slash is written with `%2F`.

    Raises:
        InitFileNotFoundError: the repository has no such file.
        InitError: another form, no package huggingface_hub, or whatever the hub says.
    """
    parts = _HUB.fullmatch(url)
    if parts is None:
        raise InitError(
            f"a file on the hub is hf://owner/repo/file or hf://owner/repo@revision/file, but got {url}"
        )
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise InitError(f"{url} needs huggingface_hub: pip install huggingface_hub") from None
    repo, revision, name = parts[1], unquote(parts[2] or "") or None, unquote(parts[3])
    offline = options.is_offline
    try:
        return Path(hf_hub_download(repo, name, revision=revision, local_files_only=offline))
    except Exception as error:  # the hub's own, those of its HTTP library, and OSErrors
        raise _hub_error(url, error, offline) from error


def _hub_error(url: str, error: Exception, offline: bool) -> InitError:
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError) and offline:
        return InitError(
            f"{url} is not in the hub's cache, and is not downloaded: offline is asked for"
        )
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(
        error, errors.LocalEntryNotFoundError
    ):
        return InitFileNotFoundError(f"there is no checkpoint file {url} on the hub")
    reasons: dict[type[Exception], str] = {
        errors.GatedRepoError: "it is gated: ask for access on its page, then log in (hf auth login)",
        errors.RepositoryNotFoundError: "there is no such repository, or it is private: log in (hf auth login)",
        errors.RevisionNotFoundError: "the repository has no such revision",
    }
    told = next((text for kind, text in reasons.items() if isinstance(error, kind)), None)
    return InitError(f"cannot fetch {url}: {told or _first_line(error)}")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def torchvision(url: str, options: Options) -> str:  # noqa: ARG001 (a source takes two)
    """The URL of torchvision's weights by name; `modelzoo://` is an old name of the scheme.

    `resnet50` is IMAGENET1K_V1 where there is one (as in MMEngine), `resnet50.IMAGENET1K_V2` and
    `ResNet50_Weights.IMAGENET1K_V1` are these very weights. The names of torchvision 0.12 are
    looked up in MMEngine, where that is installed.

    Raises:
        InitError: an unknown name, or torchvision is not installed.
    """
    name = url.partition("://")[2]
    old = _mmengine("torchvision_0.12.json")
    try:
        from torchvision import models
    except ImportError:
        if name in old:
            return old[name]
        raise InitError(f"{url} needs torchvision: pip install torchvision") from None
    known = list(models.list_models())
    weights = _weights(models, name, known)
    if weights is None and name not in old:
        near = did_you_mean(name.split(".")[0], [*known, *old])
        raise InitError(
            f"torchvision has no weights {name!r}.{near} A name is resnet50, or resnet50.IMAGENET1K_V2"
        )
    return old[name] if weights is None else str(weights.url)


def _weights(models: Any, name: str, known: list[str]) -> Any:
    """The weights of a model by name, or None if there is no such model."""
    model, _, version = name.partition(".")
    if "Weights" in model:
        try:
            return models.get_weight(name)
        except (ValueError, AttributeError, KeyError):
            return None
    if model.lower() not in known:
        return None
    members: Mapping[str, Any] = models.get_model_weights(model.lower()).__members__
    if not version:
        return members.get("IMAGENET1K_V1") or next(iter(members.values()), None)
    if version.upper() not in members:
        raise InitError(
            f"torchvision has no weights {version!r} of {model}."
            f"{did_you_mean(version.upper(), members)} It has: {', '.join(members)}"
        )
    return members[version.upper()]


def open_mmlab(url: str, options: Options) -> str:  # noqa: ARG001 (a source takes two)
    """The URL of a model of OpenMMLab by name, from the list in the package mmengine.

    Raises:
        InitError: an unknown name, or mmengine is not installed.
    """
    return _listed(url, "openmmlab.json", renamed=_mmengine("deprecated.json"))


def mmcls(url: str, options: Options) -> str:  # noqa: ARG001 (a source takes two)
    """The URL of a model of MMClassification by name, from the list in the package mmengine.

    The tensors of its backbone have keys that start with `backbone.`.

    Raises:
        InitError: an unknown name, or mmengine is not installed.
    """
    return _listed(url, "mmcls.json", renamed={})


def _listed(url: str, file: str, renamed: Mapping[str, str]) -> str:
    scheme, _, name = url.partition("://")
    known = _mmengine(file)
    if not known:
        raise InitError(f"{url} needs the list of models in mmengine: pip install mmengine")
    now = renamed.get(name, name)
    if now not in known:
        raise InitError(
            f"there is no model {name!r} in {scheme}://.{did_you_mean(name, [*known, *renamed])} "
            f"The names are in mmengine/hub/{file}"
        )
    return known[now]


def _mmengine(file: str) -> dict[str, str]:
    """A list of mmengine, read without importing it (which takes seconds); {}: not installed."""
    try:
        spec = find_spec("mmengine")
    except ValueError:  # it is imported, but from nowhere
        spec = None
    for folder in (spec and spec.submodule_search_locations) or ():
        if found := read_note(Path(folder) / "hub" / file):
            return found
    return {}
