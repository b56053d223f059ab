"""Every command and every program in the documents works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

from cait_finetune import commands, predict
from cait_finetune.cli.arguments import unknown_key
from cait_finetune.cli.compose import configure_run
from cait_finetune.cli.known_words import refuse_unknown_keys, refuse_unknown_options
from cait_finetune.commands.collection import CollectionConfig
from cait_finetune.commands.convert import ConvertConfig
from cait_finetune.commands.maps import MapsConfig
from cait_finetune.config.suggestions import all_keys
from cait_finetune.inference.running import PredictConfig
from tests import quick_runs

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    [
        ROOT / "README.md",
        *(ROOT / ".github").glob("**/*.md"),
        *(ROOT / name / "README.md" for name in ("cait_finetune", "cait_tf", "recipes", "tests")),
    ]
)
#: The keys of commands that compose no configuration.
SMALL = {"predict": PredictConfig, "convert": ConvertConfig, "collection": CollectionConfig,
         "maps": MapsConfig}  # fmt: skip
OTHERS = {"export": ["run", "export"], "report": ["run"], "attention": ["run"], "verify": ["rows", "out"],
          "benchmark": None, "compare": None, "sweep": None}  # fmt: skip


def blocks(path, language):
    """Yield the code blocks of a document, with the comment line before each."""
    pattern = rf"(?:<!-- ([\w ]+) -->\n)?```{language}\n(.*?)```"
    for match in re.finditer(pattern, path.read_text(encoding="utf-8"), re.DOTALL):
        yield match[1] or "", match[2]


def command_lines():
    for path in DOCUMENTS:
        for _, block in blocks(path, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                for number, word in enumerate(words):
                    rest = words[number + 1 :]
                    if word == "cait-finetune":
                        yield pytest.param(
                            rest, id=f"{path.parent.name}/{path.stem}: {' '.join(rest)}"
                        )
                    elif words[number : number + 3] == ["python", "-m", "cait_finetune"]:
                        yield pytest.param(
                            words[number + 3 :], id=f"{path.stem}: {' '.join(words)}"
                        )


LINES = list(command_lines())


def test_the_documents_contain_commands():
    assert len(LINES) > 40


@pytest.mark.parametrize("words", LINES)
def test_a_command_has_known_words(words):
    if "continue_from=RUN" in words:
        words = [word.replace("=+", "=") for word in words]
    words = [word for word in words if word not in ("…", "resume=RUN", "continue_from=RUN")]
    name = words[0] if words and re.fullmatch(r"[a-z_]+", words[0]) else "train"
    assert name in commands.COMMANDS
    words = words[words[:1] == [name] :]
    if name == "evaluate":
        words = [word for word in words if word != "run=RUN"]
    if name in OTHERS:
        known = OTHERS[name]
        for word in words if known else ():
            assert word.split("=")[0].split(".")[0] in known, word
        return
    if name in SMALL:
        known = list(SMALL[name].__dataclass_fields__)
        assert [unknown_key(word, known) for word in words if word.split("=")[0] not in known] == []
        return
    refuse_unknown_options(words)
    recipe = "config"
    if "-cn" in words:
        recipe = words.pop(words.index("-cn") + 1)
        words.remove("-cn")
    if "-cd" in words or "--help" in words:  # the recipe is the reader's, or there is none
        return
    words = [word for word in words if word != "-m"]
    overrides = OverridesParser.create().parse_overrides([one for one in words if "=" in one])
    swept = [one for one in overrides if one.is_sweep_override()]
    plain = [
        one.input_line for one in overrides if one not in swept and "hydra" not in one.input_line
    ]
    refuse_unknown_keys(one.input_line for one in swept)
    firsts = []
    if not any("interval" in one.input_line for one in swept):
        for one in swept:
            if one.is_choice_sweep():
                firsts.append(f"{one.get_key_element()}={next(one.sweep_string_iterator())}")
    configure_run(*plain, *firsts, recipe=recipe)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_document_is_long_and_every_link_leads_somewhere(path):
    text = path.read_text(encoding="utf-8")
    if path.name != "KEYS.md":  # a generated table, with a line for each key
        assert len(text.splitlines()) <= (200 if path == ROOT / "README.md" else 250)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", prose):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_programs_are_python(path):
    for _, block in blocks(path, "python"):
        compile(block, path.name, "exec")


def test_keys_in_text_exist():
    """``KEY=VALUE`` in backticks anywhere in the documents names a key, a group or a command's key."""
    known = {*all_keys(), *(key.split(".")[0] for key in all_keys())}
    for config in SMALL.values():
        known |= set(config.__dataclass_fields__)
    known |= {"run", "x", "out", "rows", "output"}
    ours = re.compile(r"(?<![\w.-])([a-z_]+\.[a-z_.]+[a-z])=")
    for path in DOCUMENTS:
        for span in re.findall(r"`([^`\n]+)`", path.read_text(encoding="utf-8")):
            for key in ours.findall(span):
                root = key.split(".")[0]
                if root in known and root != "hydra" and not key.endswith("."):
                    assert key in known or root in ("sweep",), f"{path.name}: {key}"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a finished run of photographs that has a SavedModel and an ONNX file."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("documents")
    (folder / "new").mkdir()
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held sideways
    pixels = rng.integers(0, 255, (4, 5, 3), "uint8").repeat(10, 0).repeat(10, 1)
    Image.fromarray(pixels).save(folder / "new/1.jpg", exif=exif)
    quick_runs.run(
        folder / "RUN", "train.epochs=1", "export=[saved_model,onnx]", "export.check_images=8"
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["python run", "python saved_model", "python onnx"])
def test_the_readmes_programs_run(name, place, monkeypatch, capsys):
    (program,) = [text for mark, text in blocks(ROOT / "README.md", "python") if mark == name]
    monkeypatch.chdir(place)
    exec(compile(program, name, "exec"), {})
    printed = re.search(r"(\d)\D+(0\.\d+|1\.0)", capsys.readouterr().out.replace("new/1.jpg", ""))
    ((name, probability),) = predict("RUN", "new/1.jpg", top_k=1)[0].classes
    assert (printed[1], float(printed[2])) == (name, pytest.approx(probability, abs=0.01))


def test_the_readmes_recipe_composes(tmp_path):
    (text,) = [text for mark, text in blocks(ROOT / "README.md", "yaml") if mark == "recipe"]
    assert yaml.safe_load(text)["defaults"][0] == "config"
    (tmp_path / "birds.yaml").write_text(text)
    config, *_ = configure_run(recipe="birds", folder=tmp_path)
    assert config.average.method == "ema"
