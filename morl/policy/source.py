"""The built-in policy source: a model that exists already."""

from __future__ import annotations

import os

from attrs import frozen

from morl.policy.folder import check_model


@frozen
class Pretrained:
    """A Hugging Face model.

    Args:
        path: a folder in `save_pretrained` form with its tokenizer, or the name of a model on the Hugging Face hub.
    """

    path: str

    def resolve(self) -> str:
        """The path with `~` expanded, after a check that needs no weights.

        Raises:
            DataError: a folder that is missing or incomplete.
        """
        path = os.path.expanduser(self.path)
        check_model(path)
        return path
