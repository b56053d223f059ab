import os

import pytest

from cait_finetune.errors import UserError
from cait_finetune.runtime import cores


def test_core_count_is_limited_to_the_available_cores(monkeypatch):
    monkeypatch.setattr(cores, "cores", lambda: [3, 5])
    assert cores.core_count(0) == 2
    assert cores.core_count(1) == 1
    for wrong in (3, -1):
        with pytest.raises(UserError, match="1 to 2, the number of cores"):
            cores.core_count(wrong)


@pytest.mark.parametrize(("count", "of_an_operation"), [(1, "1"), (2, None)])
def test_an_operation_has_no_more_than_its_process(count, of_an_operation, monkeypatch):
    monkeypatch.setattr(cores, "cores", lambda: [3, 5])
    monkeypatch.setattr(os, "environ", {})
    cores.limit_threads(count)
    assert os.environ["TF_NUM_INTEROP_THREADS"] == os.environ["OMP_NUM_THREADS"] == str(count)
    assert os.environ.get("TF_NUM_INTRAOP_THREADS") == of_an_operation
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"


def test_cores_are_those_that_the_process_may_use():
    assert cores.cores() == sorted(os.sched_getaffinity(0))
