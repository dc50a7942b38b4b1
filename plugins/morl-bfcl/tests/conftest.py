"""BFCL's own code, against which ours is tested."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import patch

import pytest

# What BFCL's modules import and do not need for what is called here.
_STUBS = {
    "bfcl_eval.constants.model_config": {
        "MODEL_CONFIG_MAPPING": defaultdict(lambda: SimpleNamespace(underscore_to_dot=False))
    },
    "bfcl_eval.model_handler.parser.java_parser": {"parse_java_function_call": None},
    "bfcl_eval.model_handler.parser.js_parser": {"parse_javascript_function_call": None},
    "tenacity": dict.fromkeys(
        ["retry", "retry_if_exception_message", "retry_if_exception_type", "wait_random_exponential"]
    ),
}


@pytest.fixture(scope="session")
def bfcl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """BFCL's loader (`utils`), checkers (`ast`, `turns`), and what it makes of texts (`text`)."""
    stubs = {}
    for name, content in _STUBS.items():
        stubs[name] = ModuleType(name)
        vars(stubs[name]).update(content)
    folder: Path = tmp_path_factory.mktemp("bfcl")
    with patch.dict(sys.modules, stubs), pytest.MonkeyPatch.context() as patcher:
        patcher.setenv("BFCL_PROJECT_ROOT", str(folder))  # else it makes folders beside its package
        yield SimpleNamespace(
            python=import_module("bfcl_eval.constants.enums").Language.PYTHON,
            utils=import_module("bfcl_eval.utils"),
            ast=import_module("bfcl_eval.eval_checker.ast_eval.ast_checker"),
            turns=import_module("bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker"),
            text=import_module("bfcl_eval.model_handler.utils"),
        )
