import json

import numpy as np

from cait_finetune.benchmark.transfer.results import Comparison, Results
from tests.cait_finetune.benchmark.transfer.stand_ins import cell, result

A, B = (lambda cell: "a"), (lambda cell: "b")


def test_what_is_added_is_there_the_next_time(tmp_path):
    path = tmp_path / "runs.jsonl"
    results = Results(path, A)
    assert cell() not in results
    results.add(cell(), result(0.75))
    results.add(cell(seed=1), result(0.5))
    for known in (results, Results(path, A)):
        assert known[cell()] == result(0.75)
        assert known[cell(seed=1)] == result(0.5)
        assert cell(seed=2) not in known


def test_another_length_is_another_run(tmp_path):
    results = Results(tmp_path / "runs.jsonl", A)
    results.add(cell(), result())
    assert cell(epochs=9) not in results
    assert cell(steps_per_epoch=9) not in results


def test_what_began_elsewhere_is_another_run(tmp_path):
    path = tmp_path / "runs.jsonl"
    Results(path, A).add(cell(), result(0.5))
    other = Results(path, B)
    assert cell() not in other
    other.add(cell(), result(0.75))
    assert Results(path, A)[cell()] == result(0.5)
    assert Results(path, B)[cell()] == result(0.75)


def test_a_line_without_its_basis_is_made_again(tmp_path):
    path = tmp_path / "runs.jsonl"
    Results(path, A).add(cell(), result())
    record = json.loads(path.read_text())
    del record["basis"]
    path.write_text(json.dumps({**record, "start": "a"}) + "\n")  # as earlier versions had it
    assert cell() not in Results(path, A)


def test_half_a_line_is_made_again(tmp_path):
    path = tmp_path / "runs.jsonl"
    results = Results(path, A)
    results.add(cell(), result())
    results.add(cell(seed=1), result())
    path.write_text(path.read_text()[:-20])
    again = Results(path, A)
    assert cell() in again
    assert cell(seed=1) not in again
    again.add(cell(seed=1), result())
    assert cell(seed=1) in Results(path, A)


def test_a_gain_is_of_the_same_images_and_seed():
    test = {"full": np.array([[60.0, 70.0]]), "from scratch": np.array([[30.0, 45.0]])}
    comparison = Comparison("digits", [0.05], [60], test)
    assert comparison.gain("full", "from scratch").tolist() == [[30.0, 25.0]]
