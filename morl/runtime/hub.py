"""Uploading a model to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from morl.errors import ConfigError, TrainingError


def check_hub(repository: str, key: str) -> None:
    """Finds out before training whether a model could be uploaded after it.

    Args:
        repository: `owner/name`.
        key: the setting that asks for it, for messages.

    Raises:
        ConfigError: no such name, no network, or nobody logged in.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.constants import is_offline_mode
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise ConfigError(f"{key}: {_first_line(error)}") from error
    if repository.count("/") != 1:
        raise ConfigError(f"{key}={repository}: name the repository as owner/name")
    if is_offline_mode():
        raise ConfigError(
            f"{key}={repository} needs the network, and HF_HUB_OFFLINE is set; leave it out, and upload later:"
            f" morl export RUN --push_to_hub {repository}"
        )
    try:
        HfApi().whoami()
    except Exception as error:  # of the network, of the login, of the server
        raise ConfigError(
            f"{key}={repository}: the hub does not answer, or does not know you ({_first_line(error)}); log in (hf auth"
            " login, or HF_TOKEN), or leave it out"
        ) from error


def upload(model: Path, repository: str, run: Path) -> str:
    """Uploads a model folder, into a private repository where it has to be made; returns the address.

    Raises:
        TrainingError: it could not be uploaded; says where the model is, and how to try again.
    """
    from huggingface_hub import HfApi

    hub = HfApi()
    try:
        hub.create_repo(repository, private=True, exist_ok=True)
        commit: Any = hub.upload_folder(repo_id=repository, folder_path=model, commit_message="Trained with morl")
    except Exception as error:
        raise TrainingError(
            f"the model is in {model}, but could not be uploaded to {repository}: {_first_line(error)}; try again:"
            f" morl export {run} --push_to_hub {repository}"
        ) from error
    return str(commit.repo_url)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
