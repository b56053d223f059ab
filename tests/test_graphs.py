"""AutoGraph converts no function of this project.

AutoGraph would rewrite the source of each traced function, which takes time. The project does not
need AutoGraph: code that depends on a tensor uses `tf.cond`, `tf.while_loop` or `branch`.
"""

import pytest
from tensorflow.python.autograph.impl import api

from tests import quick_runs
from tests.small_model import SMALL, small_variant

pytestmark = pytest.mark.slow

SHORT = [f"model.name={SMALL.name}", "model.weights=none", "model.image_size=16",
         "debug=fast_dev_run", "export.check_images=4"]  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["dataset.cache=none", "augment=deit", "dataset.sampling=balanced", "average=ema",
         "train.steps_per_execution=2", "train.accumulation=2", "export=none"],
        ["tuning=linear_probe", "tuning.cache_features=true", "augment=none", "export=none"],
    ],
    ids=["default", "mixed", "features"],
)  # fmt: skip
def test_autograph_converts_no_function(words, tmp_path, monkeypatch):
    converted = []
    convert = api._convert_actual

    def recording(entity, context):
        converted.append(f"{entity.__module__}.{entity.__qualname__}")
        return convert(entity, context)

    monkeypatch.setattr(api, "_convert_actual", recording)
    with small_variant():
        _, result = quick_runs.run(tmp_path / "run", *SHORT, *words, figures=not words)
    assert result["steps"] == 2
    assert [name for name in converted if name.startswith("cait_")] == []
