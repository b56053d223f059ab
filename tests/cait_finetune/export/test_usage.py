"""The example code of the model card, for each format and task."""

from __future__ import annotations

import re

import pytest

from cait_finetune.config import TaskConfig
from cait_finetune.export.usage import usage
from cait_finetune.tasks import task_of

FORMATS = ("saved_model", "onnx", "litert", "keras", "timm")


def code(name: str, task: str) -> str:
    text = usage([name], task_of(TaskConfig(task)))
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return block


@pytest.mark.parametrize("task", ["classification", "multi_label", "regression"])
@pytest.mark.parametrize("name", FORMATS)
def test_the_code_is_python_without_a_placeholder(name, task):
    block = code(name, task)
    compile(block, name, "exec")
    assert not re.search(r"IMPORT|OPENED|ACTIVATION", block)


@pytest.mark.parametrize("name", FORMATS)
def test_the_code_of_a_regressor_reads_numbers(name):
    text = code(name, "regression").replace("# registers the classes", "")
    for wrong in ("class", "probabilit", "logit", "softmax", "Classifier"):
        assert wrong not in text.replace("num_classes", ""), wrong
    assert "number in zip(" in text
    assert 'answer["prediction"][0]' in text or name == "timm"


def test_the_paragraphs_of_a_regressor_name_lower_and_upper():
    text = usage(FORMATS, task_of(TaskConfig("regression")))
    assert "`lower` and `upper`" in text
    assert "`target_names` once" in text
    assert "Target names are in `labels.txt`" in text
    assert "mean and the standard deviation of the targets" in text
    assert "already divided by the temperature" not in text
    other = usage(FORMATS, task_of(TaskConfig("classification")))
    assert "already divided by the temperature" in other
    assert "target" not in other
