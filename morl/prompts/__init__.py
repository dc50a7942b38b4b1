"""Where prompts come from: data sets, their encoding by the policy's tokenizer, and the order of the rows.

>>> from morl.types import Prompt
>>> prompts = [Prompt("2+2?", {"answer": "4"}), Prompt("3+3?", {"answer": "6"})]
>>> check_columns(prompts, {"answer": ("correctness",)})  # as RewardScorer.required_columns says
"""

from morl.prompts.columns import check_columns, check_routes
from morl.prompts.data_set import is_single_file, read_data_set
from morl.prompts.digest import digest_of
from morl.prompts.encode import EncodedPrompts, encode_prompts
from morl.prompts.hub import HubDataset
from morl.prompts.jsonl import JsonLines
from morl.prompts.template import ChatTemplate

__all__ = [
    "ChatTemplate",
    "EncodedPrompts",
    "HubDataset",
    "JsonLines",
    "check_columns",
    "check_routes",
    "digest_of",
    "encode_prompts",
    "is_single_file",
    "read_data_set",
]
