"""Where the final answer stands."""

from __future__ import annotations

import pytest

from morl_math import final_answer, reference_answer

BOX = r"\boxed"


@pytest.mark.parametrize(
    ("mode", "text", "answer"),
    [
        ("number", "3 + 4 = 7\n#### 7", "7"),
        ("number", "#### 7\nno:\n#### 8", "8"),
        ("number", "####\n7\nso", "7"),
        ("number", "The answer is 7.", None),
        ("number", "#### ", None),
        ("boxed", rf"{BOX}{{7}}", "7"),
        ("boxed", rf"{BOX}{{1}}, no: {BOX}{{2}}", "2"),
        ("boxed", rf"${BOX}{{\frac{{1}}{{2}}}}$.", r"\frac{1}{2}"),
        ("boxed", rf"{BOX}{{\{{1, 2\}}}} is it", r"\{1, 2\}"),
        ("boxed", rf"{BOX}{{{BOX}{{5}}}}", "5"),
        ("boxed", rf"{BOX} 5$ apples", "5"),
        ("boxed", rf"${BOX}\pi$", r"\pi"),
        ("boxed", r"\fbox{5}", "5"),
        ("boxed", rf"{BOX}{{5", None),
        ("boxed", rf"{BOX}{{1}} or {BOX}{{2", None),
        ("boxed", rf"{BOX}{{ }}", None),
        ("boxed", BOX, None),
        ("boxed", r"\boxedness{5}", None),
        ("boxed", "<answer>5</answer> #### 5", None),
        ("answer-tag", "<answer> 5 </answer>", "5"),
        ("answer-tag", "<answer>4</answer> no <answer>5</answer> yes", "5"),
        ("answer-tag", rf"<answer>So it is ${BOX}{{5}}$.</answer>", "5"),
        ("answer-tag", "<answer>4</answer> <answer>5", "4"),
        ("answer-tag", "<answer>5", None),
        ("answer-tag", "5</answer>", None),
        ("answer-tag", rf"{BOX}{{5}}", None),
        ("auto", rf"<answer>1</answer> {BOX}{{2}} #### 3", "1"),
        ("auto", rf"#### 3 {BOX}{{2}}", "2"),
        ("auto", "#### 3", "3"),
        ("auto", "#### 3 and <answer></answer>", None),
        ("auto", "It is 3.", None),
        ("auto", "", None),
    ],
)
def test_the_last_answer_of_the_form_asked_for(mode: str, text: str, answer: str | None) -> None:
    assert final_answer(text, mode) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (rf"<think>{BOX}{{1}}</think>{BOX}{{2}}", "2"),
        (rf"<think>{BOX}{{1}}</think>", None),
        (rf"<think>{BOX}{{1}}", None),
        (rf"a</think>b</think>{BOX}{{2}}", "2"),
        (rf"{BOX}{{1}}</think>{BOX}{{2}}", "2"),
        (rf"{BOX}{{2}}<think>{BOX}{{1}}", "2"),
        ("<think><answer>1</answer></think> #### 2", "2"),
    ],
)
def test_thoughts_are_no_answers(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


def test_a_thought_that_the_prompt_opened_must_end() -> None:
    assert final_answer(rf"{BOX}{{1}}") == "1"
    assert final_answer(rf"{BOX}{{1}}", opened_by_prompt=True) is None
    assert final_answer(rf"hm</think>{BOX}{{1}}", opened_by_prompt=True) == "1"


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("48 + 24 = <<48+24=72>>72\n#### 72", "72"),
        (r"So $x = \boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        (" (1, 2) ", "(1, 2)"),
        (r"\boxed{1} #### 2", "2"),
    ],
)
def test_references_may_be_whole_solutions(reference: str, answer: str) -> None:
    assert reference_answer(reference) == answer


def test_long_texts_take_no_time() -> None:
    """The readers are linear: quadratic ones would take minutes here."""
    for part in (r"\boxed{", "<answer>", "####", "<think>", "</think>", "{}", r"\boxed \{"):
        final_answer(part * 200_000)
