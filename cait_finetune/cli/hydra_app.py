"""Run a command's function under Hydra's command line, and print an error as one message."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from cait_finetune.cli.compose import NUMBER_FOR_GROUP, prepare_hydra, resumed_run
from cait_finetune.cli.entry import Errors, command
from cait_finetune.cli.explain import explain, group_without_name, includes_itself
from cait_finetune.cli.loading import end_loading
from cait_finetune.cli.optuna import register_study
from cait_finetune.cli.output_place import OutputPlace, release
from cait_finetune.cli.planned import announce
from cait_finetune.cli.typed_words import arguments_as_typed
from cait_finetune.config import Config
from cait_finetune.config.advice import advise
from cait_finetune.config.places import data_folder
from cait_finetune.config.typed import check_typed
from cait_finetune.config.words import unquoted
from cait_finetune.config.yaml_files import refuse_hidden
from cait_finetune.errors import Interrupted, UserError, bad_value
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runtime.gc import loading
from cait_finetune.runtime.own_process import can_fork, in_own_process
from cait_finetune.runtime.signals import Ending
from cait_finetune.runtime.xla_cache import keep_compiled, seal
from cait_finetune.tasks import checked
from cait_tf.atomic import write_text
from cait_tf.quiet import quiet_imports

#: Optuna's error at the end of a study in which every trial failed.
_NO_TRIAL = "No trials are completed yet."
#: The launcher's error on a machine that is not part of a SLURM cluster.
_NO_SRUN = 'Could not detect "srun"'
_FULL_ERROR = "HYDRA_FULL_ERROR"
_SHOW_TRACEBACKS = os.environ.get(_FULL_ERROR) == "1"


class _RunFailed(Exception):
    """Tells Hydra's sweeper that a run failed. The message names the run and explains its error.

    The sweeper counts the failed runs.
    """


def run_with_hydra(name: str, load: Callable[[], Callable[[Config, Path], object]]) -> None:
    """Compose the configuration from ``sys.argv`` and run ``load()(config, directory)``.

    Hydra's sweeper gets the function's return value. When one of several runs (``-m``) fails, the
    command prints its error at once and continues with the next run.

    On a user's mistake, the command prints one message and exits with status 1. An error in the program
    shows its traceback. With ``traceback=true`` or ``HYDRA_FULL_ERROR=1`` a user's mistake does, too.

    Args:
        name: name of the command.
        load: imports and returns the command's function. It is called after the configuration's
            check, so a mistake is reported before TensorFlow loads.
    """
    given = os.environ.get(_FULL_ERROR)
    with command("cait_finetune", importing=True) as errors:
        try:
            _run_composed(name, load, errors)
        finally:
            os.environ.pop(_FULL_ERROR, None)
            os.environ |= {} if given is None else {_FULL_ERROR: given}


def _run_composed(
    name: str, load: Callable[[], Callable[[Config, Path], object]], errors: Errors
) -> None:
    errors.tracebacks |= _SHOW_TRACEBACKS
    begun: list[int] = []
    compiled: Path | None = None
    forks = can_fork()

    @hydra.main(version_base="1.3", config_path=str(data_folder("conf")), config_name="config")
    def run(composed: DictConfig) -> object:
        nonlocal compiled
        begun.append(1)
        settings = HydraConfig.get()
        several = settings.mode is RunMode.MULTIRUN
        directory = Path(settings.runtime.output_dir)
        failure = RunDirectory(directory).failure
        if several:
            Ending.reopen()  # the end of the previous run does not count for this run
            # An earlier command may have left the file in this directory.
            with contextlib.suppress(OSError):
                failure.unlink()
            params = settings.sweeper.get("params") or {}
            print(
                announce(settings.job.num, settings.overrides.task, sys.argv[1:], params),
                flush=True,
            )
        try:
            refuse_hidden(settings)
            if composed.get("resume") is None:
                config = checked(composed)
                check_typed(settings.overrides.task, config, name)
            else:
                config = resumed_run(composed, settings)
                directory = Path(config.resume)
            kept = config.train.compile_cache_dir
            compiled = keep_compiled(Path(kept) if kept else None, os.environ) or compiled
            with quiet_imports(), loading():
                stage = load()
            end_loading()

            def made() -> object:
                try:
                    value = stage(config, directory)
                    Ending.decide()
                    return value
                finally:
                    seal(compiled)

            if several and forks and settings.runtime.choices["hydra/launcher"] == "basic":
                return in_own_process(made, lambda: _go_on(directory))
            return made()
        except (UserError, OmegaConfBaseException) as error:
            errors.tracebacks |= bool(composed.get("traceback"))
            if not several:
                release(directory)
            if errors.tracebacks:
                raise
            if not several:
                sys.exit(f"cait_finetune: {explain(error)}")
            # The command that started the runs reads the file, maybe in another process.
            text = f"{_which_run(settings)}: {_of_sweep(explain(error))}"
            with contextlib.suppress(OSError):
                write_text(failure, f"{text}\n")
            print(f"cait_finetune: {text}", file=sys.stderr, flush=True)
            if settings.runtime.choices["hydra/sweeper"] != "basic":  # Optuna counts failures
                raise _RunFailed(text) from None
            return None
        except Interrupted as error:
            Ending.decide()
            message, code = str(error), error.code
        # The error's frames hold TensorFlow's thread pools. Free them before the interpreter exits.
        gc.collect()
        print(f"cait_finetune: {message}", file=sys.stderr)
        sys.exit(code)

    prepare_hydra()
    register_study()  # after Hydra has loaded its plugins, which store their own defaults
    # With the variable set, Hydra raises errors instead of printing them.
    os.environ[_FULL_ERROR] = "1"
    try:
        with arguments_as_typed(name):
            run()
    except RecursionError:
        if _SHOW_TRACEBACKS or begun:
            raise
        sys.exit(f"cait_finetune: {includes_itself()}")
    except (HydraException, OmegaConfBaseException) as error:
        if OutputPlace.claimed and not begun:
            release(OutputPlace.claimed)
        if _SHOW_TRACEBACKS:
            raise
        sys.exit(f"cait_finetune: {explain(error)}")
    except _RunFailed as error:
        sys.exit(f"cait_finetune: {error}")
    except OSError as error:
        if begun or error.filename is None:
            raise
        # Hydra failed to create the run's directory.
        key = "hydra.sweep.dir" if {"-m", "--multirun"} & set(sys.argv) else "hydra.run.dir"
        expected = f"a directory that can be made ({error.strerror})"
        raise bad_value(key, error.filename, expected, "Choose another") from error
    except RuntimeError as error:
        if _NO_SRUN not in str(error):
            raise
        if OutputPlace.claimed and not begun:
            release(OutputPlace.claimed)
        raise bad_value(
            "hydra/launcher", "submitit_slurm without srun", "a machine of a SLURM cluster",
            "Set hydra/launcher=submitit_local to try the jobs on this machine.",
        ) from error  # fmt: skip
    except ValueError as error:
        if str(error).startswith("Only one of --run"):
            raise bad_value("--cfg", "--cfg beside -m", "one of the two",
                            "Leave -m out: --cfg shows the configuration of one run.") from error  # fmt: skip
        if str(error) == _NO_TRIAL:
            problem = bad_value("hydra/sweeper", "no finished trial", "at least one")
            sys.exit(f"cait_finetune: {problem}\n  See the error of each trial above.")
        if _SHOW_TRACEBACKS or not str(error).startswith(NUMBER_FOR_GROUP):
            raise
        sys.exit(f"cait_finetune: {group_without_name(sys.argv)}")


def _go_on(directory: Path) -> str:
    """Return a hint on how to resume a run whose process died. Empty: the run cannot be resumed."""
    run = RunDirectory(directory)
    resumable = run.config.is_file() and not run.finished
    return f"Continue with {advise('resume', directory)}" if resumable else ""


def _of_sweep(message: str) -> str:
    """Replace ``hydra.run.dir`` at the start of a message by the key for several runs."""
    run, sweep = "hydra.run.dir:", "hydra.sweep.dir:"
    return message.replace(run, sweep, 1) if message.startswith(run) else message


def _which_run(hydra_config: HydraConf) -> str:
    return f"run {hydra_config.job.num}, {' '.join(map(unquoted, hydra_config.overrides.task))}"
