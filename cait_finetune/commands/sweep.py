"""``cait-finetune sweep WORDS…``: write a W&B sweep file from the words of a multirun.

The words are those of ``python -m cait_finetune -m``. Hydra's syntax marks the keys that vary::

    python -m cait_finetune sweep dataset=flowers model=cait_s24_224 \\
        'optimizer.base_lr=tag(log, interval(1e-5, 1e-3))' \\
        'optimizer.layer_decay=choice(0.65, 0.75, 0.85)' 'train.epochs=range(5, 20, 5)' \\
        sweep.method=bayes sweep.count=30

``sweep.KEY=VALUE`` sets a key of `SweepConfig`. With ``-cn RECIPE`` the file also varies the keys
of the recipe's ``hydra.sweeper.params``, like a multirun. The command composes and checks both ends
of every interval and range, and every choice, before it writes the file. The command needs no
TensorFlow, and uses the network only with ``sweep.start=true``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cait_finetune.cli.arguments import helped, read_keys
from cait_finetune.cli.compose import configure, sweeper_params
from cait_finetune.cli.entry import command
from cait_finetune.config import Config
from cait_finetune.config.places import expanded_path
from cait_finetune.config.words import keep_text
from cait_finetune.errors import bad_value
from cait_finetune.sweep.document import SweepConfig, check_directories, sweep_document, write
from cait_finetune.sweep.space import parse, read_space

_OPTIONS = {"-cn": "-cn", "--config-name": "-cn", "-cd": "-cd", "--config-dir": "-cd"}


def write_sweep(words: list[str]) -> tuple[SweepConfig, dict, Path]:
    """Write the sweep file.

    Returns:
        The command's own keys, the content of the file, and the path of the file.

    Raises:
        UserError: the words have a mistake, and no file is written; or the file cannot be written.
    """
    options, words = _split_options(words)
    own = [word for word in words if word.startswith("sweep.")]
    words = keep_text([word for word in words if word not in own], sweep=True)
    sweep = read_keys([word.removeprefix("sweep.") for word in own], SweepConfig, "sweep.")
    recipe = options.get("-cn", "config")
    folder = expanded_path("-cd", options["-cd"]) if "-cd" in options else None
    given = {one.key_or_group for one in parse(words)}
    params = sweeper_params(recipe, folder).items()
    words = [*(f"{key}={value}" for key, value in params if key not in given), *words]

    def check(fixed: list[str]) -> Config:
        return configure(*fixed, recipe=recipe, folder=folder)

    check_directories(words)
    space, config = read_space(words, check)
    varied = {one.key for one in space}
    fixed = [one.input_line for one in parse(words) if one.key_or_group not in varied]
    where = [word for option in ("-cd", "-cn") if option in options
             for word in (option, options[option])]  # fmt: skip
    document = sweep_document(sweep, where, fixed, space, config)
    path = expanded_path("sweep.out", sweep.out)
    write(document, path)
    return sweep, document, path


def _split_options(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Split off the options ``-cn NAME`` and ``-cd DIR``, and drop ``-m``, which a sweep implies.

    Returns:
        The value of each option by its short name, and the remaining words.

    Raises:
        UserError: an option is unknown or lacks its value.
    """
    options, rest = {}, []
    left = iter(words)
    for word in left:
        if word in ("-m", "--multirun"):
            continue
        name, _, value = word.partition("=")
        if name in _OPTIONS:
            value = value or next(left, "")
            if not value:
                raise bad_value(name, "nothing", "a value after it")
            options[_OPTIONS[name]] = value
        elif word.startswith("-"):
            raise bad_value(word, "an unknown option", "-cn NAME, -cd DIR and key=value words")
        else:
            rest.append(word)
    return options, rest


def main() -> None:
    """Entry point. On a user's mistake, print one message and exit with status 1."""
    words = sys.argv[1:]
    with command("cait_finetune sweep"):
        if helped(words, __doc__):
            return
        sweep, document, path = write_sweep(words)
        count = document.get("run_cap", "all")
        print(f"sweep  {path}: {', '.join(document['parameters'])}; {sweep.method}, {count} runs")
        if sweep.start:
            from cait_finetune.sweep.start import start

            print(f"run    {start(document, str(path))}")
        else:
            print(f"start  wandb sweep {path}")
