"""The functions for notebooks. Their import loads no heavy library."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hydra
import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

import cait_finetune
from cait_finetune import finetune, load_run, predict
from cait_finetune.errors import UserError
from tests.cait_finetune.stand_ins import encode, picture

ROOT = Path(__file__).resolve().parents[2]
SHORT = ["model.image_size=16", "debug=fast_dev_run", "export=none"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("api")
    return finetune(*SHORT, f"dataset.data_dir={root / 'tfds'}", directory=root / "run")


@pytest.mark.slow
def test_a_run_of_two_steps(run):
    assert run.result["steps"] == 2
    assert len(run.epochs) == 2
    assert run.metrics["test top-1"] == f"{run.result['test_top1']:.2%}"
    assert run.metrics["best epoch"] in ("1", "2")
    assert load_run(run.directory).result == run.result


@pytest.mark.slow
def test_repr_and_html_show_the_run(run):
    title = f"cait_nano_32 on digits, test top-1 {run.result['test_top1']:.2%}"
    assert repr(run) == f"Run('{run.directory}': {title})"
    page = run._repr_html_()
    assert f'>test top-1</td><td style="text-align: left">{run.metrics["test top-1"]}<' in page
    assert page.count('<img src="data:image/png;base64,') == 1


@pytest.mark.slow
def test_names_are_not_markup(run, monkeypatch):
    monkeypatch.setattr(run.saved.dataset, "name", "<b>birds & bees")
    assert "on &lt;b&gt;birds &amp; bees" in run._repr_html_()


@pytest.mark.slow
def test_a_run_that_is_not_finished(run, tmp_path):
    for name in ("config.yaml", "checkpoints"):
        (tmp_path / name).symlink_to(run.directory / name)
    unfinished = load_run(tmp_path)
    other = json.dumps({"run": "another"})
    (tmp_path / "identity.json").write_text(other)
    for use in (
        lambda: unfinished.result,
        lambda: unfinished.epochs,
        lambda: unfinished.predict("x"),
    ):
        with pytest.raises(UserError, match="which does not hold the run that was loaded"):
            use()
    (tmp_path / "identity.json").unlink()
    assert (unfinished.result, unfinished.epochs, unfinished.metrics) == ({}, [], {})
    assert repr(unfinished).endswith("not finished, 0 epochs so far)")
    assert "not finished" in unfinished._repr_html_()
    lines = (run.directory / "metrics.jsonl").read_text().splitlines()
    first = next(line for line in lines if '"kind": "epoch"' in line)
    (tmp_path / "metrics.jsonl").write_text(f"{first}\n")
    assert repr(unfinished).endswith("not finished, 1 epoch so far)")


@pytest.mark.slow
def test_predictions_from_a_run(run, tmp_path):
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(encode(picture(20, 30, seed=number)))
    with pytest.raises(UserError, match=r"(?s)images: got ndarray for a path, .*run\.preprocess"):
        predict(run, [np.zeros((8, 8, 3), "uint8")])
    first, second = predict(run, tmp_path, top_k=2)
    assert (len(first.classes), len(second.classes)) == (2, 2)
    several = predict(str(run.directory), [tmp_path / "1.png", str(tmp_path / "0.png")], top_k=2)
    assert [one.path for one in several] == [second.path, first.path]
    assert [name for name, _ in several[0].classes] == [name for name, _ in second.classes]
    np.testing.assert_allclose(several[0].classes[0][1], second.classes[0][1], atol=1e-6)
    assert run.predict(tmp_path / "0.png", top_k=1)[0].classes[0][0] == first.classes[0][0]


@pytest.mark.slow
def test_the_model_of_a_run(run):
    images = np.zeros((2, 16, 16, 3), "float32")
    logits = run.model(images)
    assert logits.shape == (2, len(run.class_names))
    assert run.model is run.model  # built once
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), "uint8")
    preprocessing = run.saved.build_preprocessing()
    wanted = np.stack([preprocessing(image) for image in pixels])
    assert run.preprocess(pixels).shape == wanted.shape
    assert np.abs(np.asarray(run.preprocess(pixels)) - wanted).max() < 2 / 255 / min(
        preprocessing.std
    )


def test_a_recipe_in_a_folder_of_ones_own(tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(
        "cait_finetune.workflow.finetune.finetune", lambda config, path, _: begun.append(config)
    )
    monkeypatch.setattr("cait_finetune.api.load_run", lambda path: path)
    (tmp_path / "mine.yaml").write_text("defaults: [config, _self_]\nseed: 7\n")
    finetune(recipe="mine", folder=tmp_path, directory=tmp_path / "run")
    assert begun[0].seed == 7


@pytest.mark.slow
def test_wrong_arguments_raise_an_error_that_names_the_key(run, tmp_path):
    with pytest.raises(UserError, match=r"train.epoch: got an unknown key"):
        finetune("train.epoch=2")
    with pytest.raises(UserError, match=r"-cn: got flower, expected one of config, .*"):
        finetune(recipe="flower")
    with pytest.raises(UserError, match=r"resume: got .*, whose run is finished"):
        finetune(f"resume={run.directory}")
    with pytest.raises(UserError, match=r"run: got .*, expected the directory of a run"):
        load_run(tmp_path)
    with pytest.raises(UserError, match="top_k: got 0"):
        predict(run, tmp_path, top_k=0)


def test_the_run_directory_is_named_as_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begun = []
    monkeypatch.setattr(
        "cait_finetune.workflow.finetune.finetune", lambda config, path, _: begun.append(path)
    )
    monkeypatch.setattr("cait_finetune.api.load_run", lambda path: path)
    finetune("dataset=flowers", "model=cait_s24_224", "model.weights=none")
    assert re.fullmatch(r"outputs/flowers/cait_s24_224/[\d-]{10}_[\d-]{8}", str(begun[0]))


@pytest.mark.slow
def test_finetune_resumes_a_run(run, tmp_path, monkeypatch):
    cut_off = tmp_path / "cut_off"
    shutil.copytree(run.directory, cut_off)
    (cut_off / "result.json").unlink()
    begun = []
    monkeypatch.setattr(
        "cait_finetune.workflow.finetune.finetune", lambda *words: begun.append(words)
    )
    with pytest.raises(UserError, match=r"directory: got .* beside resume, expected None"):
        finetune(f"resume={cut_off}", directory=tmp_path)
    finetune(f"resume={cut_off}", "train.max_hours=1")
    ((config, directory, _),) = begun
    assert (config.resume, directory) == (str(cut_off), cut_off)
    assert (config.model.image_size, config.train.max_hours) == (16, 1)


def test_two_threads_run_one_after_the_other(tmp_path, monkeypatch):
    """Runs set process-wide state, such as random seeds, and must not overlap."""
    inside, seen = [], []

    def slow(config, path, _):
        inside.append(path)
        np.random.seed(config.seed)
        time.sleep(0.1)
        seen.append((len(inside), np.random.random()))
        inside.pop()

    monkeypatch.setattr("cait_finetune.workflow.finetune.finetune", slow)
    monkeypatch.setattr("cait_finetune.api.load_run", lambda path: path)
    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(finetune, "seed=3", directory=tmp_path / str(n)) for n in range(2)]
        assert [run.result().name for run in runs] == ["0", "1"]
    alone = np.random.RandomState(3).random_sample()
    assert seen == [(1, alone)] * 2


def test_in_a_program_that_uses_hydra(tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(
        "cait_finetune.workflow.finetune.finetune", lambda config, path, _: begun.append(config)
    )
    monkeypatch.setattr("cait_finetune.api.load_run", lambda path: path)
    (tmp_path / "theirs.yaml").write_text("colour: red\n")
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(tmp_path)):
        finetune("train.epochs=3", directory=tmp_path / "run")
        assert hydra.compose("theirs") == {"colour": "red"}
        with pytest.raises(UserError, match=r"train.epoch: got an unknown key"):
            finetune("train.epoch=2")
        assert hydra.compose("theirs") == {"colour": "red"}
    assert not GlobalHydra.instance().is_initialized()
    assert begun[0].train.epochs == 3


@pytest.mark.slow
def test_under_the_decorator_of_hydra(tmp_path):
    (tmp_path / "theirs.yaml").write_text("epochs: 3\n")
    (tmp_path / "program.py").write_text("""
