"""``cait-finetune export run=DIR export=onnx``: export a run's best weights to files.

``'export=[saved_model,onnx,litert,keras,timm]'`` writes several formats. The command also accepts the
other keys of the group ``export``, such as ``export.quantise=[int8]``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import OmegaConf

from cait_finetune.cli.arguments import helped, read_keys, unknown_key
from cait_finetune.cli.compose import configure
from cait_finetune.cli.entry import command
from cait_finetune.config import ExportConfig
from cait_finetune.config.places import expanded_path
from cait_finetune.config.words import read_text
from cait_finetune.errors import bad_value
from cait_finetune.export.formats import check
from cait_finetune.runs.exports import weights_mark
from cait_finetune.runs.provenance import SEEN, stated
from cait_finetune.runs.run_id import run_id
from cait_finetune.runs.saved import RunDataConfig, SavedRun, read_run
from cait_finetune.runtime.console import plain_console
from cait_tf.quiet import quiet_imports


def read_arguments(arguments: list[str]) -> tuple[Path, ExportConfig, RunDataConfig]:
    """Parse the words of the command.

    Returns:
        The run's directory, the group ``export`` as the main command composes it, and the current place
        of the run's images.

    Raises:
        UserError: a key is unknown, a value is wrong, or ``run`` is missing.
    """
    run, words, data = None, [], []
    of_data = [f"dataset.{key}" for key in RunDataConfig.__dataclass_fields__]
    known = ["run", "export", *(f"export.{key}" for key in ExportConfig.__dataclass_fields__)]
    known += of_data
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in known:
            raise unknown_key(argument, known)
        if key == "run":
            run = read_text(value)
        elif key in of_data:
            data.append(argument.removeprefix("dataset."))
        else:
            words.append(argument)
    if not run:
        raise bad_value("run", "nothing", "the directory of a run", "add run=DIR to the command")
    export = configure(*words).export
    return expanded_path("run", run), export, read_keys(data, RunDataConfig, "dataset.")


def export(directory: Path, config: ExportConfig, data: RunDataConfig | None = None) -> None:
    """Export the best weights of a run to the configured formats, in the run's directory.

    Args:
        directory: directory of the run.
        config: the formats and their options.
        data: the current place of the run's images. `None`: the place from which the run read them.

    Raises:
        UserError: the run does not exist, its scores are of other weights, or its images are missing.
            Or a library is missing, the outputs of a file differ from the model's, or the hub refuses
            the files.
        ChangedData: the images differ from the run's images.
    """
    run = read_run(directory)
    with run.directory.owned("run"):
        _export(run, config, data or RunDataConfig())


def _export(run: SavedRun, config: ExportConfig, data: RunDataConfig) -> None:
    run.head.check_export(config)
    run.task.check_export(config)
    if not run.is_scored:  # the model card would state scores of other weights
        raise bad_value(
            "run",
            f"{run.directory.best_checkpoint}, whose weights {run.directory.result.name} does not describe",
            "the weights that the run was scored with",
            f"Restore those weights, or remove {run.directory.result} to export without scores",
        )
    check(config)
    with quiet_imports():
        import tensorflow as tf

        from cait_finetune.data.corrupt import CorruptImages
        from cait_finetune.export.exported_model import ExportedModel
        from cait_finetune.loggers.build import build_loggers
        from cait_finetune.report.page import write_page
        from cait_finetune.workflow.exporting import export_run, outcome, publish, read_exports
        from cait_finetune.workflow.logged import conclude_loggers

        tf.config.list_physical_devices()  # the first query of the devices logs too
    console = plain_console()
    source = run.load_source(data, "export", console.print)
    result = run.directory.read_result()
    corrupt = CorruptImages(run.dataset.on_corrupt)
    corrupt.include(result.get("corrupt_images", []))
    exported = ExportedModel(
        run.build_model(source.class_names),
        run.build_preprocessing(),
        source.class_names,
        run.model.name,
        run.postprocessing.named(source.class_names),
        run=run_id(run.directory),
        weights=weights_mark(run.directory.best_checkpoint) or "",
        allow_flip=run.dataset.allow_flip,
        seen_images=stated(run.directory.best_checkpoint).get(SEEN, ""),
    )
    try:
        export_run(config, exported, source, corrupt, run.directory, console.print)
    finally:  # one format may fail after others were written
        if result:
            result |= outcome(read_exports(run.directory))
            run.directory.write_result(result)
            write_page(run.directory)
    publish(config, run.directory, list(source.class_names), console.print)
    if result:
        with build_loggers(run.logger, run.directory, console) as loggers:
            loggers.reopen(
                OmegaConf.to_container(run.directory.read_config()), result.get("steps", 0)
            )
            conclude_loggers(loggers, run.task, run.directory, result)
    console.print(f"export {run.directory.export}")


def main() -> None:
    """Entry point. On an error that the user can correct, print one message and exit with status 1."""
    with command("cait_finetune export"):
        if not helped(sys.argv[1:], __doc__, ExportConfig, "export."):
            export(*read_arguments(sys.argv[1:]))
