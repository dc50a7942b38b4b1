"""Prompts of the usual sets of mathematical problems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, TypeAlias

from attrs import frozen

from morl.errors import ConfigError, DataError, suggest
from morl.prompts.hub import HubDataset
from morl.types import Message, Prompt
from morl_math.extract import marked_answer, reference_answer
from morl_math.grading import NotANumber, same_number

AnswerForm: TypeAlias = Literal["number", "boxed", "answer-tag"]

INSTRUCTIONS: Mapping[str, str] = {
    "number": "Reason step by step. End with a line that holds #### and the number.",
    "boxed": "Please reason step by step, and put your final answer within \\boxed{}.",
    "answer-tag": "Reason step by step, then give the final answer between <answer> and </answer>.",
}
"""What a prompt asks for by default; the second is that of the model cards of DeepSeek-R1 and Qwen2.5-Math."""


@frozen(eq=False, kw_only=True)
class _Problems:
    """What both sources have in common.

    Attributes:
        split: which part; may be a slice, `train[:1000]`.  A single local file is all `train`.
        subset: configuration of a hub data set that has several.
        revision: commit, branch or tag of a hub data set.
        limit: use this many rows only, from the start.
        answer_form: how the prompt asks for the answer; the `mode` of `math-correctness` has the same names.
        instruction: the words for it, after the problem; default: those of `answer_form`; an empty text leaves it out.
        system: system message to put in front.
    """

    form_options: ClassVar[tuple[str, ...]] = ("answer_form", "instruction", "system")

    path: str
    split: str = "train"
    subset: str | None = None
    revision: str | None = None
    limit: int | None = None
    answer_form: AnswerForm
    instruction: str | None = None
    system: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.answer_form not in INSTRUCTIONS:
            raise ConfigError(
                f"answer_form must be one of {', '.join(INSTRUCTIONS)}; got {self.answer_form!r}"
                f"{suggest(self.answer_form, INSTRUCTIONS)}"
            )

    def _rows(self, problem: str, subset: str | None) -> list[Prompt]:
        """The rows with the problem as plain text."""
        source = HubDataset(
            self.path, split=self.split, subset=subset, revision=self.revision, prompt=problem, limit=self.limit
        )
        return list(source.load())

    def _prompt(self, row: Prompt, where: str, columns: Mapping[str, str]) -> Prompt:
        if not isinstance(row.content, str) or not row.content.strip():
            raise DataError(f"{where}: the problem must be text; got {row.content!r:.80}")
        instruction = INSTRUCTIONS[self.answer_form] if self.instruction is None else self.instruction
        text = f"{row.content}\n\n{instruction}" if instruction else row.content
        messages: list[Message] = [{"role": "user", "content": text}]
        if self.system is not None:
            messages.insert(0, {"role": "system", "content": self.system})
        return Prompt(messages, {**row.columns, **columns})


@frozen(eq=False, kw_only=True)
class GSM8K(_Problems):
    """Grade-school problems: rows with `question` and `answer`, a solution that ends with `#### 72`.

    The column `answer` of the prompts is the number alone, without commas; `solution` is what the row had there.

    Attributes:
        path: the name on the hub, a local file (JSON lines, parquet, ...) or a folder of such files.
        split: which part; may be a slice, `train[:1000]`.  A single local file is all `train`.
        subset: configuration of a hub data set that has several; `main` by default for `openai/gsm8k`.
        revision: commit, branch or tag of a hub data set.
        limit: use this many rows only, from the start.
        answer_form: how the prompt asks for the answer; the `mode` of `math-correctness` has the same names.
        instruction: the words for it, after the problem; default: those of `answer_form`; an empty text leaves it out.
        system: system message to put in front.

    Raises:
        ConfigError: an unknown answer form.
    """

    path: str = "openai/gsm8k"
    answer_form: AnswerForm = "number"

    def load(self) -> list[Prompt]:
        """All rows, in the order of the file.

        Raises:
            DataError: no such data, or a row without question or number.
        """
        subset = "main" if self.subset is None and self.path == "openai/gsm8k" else self.subset
        return [self._solved(row, f"row {n} of {self.path}") for n, row in enumerate(self._rows("question", subset))]

    def _solved(self, row: Prompt, where: str) -> Prompt:
        solution = _text(row, "answer", where)
        answer = reference_answer(solution).replace(",", "")
        try:
            same_number(answer, answer)
        except NotANumber:
            raise DataError(
                f"{where}: expected a solution that ends with #### and a number; got {solution!r:.200}"
            ) from None
        return self._prompt(row, where, {"solution": solution, "answer": answer})


@frozen(eq=False, kw_only=True)
class MathProblems(_Problems):
    r"""Rows with a problem and its answer, or a solution with the answer in `\boxed{..}`.

    Reads data in the layout of MATH (`problem`, `solution`) as well as of DeepScaleR and AIME (`problem`, `answer`).
    The column `answer` of the prompts is the final answer alone.

    Attributes:
        path: a name on the hub, a local file (JSON lines, parquet, ...) or a folder of such files.
        split: which part; may be a slice, `train[:1000]`.  A single local file is all `train`.
        subset: configuration of a hub data set that has several.
        revision: commit, branch or tag of a hub data set.
        limit: use this many rows only, from the start.
        answer_form: how the prompt asks for the answer; the `mode` of `math-correctness` has the same names.
        instruction: the words for it, after the problem; default: those of `answer_form`; an empty text leaves it out.
        system: system message to put in front.
        problem: column of the problem.
        answer: column of the answer, where the rows have one.
        solution: column of the solution, for rows without answer.

    Raises:
        ConfigError: an unknown answer form.
    """

    path: str
    answer_form: AnswerForm = "boxed"
    problem: str = "problem"
    answer: str = "answer"
    solution: str = "solution"

    def load(self) -> list[Prompt]:
        """All rows, in the order of the file.

        Raises:
            DataError: no such data, or a row without problem or answer.
        """
        rows = self._rows(self.problem, self.subset)
        return [self._answered(row, f"row {n} of {self.path}") for n, row in enumerate(rows)]

    def _answered(self, row: Prompt, where: str) -> Prompt:
        given = row.columns.get(self.answer)
        if given is None or given == "":
            solution = row.columns.get(self.solution)
            if not isinstance(solution, str) or marked_answer(solution) is None:
                raise DataError(
                    f"{where} has neither an answer in column {self.answer!r} nor \\boxed{{..}} in column"
                    f" {self.solution!r}; its columns: {', '.join(row.columns)}"
                )
            given = solution
        answer = reference_answer(str(given))
        if not answer:
            raise DataError(f"{where}: the answer is empty: {given!r:.200}")
        return self._prompt(row, where, {"answer": answer})


def _text(row: Prompt, column: str, where: str) -> str:
    value = row.columns.get(column)
    if not isinstance(value, str):
        raise DataError(f"{where} has no text in column {column!r}; its columns: {', '.join(row.columns)}")
    return value
