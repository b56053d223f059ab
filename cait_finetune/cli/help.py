"""Print the help: the commands, the groups, or the keys of a group."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from cait_finetune.cli.reference import Key, Section, sections
from cait_finetune.config.suggestions import unknown_key
from cait_finetune.errors import bad_value

_EXAMPLES = """\
  cait-finetune                                        digits, offline, under a minute
  cait-finetune dataset=flowers model=cait_s24_224     a TFDS data set and a published model
  cait-finetune dataset=folder dataset.data_dir=photos model=cait_xxs24_224
  cait-finetune -m seed=0,1,2                          one run for each seed
  cait-finetune -cn flowers_linear_probe               a recipe (recipes/*.yaml)
  cait-finetune resume=RUN                             resume an interrupted run
"""


def overview(commands: Mapping[str, str], console: Console) -> None:
    """Print a table of the commands, examples, and the groups with their options."""
    console.print("cait-finetune [COMMAND] KEY=VALUE …\n\nFine-tune CaiT image models.\n")
    console.print(_EXAMPLES)
    console.print(_table("command", commands.items()))
    groups = ((one.name, " ".join(one.options)) for one in sections().values() if one.options)
    console.print()
    console.print(_table("group", groups))
    console.print(
        "\ncait-finetune --help GROUP     the keys and options of a group\n"
        "cait-finetune --help KEY       one key, such as optimizer.base_lr\n"
        "cait-finetune --help keys      every key\n"
        "cait-finetune COMMAND --help   a command\n"
        "cait-finetune … --cfg job      the composed configuration, without a run"
    )


def _table(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    table = Table(title, "", box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name, text in rows:
        table.add_row(name, text)
    return table


def topics(names: Sequence[str], console: Console, commands: Iterable[str] = ()) -> None:
    """Print the help of groups and keys. The name ``keys`` stands for every group.

    Args:
        commands: names of the commands that have their own help.

    Raises:
        UserError: a name is neither a group nor a key.
    """
    found = sections()
    for name in names:
        asked = name.partition("=")[0]
        if asked == "keys":
            for section in found.values():
                show_section(section, console)
        elif asked in found:
            show_section(found[asked], console)
        else:
            keys = [one for section in found.values() for one in section.keys]
            inside = [one for one in keys if one.name == asked or one.name.startswith(f"{asked}.")]
            if not inside and asked in commands:
                raise bad_value(
                    "--help", asked, "a group or a key", f"Write cait-finetune {asked} --help"
                )
            if not inside:
                raise unknown_key(asked)
            show_keys(inside, console)


def show_section(section: Section, console: Console) -> None:
    """Print what a group is for, its options and its keys."""
    console.print(f"{section.name or 'keys without a group'}: {section.about}\n")
    if section.options:
        console.print(
            _table(
                "option",
                ((f"{section.name}={name}", text) for name, text in section.options.items()),
            )
        )
        console.print()
    show_keys(section.keys, console)
    console.print()


def show_keys(keys: Iterable[Key], console: Console) -> None:
    """Print each key: a line with default and values, then its meaning."""
    for key in keys:
        console.print(f"  {key.name}={key.default or '…'}   ({key.values})")
        where = f" Read with {key.where}." if key.where else ""
        text = f"{key.meaning}{where}"
        if text:
            console.print(textwrap.fill(text, max(40, console.width), initial_indent=" " * 6,
                                        subsequent_indent=" " * 6))  # fmt: skip
