"""AutoGraph converts no function of this project.

AutoGraph would rewrite the source of each traced function, which takes time. The project does not
need AutoGraph: code that depends on a tensor uses `tf.cond`, `tf.while_loop` or `branch`.
"""

import pytest
from tensorflow.python.autograph.impl import api

from cait_finetune import finetune

pytestmark = pytest.mark.slow

SHORT = ["model.image_size=16", "debug=fast_dev_run", "export.check_images=4"]
FROZEN = ["tuning=linear_probe", "tuning.cache_features=true", "augment=none"]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["dataset.cache=none", "augment=deit", "train.steps_per_execution=2", "average=ema"],
        ["train.accumulation=2", "dataset.sampling=balanced", "export=none"],
        [*FROZEN, "export=none"],
    ],
    ids=["default", "mixed", "balanced", "features"],
)
def test_no_function_is_converted(words, tmp_path, monkeypatch):
    converted = []
    convert = api._convert_actual

    def recording(entity, context):
        converted.append(f"{entity.__module__}.{entity.__qualname__}")
        return convert(entity, context)

    monkeypatch.setattr(api, "_convert_actual", recording)
    run = finetune(
        *SHORT, *words, f"dataset.data_dir={tmp_path / 'tfds'}", directory=tmp_path / "run"
    )
    assert run.result["steps"] == 2
    assert [name for name in converted if name.startswith("cait_")] == []
