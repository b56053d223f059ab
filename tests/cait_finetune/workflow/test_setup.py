import shutil

import pytest

from cait_finetune.errors import UserError
from cait_finetune.workflow import streams
from cait_finetune.workflow.setup import prepare
from tests.cait_finetune.stand_ins import checked, encode, picture


@pytest.mark.parametrize("name", ["imagenet_v2", "imagenet_folder"])
def test_a_set_for_evaluation_is_not_trained_on(name, tmp_path):
    config = checked(f"dataset={name}", f"dataset.data_dir={tmp_path}")
    with pytest.raises(UserError, match=r"which is for evaluation only.*\n.*cait_finetune evalu"):
        prepare(config, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_the_export_will_want_is_missed_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("cait_finetune.export.formats.find_spec", lambda name: None)
    config = checked("export=onnx", f"dataset.data_dir={tmp_path}")
    with pytest.raises(UserError, match=r"pip install 'cait-finetune\[onnx\]'"):
        prepare(config, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_class_name_of_two_lines_is_refused_before_anything_is_trained(tmp_path):
    for split in ("train", "test"):
        for name in ("one", "two\nlines"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(4):
                (folder / f"{number}.png").write_bytes(encode(picture(16, 16, seed=number)))
    config = checked(
        "dataset=folder", f"dataset.data_dir={tmp_path / 'images'}", "model=cait_nano_32"
    )
    with pytest.raises(
        UserError, match=r"dataset\.class_names: got 'two\\nlines', expected names of"
    ):
        prepare(config, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(("cache", "reads"), [("memory", 3), ("none", 6)])
def test_the_check_and_each_epoch_share_a_pipeline(cache, reads, tmp_path, monkeypatch):
    """Each split traces one graph. Cached validation images are decoded once."""
    built, passes = [], []
    original = streams.evaluation_batches

    class Counted:
        def __init__(self, split, batches):
            self.split, self.batches = split, batches

        def __iter__(self):
            passes.append(self.split)
            return iter(self.batches)

    def counted(source, split, *args):
        built.append(split)
        return Counted(split, original(source, split, *args))

    monkeypatch.setattr(streams, "evaluation_batches", counted)
    prepared = prepare(checked("dataset=digits", f"dataset.cache={cache}"), tmp_path / "run")
    validation = prepared.streams.validation()
    first, second = (
        [[part.numpy().tolist() for part in batch] for batch in validation] for _ in range(2)
    )
    assert first == second
    for split in ("validation", "test"):
        list(prepared.streams.images_of(split))
    assert sorted(built) == ["test", "validation"]
    assert len(passes) == reads


@pytest.mark.slow
def test_a_resumed_run_has_files_of_its_own(tmp_path, monkeypatch):
    """A resumed run refuses the files of a run with equal data but other initial weights."""
    monkeypatch.setattr(streams, "check_decoding", lambda *_, **__: None)  # half of `prepare`

    def begun(name, seed):
        prepared = prepare(checked("dataset=digits", f"seed={seed}"), tmp_path / name)
        arrays = {
            f"model/{variable.path}": variable.numpy() for variable in prepared.plan.model.weights
        }
        prepared.logbook.checkpoints.save_state(arrays, prepared.logbook.state.as_dict(), 1)
        prepared.logbook.checkpoints.save(prepared.plan.model, prepared.logbook.checkpoints.best, 1)
        return prepared

    def resumed(directory, *words):
        config = checked("dataset=digits", "seed=0", *words)
        config.resume = str(directory)
        return prepare(config, directory)

    one, other = begun("one", 0), begun("other", 1)
    with pytest.raises(
        UserError, match=r"model\.weights: got none with other weights than the run be"
    ):
        resumed(tmp_path / "one", "model.weights=none")
    shutil.copytree(one.run.root, tmp_path / "copy")
    assert (
        resumed(tmp_path / "copy").logbook.state.run
        == one.logbook.state.run
        != other.logbook.state.run
    )

    for path in (*other.logbook.checkpoints.states, other.logbook.checkpoints.best):
        own = (one.run.checkpoints / path.name).read_bytes()
        shutil.copy(path, one.run.checkpoints)
        with pytest.raises(UserError, match=r"resume: got .* of another run than .*identity\.json"):
            resumed(one.run.root)
        (one.run.checkpoints / path.name).write_bytes(own)

    table = one.run.parameters.read_bytes()
    for damage in (lambda: one.run.parameters.write_bytes(b""), one.run.parameters.unlink):
        damage()
        resumed(one.run.root)
        assert one.run.parameters.read_bytes() == table

    for path in one.logbook.checkpoints.states:
        path.unlink()
    for epoch in (1, 2):
        one.logbook.metrics.write("epoch", epoch=epoch, step=epoch)
    with pytest.raises(
        UserError, match=r"checkpoints without a state, although metrics\.jsonl has 2"
    ):
        resumed(one.run.root)
    one.run.metrics.unlink()
    assert resumed(one.run.root).logbook.state.run == one.logbook.state.run, (
        "cut off before its first state"
    )