import hydra
from hydra.core.hydra_config import HydraConfig
from cait_finetune.cli.compose import configure_run

@hydra.main(version_base="1.3", config_path=".", config_name="theirs")
def main(config):
    ours, directory, _ = configure_run(f"train.epochs={config.epochs}")
    assert ours.train.epochs == 3
    assert str(directory).startswith("outputs/digits/"), directory
    assert HydraConfig.get().job.name == "program"
    print("done")

main()
""")
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "done\n", done.stderr


def test_a_mistake_in_a_notebook_is_one_message():
    shell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell()
    shown = []
    shell._showtraceback = lambda kind, error, lines: shown.append("\n".join(lines))
    shell.run_cell("from cait_finetune import load_run; load_run('nowhere')")
    assert len(shown) == 1
    assert shown[0].startswith(
        "run: got nowhere, which does not exist, expected the directory of a run"
    )
    assert "Traceback" not in shown[0]


def test_importing_is_light_and_the_functions_stay_functions():
    code = """
import sys
import cait_finetune
from cait_finetune import finetune, load_run, predict
heavy = {"tensorflow", "keras", "hydra", "numpy", "PIL", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
functions = (finetune, load_run, predict)
import cait_finetune.api, cait_finetune.commands.predict
from cait_finetune import finetune, load_run, predict
assert (finetune, load_run, predict) == functions
assert (cait_finetune.finetune, cait_finetune.predict) == (functions[0], functions[2])
print("light")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "light", done.stderr


def test_no_module_has_the_name_of_a_function():
    """Importing a module of the same name would replace the function."""
    modules = {path.stem for path in (ROOT / "cait_finetune").iterdir()}
    assert not modules & set(cait_finetune.__all__)


def test_the_command_has_the_name_of_the_function():
    done = subprocess.run(
        [sys.executable, "-m", "cait_finetune", "predict", "modle=x"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("cait_finetune predict: modle: got an unknown key")


def test_a_run_gets_the_directory_that_was_named_or_one_of_its_own(monkeypatch, tmp_path):
    import cait_finetune.workflow.finetune as workflow
    from cait_finetune import api

    monkeypatch.chdir(tmp_path)
    made = []
    monkeypatch.setattr(workflow, "finetune", lambda config, directory, _: made.append(directory))
    monkeypatch.setattr(api, "load_run", lambda directory: None)
    (tmp_path / "named").mkdir()
    finetune("hydra.run.dir=named")
    finetune("hydra.run.dir=outputs/${now:%Y}")
    finetune("hydra.run.dir=outputs/${now:%Y}")
    assert made[0].name == "named"
    assert made[2].name == f"{made[1].name}-2"


IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 9, 3), "uint8")
ARRAYS = (IMAGES, np.arange(6) % 3)


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """The configurations of runs that are only started."""
    begun = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "cait_finetune.workflow.finetune.finetune", lambda config, path, _: begun.append(config)
    )
    monkeypatch.setattr("cait_finetune.api.load_run", lambda path: path)
    return begun


