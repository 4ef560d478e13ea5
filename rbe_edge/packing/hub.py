"""Downloads of `org/name` from the Hugging Face hub, through huggingface_hub (the extra `hub`)."""

from __future__ import annotations

import re
from pathlib import Path

from rbe_edge.errors import MissingExtra, PackError

#: What a packer reads. Other formats of the same weights are left where they are.
WANTED = (
    "config.json", "generation_config.json", "model.safetensors", "model-*-of-*.safetensors",
    "model.safetensors.index.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja",
    "chat_template.json",
)  # fmt: skip


def is_repository(source: str) -> bool:
    """Whether a source that is no file looks like `org/name`."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", source) is not None


def download(repository: str, revision: str | None = None) -> Path:
    """The local directory of a repository, downloaded where it is not in the hub's cache yet.

    Raises MissingExtra without huggingface_hub, PackError where the repository cannot be had.
    """
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError as error:
        raise MissingExtra(
            f"{repository}: not a local directory, and downloading it needs huggingface_hub; "
            f"install it with `pip install 'rbe-edge[hub]'`"
        ) from error
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(WANTED)))
    except errors.GatedRepoError as error:
        raise PackError(
            f"{repository}: needs its licence accepted on huggingface.co and a login (`hf auth login`)"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise PackError(f"{repository}: has no revision {revision!r}; check the branch, tag or commit") from error
    except errors.RepositoryNotFoundError as error:
        raise PackError(
            f"{repository}: neither a local directory nor a public repository on huggingface.co; check the name, "
            f"or log in with `hf auth login` if it is private"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError) as error:
        raise PackError(
            f"{repository}: huggingface.co cannot be reached and the model is not in the local cache; go online, "
            f"or give a local directory"
        ) from error
    except Exception as error:  # what the hub's HTTP client raises differs from release to release
        reason = " ".join(str(error).split())
        raise PackError(
            f"{repository}: the download failed ({type(error).__name__}: {reason}); check connection and disk space"
        ) from error
