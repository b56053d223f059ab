"""A run records its data and start weights, and refuses changed ones."""

import gzip
import json
import shutil

import pytest

import cait_tf
from cait_finetune.errors import UserError
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.identity import (
    ChangedData,
    begin_identity,
    check_best,
    check_state,
    check_weights,
    confirmed,
    identity_facts,
    place_notes,
    record_weights_path,
    run_classes,
    unlike,
)
from cait_tf.weights.checksum import stated_checksum
from tests.cait_finetune.data.test_fingerprint import IDS, source
from tests.cait_finetune.tiny import tiny_model

FEWER = {**IDS, "train": IDS["train"][:2]}


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path)
    begin_identity(run, source(), "pretrained", "abc", "id")
    return run


def check(run, now, command="export", accept=False):
    """Return the source that a command gets, and the lines that it prints."""
    said = []
    return confirmed(run, ("ant", "bee"), now, command, accept, said.append), said


def test_the_same_data_elsewhere_pass_without_a_word(run):
    now, said = check(run, source("/moved"))
    assert said == []
    assert now.class_names == ("ant", "bee")
    assert run_classes(run) == ("ant", "bee")
    assert identity_facts(run)["splits"]["test"]["size"] == 2


def test_classes_in_another_order_get_the_runs_numbers(run):
    now, said = check(run, source(classes=("bee", "ant")))
    assert now.class_names == ("ant", "bee")
    assert now.labels("train").tolist() == source().labels("train").tolist()
    assert said == [
        "data   the same classes in another order: labels are numbered as in the run's head"
    ]


@pytest.mark.parametrize("accept", [False, True])
def test_other_classes_are_refused_in_any_case(run, accept):
    ids = {split: [name.replace("ant", "zebra") for name in names] for split, names in IDS.items()}
    with pytest.raises(ChangedData, match=r"gone: ant; new: zebra, .*\n  Rename them back"):
        check(run, source(classes=("bee", "zebra"), ids=ids), accept=accept)
    with pytest.raises(ChangedData, match="new: cow"):
        check(run, source(classes=("ant", "bee", "cow")), accept=accept)


def test_other_images_are_refused_in_words(run):
    with pytest.raises(ChangedData) as caught:
        check(run, source(ids=FEWER))
    assert str(caught.value) == (
        "dataset: got other images than the run's: 1 image gone (bee/2.jpg), expected the images that "
        "the run was trained on\n  Put them back, give their folder with dataset.data_dir=DIR, or "
        "add dataset.accept_changes=true"
    )


def test_pictures_that_were_replaced_are_refused(run):
    with pytest.raises(ChangedData, match=r"1 image with other content \(bee/2\.jpg\)"):
        check(run, source(contents={"bee/2.jpg": "another picture"}))


def test_contents_that_nobody_recorded_are_not_compared_and_that_is_printed(run):
    said = [
        "data   names and labels are compared, contents are not: dataset.check=false, or an older run"
    ]
    assert check(run, source(contents=None))[1] == said
    begin_identity(run, source(contents=None), "pretrained", "abc", "id")
    assert check(run, source())[1] == said
    with pytest.raises(ChangedData, match="1 image gone"):
        check(run, source(ids=FEWER))


def test_a_record_of_an_older_version(run):
    """An older version wrote neither content hashes nor a column for them."""
    begin_identity(run, source(contents=None), "pretrained", "abc", "id")
    kept = json.loads(run.identity.read_text())
    for one in kept["data"]["splits"].values():
        del one["content_sha256"]
    run.identity.write_text(json.dumps(kept))
    rows = gzip.decompress(run.images.read_bytes()).decode().splitlines()
    assert rows[0] == "split,id,label,content"
    run.images.write_bytes(
        gzip.compress("\n".join(row.rpartition(",")[0] for row in rows).encode())
    )
    with pytest.raises(ChangedData, match=r"got other images than the run's: 1 image gone \("):
        check(run, source(ids=FEWER))
    assert check_state(run, kept["data"]["sha256"], "id") == kept["data"]["sha256"]


def test_accepted_changes_are_recorded(run):
    before = json.loads(run.identity.read_text())["data"]
    now, said = check(run, source(ids=FEWER), accept=True)
    assert now.sizes["train"] == 2
    assert said == ["data   changed, and accepted: 1 image gone (bee/2.jpg)"]
    kept = json.loads(run.identity.read_text())
    assert kept["data"] == before, "the run was trained on these"
    assert identity_facts(run)["accepted_changes"] == ["export: 1 image gone (bee/2.jpg)"]
    assert not run.result.exists()


def test_a_finished_runs_result_has_the_accepted_changes(run):
    run.write_result({"test_top1": 1.0, "data": identity_facts(run)})
    check(run, source(ids=FEWER), "report", accept=True)
    result = run.read_result()
    assert result["test_top1"] == 1.0
    assert result["data"]["accepted_changes"] == ["report: 1 image gone (bee/2.jpg)"]


def test_a_resumed_run_is_of_the_accepted_images_from_then_on(run):
    old = json.loads(run.identity.read_text())["data"]["sha256"]
    check(run, source(ids=FEWER), "resume", accept=True)
    assert check(run, source(ids=FEWER), "resume")[1] == []
    with pytest.raises(ChangedData, match="1 image new"):
        check(run, source(), "resume")
    now = json.loads(run.identity.read_text())["data"]["sha256"]
    assert (
        check_state(run, old, "id")
        == check_state(run, now, "id")
        == check_state(run, "", "")
        == now
    )
    with pytest.raises(UserError, match="a state of other data"):
        check_state(run, "of another run", "id")


