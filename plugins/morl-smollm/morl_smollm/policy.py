"""The policy source."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from attrs import frozen

from morl.policy.made import cache_folder, made_once
from morl_smollm.weights import SHA256, check_weights, weights_file

_MADE_WITH = ("gguf", "transformers")


@frozen
class SmolLM2:
    """SmolLM2-135M-Instruct (arXiv 2502.02737), 134,515,008 parameters, Apache-2.0: a chat model.

    Its weights were quantised to 4 bits (Q4_1) and are dequantised to float32: 540 MB, converted once and found in the
    cache after that.

    Args:
        cache: folder for the converted model; default `$XDG_CACHE_HOME/morl-smollm` or `~/.cache/morl-smollm`.
    """

    cache: str | None = None

    @property
    def folder(self) -> Path:
        """Where the converted model stands; its name changes with the weights and the libraries that convert them."""
        made_with = "-".join(f"{name}-{version(name)}" for name in _MADE_WITH)
        return cache_folder("morl-smollm", self.cache) / f"smollm2-135m-{SHA256[:8]}-{made_with}"

    def resolve(self) -> str:
        """The model's folder, converted now if need be.

        Raises:
            DataError: the package with the weights is not installed, damaged, or of another version.
        """
        return made_once(self.folder, self._make)

    def _make(self, folder: Path) -> None:
        from morl_smollm.convert import convert

        file = weights_file()
        check_weights(file)
        convert(file, folder)
