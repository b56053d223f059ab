"""The commands: one thin module each, which reads keys, calls a function and prints its result.

A module's ``main`` reads ``sys.argv`` after the command's name.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Sequence
from itertools import pairwise

#: What each command does. The name is the module's.
COMMANDS = {
    "train": "fine-tune a model; the default command",
    "predict": "classify image files",
    "evaluate": "score a model on a data set",
    "export": "export a finished run to other formats",
    "report": "write a run's report again",
    "compare": "compare runs",
    "sweep": "write a W&B sweep file",
    "attention": "draw a fine-tuned model's saliency maps",
    "new_recipe": "write a command's words to a recipe file",
    "show_batch": "draw a training batch, augmented",
    "lr_find": "find a learning rate",
    "benchmark": "measure the speed of input, model or start-up",
    "convert": "convert weights from any source to any format",
    "collection": "build the original collection's SavedModels",
    "maps": "draw a published model's attention maps",
    "verify": "measure whether devices and resumed runs give equal results",
    "verify_changes": "test each command after images, classes or weights changed",
}


#: The groups that the help of a Hydra command shows after the docstring. Empty: every group.
_GROUPS: dict[str, tuple[str, ...]] = {
    "train": (),
    "evaluate": ("evaluation", "preprocessing", "model", "head", "dataset"),
    "lr_find": ("lr_find", "optimizer"),
    "show_batch": ("augment", "preprocessing", "dataset"),
}
_HELP = ("-h", "--help")
#: Commands of other frameworks.
_HINTS = {
    "fit": "did you mean train?",
    "finetune": "did you mean train?",
    "val": "did you mean evaluate?",
    "test": "did you mean evaluate?",
    "infer": "did you mean predict?",
    "detect": "did you mean predict?",
    "tune": "did you mean sweep?",
    "resume": "Write cait-finetune resume=RUN",
    "login": "Write wandb login",
    "download": "Weights are downloaded when a command first uses them",
    "list": "Write cait-finetune --help",
}


def run_command() -> None:
    """Run the command that the first word names, or ``train`` if it names none."""
    if sys.argv[1:2] == ["help"]:
        sys.argv[1:] = [*sys.argv[2:], "--help"]
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    name = word if word in COMMANDS else "train"
    if word == name:
        del sys.argv[1]
    elif word == "--version":
        from cait_finetune import __version__

        print(f"cait-finetune {__version__}")
        return
    elif later := next((one for one in sys.argv[2:] if one in COMMANDS), None):
        if not sys.argv[sys.argv.index(later) - 1].startswith("-"):  # else an option's value
            sys.exit(f"cait_finetune: {later}: got a command after other words, expected it first\n"
                     f"  Write cait-finetune {later} …")  # fmt: skip
    elif re.fullmatch(r"[a-z_-]+", word) and not word.startswith("-"):  # a key has =, + or ~
        from cait_finetune.config.advice import advise
        from cait_finetune.errors import bad_value, suggest

        expected = f"key=value or one of {', '.join(COMMANDS)}"
        hint = _HINTS.get(word) or suggest(word.replace("-", "_"), list(COMMANDS))
        following = sys.argv[2] if len(sys.argv) > 2 else ""
        if word == "resume" and following:
            hint = f"Write cait-finetune {advise('resume', following)}"
        if following.startswith("="):
            hint = f"Leave out the spaces beside =: {word}={following[1:] or 'VALUE'}"
        if os.path.isdir(word):
            hint = f"did you mean dataset=folder {advise('dataset.data_dir', word)}?"
        sys.exit(f"cait_finetune: {bad_value(word, 'an unknown command', expected, hint)}")
    module = importlib.import_module(f"cait_finetune.commands.{name}")
    if name in _GROUPS and set(_HELP) & set(sys.argv[1:]):
        _help(word == name, name, module.__doc__ or "")
    else:
        module.main()


def _help(named: bool, name: str, text: str) -> None:
    """Print the help of a Hydra command, of the groups and keys that the user named, or of all commands.

    Args:
        named: whether the words began with the command's name.
    """
    from cait_finetune.cli import help as pages
    from cait_finetune.cli.entry import command
    from cait_finetune.runtime.console import plain_console

    with command("cait_finetune"):
        console = plain_console(soft_wrap=False)
        asked = [word for word in sys.argv[1:] if word not in _HELP]
        if asked:
            pages.topics(asked, console, COMMANDS)
        elif not named:
            pages.overview(COMMANDS, console)
        else:
            console.print(inspect.cleandoc(text), soft_wrap=True)
            console.print()
            pages.topics(_GROUPS[name] or ["keys"], console)


def refuse_module_form(words: Sequence[str]) -> None:
    """Exit when the interpreter was called as ``python -m cait_finetune.COMMAND``.

    Args:
        words: ``sys.orig_argv``.
    """
    for option, module in pairwise(words):
        package, _, name = module.partition(".")
        if option == "-m":
            if package == "cait_finetune" and name in COMMANDS:
                sys.exit(
                    f"cait_finetune: -m: got {module}, expected cait_finetune {name}\n"
                    f"  Write python -m cait_finetune {name} …"
                )
            return
