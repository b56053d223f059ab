"""Files of Keras' own format."""

import os
import subprocess
import sys

import keras
import numpy as np

from cait_finetune.export import keras as exporter
from tests.cait_finetune.export.subjects import NAMES, evidence_of, lively_subject

ALONE = """
import sys
import keras
import numpy as np
from cait_tf import ImageClassifier
model = keras.saving.load_model(sys.argv[1])
assert not [name for name in sys.modules if name.startswith("cait_finetune")]
np.save(sys.argv[3], model(np.load(sys.argv[2])))
"""


def test_it_loads_with_the_library_alone(tmp_path):
    evidence = evidence_of(lively_subject())
    done = exporter.export(evidence.subject, evidence, tmp_path / "keras")
    assert done["difference"] <= 1e-3
    loaded = keras.saving.load_model(done["path"])
    assert loaded.class_names == tuple(NAMES)
    assert loaded.temperature == 1.7
    # And without the training code, on another of Keras' backends.
    np.save(tmp_path / "in.npy", evidence.pixels[0][None])
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", ALONE, done["path"]]
    files = [str(tmp_path / "in.npy"), str(tmp_path / "out.npy")]
    run = subprocess.run(
        [*command, *files], capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    wanted = evidence.subject.probabilities(evidence.logits)[:1]
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), wanted, atol=1e-3)
