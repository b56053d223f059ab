import pytest

from cait_finetune.errors import Interrupted, UserError
from cait_finetune.loggers import fan_out
from cait_finetune.loggers.fan_out import Loggers
from cait_finetune.loggers.logger import Confusion, Logger

TABLE = {"parameters": (["path"], [["head/bias"]])}


class Notes(Logger):
    """A logger that records its calls, and raises an error in the method `fails_at`."""

    def __init__(self, name="notes", fails_at=""):
        self.name = name
        self.fails_at = fails_at
        self.calls = []

    def note(self, method, *values):
        self.calls.append((method, *values))
        if method == self.fails_at:
            raise OSError("no space\nmore of it")

    def begin(self, *values):
        self.note("begin", *values)

    def record(self, *values):
        self.note("record", *values)

    def table(self, *values):
        self.note("table", *values)

    def result(self, *values):
        self.note("result", *values)

    def picture(self, *values):
        self.note("picture", *values)

    def confusion_matrix(self, *values):
        self.note("confusion_matrix", *values)

    def artifact(self, *values):
        self.note("artifact", *values)

    def finish(self, *values):
        self.note("finish", *values)


def whole_run(*several):
    with Loggers(several) as loggers:
        loggers.begin({"seed": 0}, False, TABLE)
        loggers.record("step", {"step": 1, "epoch": 1, "loss": 2.0})
        loggers.conclude(
            {"test_top1": 0.5, "stopped_by": None, "corrupt_images": [], "metric": "top1"},
            {"curves": "curves.png"},
            {"export": "export"},
            [Confusion([0, 1], [1, 1], ["cat", "dog"])],
        )


WHOLE = [
    ("begin", {"seed": 0}, False),
    ("table", "parameters", ["path"], [["head/bias"]]),
    ("record", "step", {"step": 1, "epoch": 1, "loss": 2.0}),
    ("result", {"test_top1": 0.5}),
    ("picture", "curves", "curves.png"),
    ("confusion_matrix", Confusion([0, 1], [1, 1], ["cat", "dog"])),
    ("artifact", "export", "export", ("best", "latest")),
    ("finish", 0),
]


def test_each_gets_everything_in_order():
    one, other = Notes(), Notes()
    whole_run(one, other)
    assert one.calls == other.calls == WHOLE


@pytest.mark.parametrize("method", [call[0] for call in WHOLE])
def test_one_that_fails_is_switched_off_with_one_warning(method, monkeypatch):
    warnings = []
    monkeypatch.setattr(fan_out.logger, "warning", lambda text, *of: warnings.append(text % of))
    bad, good = Notes("bad", fails_at=method), Notes()
    whole_run(bad, good)
    assert good.calls == WHOLE
    until = [call[0] for call in WHOLE].index(method) + 1
    assert bad.calls[:until] == WHOLE[:until]
    assert bad.calls[until:] == ([] if method == "finish" else [("finish", 1)])
    assert warnings == ["logger=bad is switched off, the run continues: OSError: no space"]


@pytest.mark.parametrize(
    ("error", "code"),
    [(Interrupted("SIGTERM"), 75), (UserError("x"), 1), (KeyboardInterrupt(), 1)],
)
def test_a_failed_run_finishes_loggers_with_its_exit_code(error, code):
    notes = Notes()
    with pytest.raises(type(error)), Loggers([notes]):
        raise error
    assert notes.calls == [("finish", code)]


def test_a_solver_that_makes_no_steps_counts_epochs():
    notes = Notes()
    Loggers([notes]).record("epoch", {"epoch": 3, "validation_top1": 0.5})
    assert notes.calls == [("record", "epoch", {"step": 3, "epoch": 3, "validation_top1": 0.5})]


def test_a_logger_ignores_record_kinds_that_it_does_not_implement(monkeypatch):
    warnings = []
    monkeypatch.setattr(fan_out.logger, "warning", lambda text, *of: warnings.append(text % of))
    whole_run(Logger())
    assert warnings == []  # a logger that raises is switched off with a warning
