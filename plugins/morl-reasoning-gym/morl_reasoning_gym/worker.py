"""The process that makes problems and verifies answers; started by `morl_reasoning_gym.process`.

Reads one JSON object a line, `{"made_from": .., "answer": ..}`, and replies `{"score": ..}`; without an answer,
`{"question": .., "answer": ..}`; `{"fault": ..}` where the problem cannot be made.  An answer that takes too long ends
the process: the default action of SIGPROF does, whatever C code it is in.  When the input ends, so does the process.

Some verifiers of reasoning-gym hand the answer to sympy's parser, which evaluates it as Python.  While one runs, an
audit hook refuses what a verifier has no use for.  That keeps accidents in; it is no sandbox against an attack.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import resource
import signal
import sys
from typing import Any

_REFUSED = (
    "os.",
    "shutil.",
    "subprocess.",
    "socket.",
    "ctypes.",
    "pty.",
    "tempfile.",
    "signal.",
    "syslog.",
    "webbrowser.",
)
_HARMLESS = frozenset({"os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.getxattr", "os.listxattr"})
_verifying = False


def main(time_limit: float, memory_limit: int) -> None:
    """Answers until the input ends.

    Args:
        time_limit: seconds of processor time per answer.
        memory_limit: bytes of address space.
    """
    replies = _own_output()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes our input
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    sys.addaudithook(_refuse)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        reply = _reply(request["made_from"], request.get("answer"), time_limit)
        os.write(replies, json.dumps(reply).encode() + b"\n")


def _reply(made_from: dict[str, Any], answer: str | None, time_limit: float) -> dict[str, Any]:
    global _verifying
    from morl_reasoning_gym.tasks import score

    try:
        data_set, entry = _problem(json.dumps(made_from))
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent has to hear of it
        return {"fault": f"the problem of {made_from} cannot be made: {type(error).__name__}: {error}"}
    if answer is None:
        return {"question": entry["question"], "answer": entry["answer"]}
    entry = copy.deepcopy(entry)  # a verifier may write to it
    signal.setitimer(signal.ITIMER_PROF, time_limit)
    _verifying = True
    try:
        return {"score": score(data_set, answer, entry)}
    except (Exception, SystemExit):  # noqa: BLE001 - an answer of a form that the verifier does not expect
        return {"score": 0.0}
    finally:
        _verifying = False
        signal.setitimer(signal.ITIMER_PROF, 0)


@functools.lru_cache(maxsize=256)
def _problem(made_from: str) -> tuple[Any, dict[str, Any]]:
    """What verifies the answers, and the row; the completions of a group share them."""
    from morl_reasoning_gym.tasks import problem

    return problem(**json.loads(made_from))


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook (PEP 578)."""
    if not _verifying:
        return
    writes = event == "open" and (
        (isinstance(arguments[1], str) and not set("wax+").isdisjoint(arguments[1]))
        or (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR))
    )
    if writes or (event.startswith(_REFUSED) and event not in _HARMLESS):
        raise PermissionError(f"{event} while an answer is verified")


def _own_output() -> int:
    """The pipe to the parent; what libraries print goes nowhere."""
    replies = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return replies


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