@pytest.mark.slow
def test_the_columns_of_arrays_are_in_the_order_of_their_names(configured):
    names = ["zebra", "null", "it's, 1"]
    finetune(train=ARRAYS, class_names=names)
    finetune(train=ARRAYS)
    assert [config.dataset.class_names for config in configured] == [names, None]
    assert [config.dataset.source for config in configured] == ["csv"] * 2


@pytest.mark.parametrize(
    ("word", "key"),
    [(f"{sign}{word}", word.partition("=")[0])
     for sign in ("", "+", "++", "~")
     for word in ("dataset=folder", "dataset.data_dir=x", "dataset.source=folder", "resume=x", "continue_from=x",
                  "dataset={data_dir: x}", "dataset.class_names=[a,b]")]
    + [("~dataset.data_dir", "dataset.data_dir"), ("dataset@dataset=folder", "dataset")],
)  # fmt: skip
def test_other_images_beside_arrays_are_refused(word, key, configured):
    with pytest.raises(UserError, match=rf"^{key}: got {re.escape(word)} beside train=, expected"):
        finetune(word, train=ARRAYS)
    assert not configured


@pytest.mark.parametrize(
    ("words", "images", "message"),
    [
        (["photos"], None, r"photos: .*\n  did you mean dataset=folder dataset\.data_dir=photos\?"),
        (
            ["model=cait_nano_32 train.epochs=1"],
            ARRAYS,
            r"own: model=cait_nano_32 train\.epochs=1$",
        ),
        ([], "photos", r'train: got str, .*\n  For a folder write finetune\("dataset=folder", '),
        ([], ARRAYS[::-1], r"\n  The images look like labels: give \(images, labels\)"),
    ],
)
def test_wrong_calls_name_the_right_one(words, images, message, configured):
    Path("photos").mkdir()
    with pytest.raises(UserError, match=message):
        finetune(*words, train=images)
    assert not configured
    assert not Path("outputs").exists()