def test_the_order_of_images_matters_to_training_alone(run):
    shuffled = source(ids={**IDS, "train": IDS["train"][::-1]})
    assert check(run, shuffled)[1] == []
    with pytest.raises(ChangedData, match="the same images in another order"):
        check(run, shuffled, "resume")


def test_a_run_of_a_version_that_kept_no_record(tmp_path):
    run = RunDirectory(tmp_path)
    assert check(run, source())[1] == [
        "data   not compared: the run's version kept no record of its images"
    ]
    with pytest.raises(ChangedData, match="new: cow"):
        check(run, source(classes=("ant", "bee", "cow")))
    assert identity_facts(run) == {}
    assert check_state(run, "", "") == ""


@pytest.mark.parametrize(
    "damage", ["{", "[]", "{}", "null", '{"data": {}}', '{"data": {"splits": 3}}']
)
def test_a_record_that_cannot_be_read(run, damage):
    run.identity.write_text(damage)
    with pytest.raises(UserError, match=r"identity\.json: got"):
        check(run, source())


def test_a_lost_list_of_images_does_not_let_changes_pass(run):
    run.images.write_bytes(b"no gzip")
    assert check(run, source())[1] == []
    with pytest.raises(ChangedData):
        check(run, source(ids=FEWER))


def test_a_damaged_list_of_equal_images_is_written_again_on_resume(run):
    whole = run.images.read_bytes()
    for damaged in (whole[: len(whole) // 2], b""):
        run.images.write_bytes(damaged)
        check(run, source())
        assert run.images.read_bytes() == damaged  # `export` does not write the list
        check(run, source(), "resume")
        assert run.images.read_bytes() == whole


def test_the_files_of_a_run_name_the_same_classes(run, tmp_path):
    run.checkpoints.mkdir()
    model = tiny_model(2)
    cait_tf.save_weights(model, run.best_checkpoint, {"classes": "ant\nbee"})
    assert run_classes(run) == ("ant", "bee")
    run.identity.unlink()
    assert run_classes(run) == ("ant", "bee"), "the checkpoint knows them"
    with pytest.raises(UserError, match="which is missing"):
        check_state(run, "of this run", "id")
    begin_identity(run, source(classes=("bee", "ant")), "pretrained", "abc", "id")
    with pytest.raises(UserError, match="in another order, than"):
        run_classes(run)


def test_best_weights_that_were_replaced(run):
    run.checkpoints.mkdir()
    cait_tf.save_weights(tiny_model(2), run.best_checkpoint)
    mark = stated_checksum(run.best_checkpoint)
    check_best(run, mark)
    check_best(run, "")
    cait_tf.save_weights(tiny_model(2, seed=1), run.best_checkpoint)
    with pytest.raises(UserError, match="with other weights than the run saved"):
        check_best(run, mark)
    run.best_checkpoint.unlink()
    with pytest.raises(UserError, match=r"got no .*best\.safetensors, expected the run's own best"):
        check_best(run, mark)


def test_start_weights_that_were_replaced(run):
    check_weights(run, "elsewhere.safetensors", "abc")
    message = (
        r"model\.weights: got x with other weights than .*, expected the weights of pretrained"
    )
    with pytest.raises(UserError, match=message):
        check_weights(run, "x", "abd")


def test_the_new_place_of_the_initial_weights_is_recorded(run):
    record_weights_path(run, "/moved/w.safetensors")
    with pytest.raises(UserError, match=r"the weights of /moved/w\.safetensors as they were"):
        check_weights(run, "x", "abd")


def test_a_repeated_run_lists_its_differences_from_the_original(run, tmp_path):
    now = source()
    assert unlike(run, now, "abc") == [
        f"again  the images, classes and initial weights of {run.root}"
    ]
    assert unlike(run, now, "abd") == [f"again  other initial weights than {run.root}"]
    assert unlike(run, source(ids=FEWER), "abc") == [
        f"again  other images than {run.root}: 1 image gone (bee/2.jpg)"
    ]
    (line, *_) = unlike(run, source(classes=("bee", "ant")), "abc")
    assert line == f"again  other classes than {run.root}: another order"
    run.identity.unlink()
    assert unlike(run, now, "abc") == [
        f"again  {run.root} kept no record of its images: they are not compared"
    ]


def test_a_state_of_another_run_with_the_same_data(run):
    digest = json.loads(run.identity.read_text())["data"]["sha256"]
    assert check_state(run, digest, "id") == check_state(run, digest, "") == digest
    with pytest.raises(UserError) as caught:
        check_state(run, digest, "other")
    assert str(caught.value) == (
        f"resume: got {run.checkpoints} with a state of another run than {run.identity}, expected "
        "the files of one run\n  Restore the run's own files"
    )


def test_accepted_changes_leave_the_id(run):
    check(run, source(ids=FEWER), "resume", accept=True)
    assert json.loads(run.identity.read_text())["run"] == "id"


def test_a_copied_run_reports_the_folder_of_its_images(tmp_path):
    """The copied project may have other images of the same names."""
    run = RunDirectory(tmp_path / "old" / "run")
    run.root.mkdir(parents=True)
    run.identity.write_text(json.dumps({"directory": str(run.root)}))
    assert place_notes(run, "/photos") == []
    copy = RunDirectory(shutil.copytree(tmp_path / "old", tmp_path / "new") / "run")
    assert place_notes(copy, "/photos") == [
        f"data   the run was moved or copied from {run.root}; its images are those of /photos: "
        "set dataset.data_dir to read them from another place"
    ]
    assert place_notes(copy, None) == []  # digits, or images that the user names
    (tmp_path / "link").symlink_to(tmp_path / "old")
    assert place_notes(RunDirectory(tmp_path / "link" / "run"), "/photos") == []
