"""Conversations: what stands between two turns of the policy, and what a reply says."""

from __future__ import annotations

from morl.conversation.calls import CallStatus as CallStatus
from morl.conversation.calls import ParsedReply as ParsedReply
from morl.conversation.calls import ToolCall as ToolCall
from morl.conversation.errors import TemplateFailed as TemplateFailed
from morl.conversation.reply_format import ReplyFormat as ReplyFormat