@pytest.mark.slow
def test_predict_with_its_arguments_exchanged(run):
    with pytest.raises(UserError, match=r"images: got a run, .*\n  Write predict\(run, images\)"):
        predict("a.jpg", run)


def test_a_wrong_word_is_found_before_arrays_are_written(configured):
    with pytest.raises(UserError, match=r"train.epoch: got an unknown key"):
        finetune("train.epoch=2", train=ARRAYS)
    assert not Path("outputs").exists()


@pytest.mark.slow
def test_pil_images_are_turned_as_files_of_the_run(configured):
    exif = Image.Exif()
    exif[0x0112] = 6
    images = [Image.open(io.BytesIO(encode(image, "JPEG", exif=exif))) for image in IMAGES]
    for word, shape in (("seed=1", (9, 8)), ("dataset.upright=false", (8, 9))):
        finetune(word, train=(images, ARRAYS[1]))
        first = Path(configured[-1].dataset.data_dir).parent / "train/0000000.png"
        assert np.asarray(Image.open(first)).shape[:2] == shape


def test_keys_are_texts():
    with pytest.raises(
        UserError, match=r"^overrides: got \{'seed': 1\}, expected a text for each key"
    ):
        finetune({"seed": 1})


@pytest.mark.slow
def test_functions_of_a_program(tmp_path):
    """A function sees each epoch and ends the training; another one is a further metric."""
    seen = []

    def share_right(labels, probabilities):
        return (probabilities.argmax(-1) == labels).mean()

    run = finetune(
        *SHORT, "train.epochs=5", directory=tmp_path / "run", metrics={"share_right": share_right},
        on_epoch_end=lambda figures: seen.append(figures["validation_top1"]) or len(seen) == 2,
    )  # fmt: skip
    assert [one["validation_top1"] for one in run.epochs] == seen
    assert (len(seen), run.result["stopped_by"]) == (2, "callback")
    for split in ("validation", "test"):
        assert run.result[f"{split}_share_right"] == pytest.approx(run.result[f"{split}_top1"])
    assert run.result["best_weights"] == "trained"
    with pytest.raises(
        UserError, match=r"^resume: got .* finished, expected one that was cut off\n  train it"
    ):
        finetune(f"resume={tmp_path / 'run'}")


@pytest.mark.parametrize("name", ["top1", "loss", "my gap", 3])
def test_names_of_metrics_are_checked_first(name):
    with pytest.raises(UserError, match=rf"^metrics: got {name!r}, expected a name without spaces"):
        finetune(metrics={name: lambda labels, probabilities: 1.0})


def test_class_names_of_a_recipe_beside_arrays(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "defaults: [config, _self_]\ndataset: {class_names: [cow, bee]}\n"
    )
    with pytest.raises(
        UserError, match=r"^dataset\.class_names: got .* in the recipe beside train="
    ):
        finetune(recipe="mine", folder=tmp_path, train=ARRAYS)


def test_a_split_file_of_a_recipe_beside_arrays(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "defaults: [config, _self_]\ndataset: {splits: {file: mine.csv}}\n"
    )
    with pytest.raises(UserError, match=r"^dataset\.splits\.file: got .*mine\.csv in the recipe"):
        finetune(recipe="mine", folder=tmp_path, train=ARRAYS)


@pytest.mark.parametrize(("key", "value"), [("on_epoch_end", [3]), ("metrics", {"a": "b"})])
def test_callbacks_and_metrics_that_are_not_functions_are_refused(key, value):
    with pytest.raises(UserError, match=rf"^{key}: got .*, expected functions$"):
        finetune(**{key: value})
