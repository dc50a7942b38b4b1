"""What goes wrong with a single reply and must not end the run."""

from __future__ import annotations


class TemplateFailed(Exception):
    """The chat template cannot continue after this reply with these messages.

    No `MorlError`, because it is the conversation that ends, not the run: its status is
    `CompletionStatus.TEMPLATE_FAILED`.
    """
