"""Write the model card: an export's ``README.md`` with metadata for the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cait_finetune.config import TaskConfig
from cait_finetune.config.metrics import METRIC_NAMES, format_value, known_metrics
from cait_finetune.export.places import without_places
from cait_finetune.export.start import start_of
from cait_finetune.export.usage import usage
from cait_finetune.runs.markdown import markdown_table
from cait_finetune.tasks import Task, task_of

#: The hub's identifiers of our metrics.
_HUB_METRICS = {
    "top1": "accuracy",
    "top5": "top_5_accuracy",
    "mean_per_class": "mean_per_class_accuracy",
    "mean_average_precision": "mean_average_precision",
    "f1": "f1",
    "r2": "r_squared",
    "mae": "mae",
    "rmse": "rmse",
    "spearman": "spearmanr",
}
#: The tasks that the hub knows.
_PIPELINES = ("image-classification",)
_LISTED = 100  # maximum number of class names in the text
#: The image names that `data.changes` adds in parentheses after each count.
_NAMES = re.compile(r" \(.*?\)(?=; |$)", re.DOTALL)


def model_card(
    config: Mapping[str, Any],
    result: Mapping[str, Any],
    exports: Mapping[str, Mapping[str, Any]],
    class_names: Sequence[str],
    command: str | None = None,
    repository: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> str:
    """Return the text of the model card.

    Args:
        config: the run's ``config.yaml``.
        result: the run's ``result.json``. Empty: the run has no scores.
        exports: the run's ``exports.json``.
        class_names: names of the classes, in column order.
        command: the command line that started the run. The card shows it without the machine's paths.
            `None`: the card shows no command.
        repository: ``USER/NAME`` on the hub. `None`: the export is not pushed.
        data: fingerprint of the run's data from `runs.identity.identity_facts`.
    """
    parts = [
        f"---\n{_metadata(config, result, exports, repository)}\n---",
        f"# {_title(config, repository)}",
        _summary(config, class_names),
        _results(result),
        _files(exports, _task(config)),
        usage(
            exports,
            _task(config),
            repository,
            config.get("preprocessing", {}).get("resize_mode") == "pad",
            config["dataset"].get("upright", True),
            config["model"].get("in_channels", 3),
        ),
        _training(config, result, command),
        _data(data or {}),
        _limits(config, exports, class_names),
        _licences(config),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _metadata(
    config: Mapping[str, Any],
    result: Mapping[str, Any],
    exports: Mapping[str, Any],
    repository: str | None,
) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    dataset = config["dataset"]["name"]
    start, kind = start_of(config), _task(config).kind
    metrics = [
        EvalResult(
            task_type=kind,
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_split="test",
            metric_type=metric,
            metric_name=METRIC_NAMES[name],
            metric_value=round(result[f"test_{name}"], 4),
        )
        for name, metric in _HUB_METRICS.items()
        if result.get(f"test_{name}") is not None
    ]
    own = config["dataset"]["source"] in ("folder", "csv")
    data = ModelCardData(
        library_name="timm" if "timm" in exports else "keras",
        pipeline_tag=kind if kind in _PIPELINES else None,
        tags=[kind, "cait", "vision-transformer", *sorted(exports)],
        license=start.license,
        base_model=start.base_model,
        datasets=None if own else [dataset.partition("/")[0]],
        metrics=[figure.metric_type for figure in metrics] or None,
        model_name=_title(config, repository) if metrics else None,
        eval_results=metrics or None,
    )
    return data.to_yaml().strip()


def _task(config: Mapping[str, Any]) -> Task:
    return task_of(TaskConfig(**config.get("task", {})))


def _title(config: Mapping[str, Any], repository: str | None) -> str:
    name = f"{config['model']['name']}-{config['dataset']['name'].replace('/', '-')}"
    return repository.partition("/")[2] if repository else name


def _summary(config: Mapping[str, Any], class_names: Sequence[str]) -> str:
    dataset = config["dataset"]
    where = f" ({dataset['homepage']})" if dataset.get("homepage") else ""
    listed = ", ".join(class_names[:_LISTED])
    more = f", … ({len(class_names):,} in all)" if len(class_names) > _LISTED else ""
    task = _task(config)
    noun, one, several = task.noun
    columns = one if len(class_names) == 1 else several
    return (
        f"{noun}, {config['model']['name']} (CaiT, Class-Attention in Image "
        f"Transformers, https://arxiv.org/abs/2103.17239), {start_of(config).began} on "
        f"{dataset['name']}{where}.\n\n"
        f"{len(class_names):,} {columns}, {task.per_image}: {listed}{more}."
    )


def _results(result: Mapping[str, Any]) -> str:
    if not result:
        return (
            "## Results\n\nThe run is not finished, so the model was not measured on test images."
        )
    test = [
        key.removeprefix("test_")
        for key, value in result.items()
        if key.startswith("test_") and value is not None
    ]
    rows = [[words, _metric(result, name)] for name, words in known_metrics(test).items()]
    return (
        f"## Results\n\nOn the {result['test_examples']:,} images of the test split, scored once, after "
        f"training, with the 95 % interval in brackets:\n\n{markdown_table(['metric', 'value'], rows)}"
    )


def _metric(result: Mapping[str, Any], name: str) -> str:
    interval = result.get("intervals", {}).get(f"test_{name}")
    return format_value(name, result[f"test_{name}"], interval)


def _files(exports: Mapping[str, Mapping[str, Any]], task: Task) -> str:
    same, unit = task.postprocessing.same, task.postprocessing.unit
    alike = f", {same}" if same else ""
    rows = [
        [f"`{name}`", f"{one['images']} images{alike}", f"{one['difference']:.1e}"]
        for name, one in exports.items()
    ]
    text = (
        "## Files\n\nEach file was compared with the trained model on images of the validation split. The "
        f"difference is the largest difference {unit}.\n\n"
        + markdown_table(["format", "compared on", "difference"], rows)
    )
    variants = exports.get("litert", {}).get("variants", {})
    if variants:
        rows = [
            [
                f"`model_{name}.tflite`",
                f"{one['megabytes']:g} MB",
                f"{one['accuracy']:.2%}",
                f"{one['plain_accuracy']:.2%}",
                f"{one['agreement']:.1%}",
            ]
            for name, one in variants.items()
        ]
        some = next(iter(variants.values()))
        text += (
            f"\n\nQuantised variants, on {some['images']:,} validation images "
            f"({METRIC_NAMES[some['metric']]}):\n\n"
            + markdown_table(
                ["file", "size", "accuracy", "float32 accuracy", task.postprocessing.agreeing], rows
            )
        )
    return text


def _training(config: Mapping[str, Any], result: Mapping[str, Any], command: str | None) -> str:
    train, optimizer = config["train"], config["optimizer"]
    length = f"{result['steps']:,} steps" if result else "an unfinished run"
    best = f"; the weights are those of epoch {result['best_epoch']}" if result else ""
    head = {key: value for key, value in config["head"].items() if value is not None}
    kind, pooling = head.pop("name"), head.pop("pooling", "token")
    options = "".join(f", {key} {value:g}" for key, value in head.items())
    options += "" if pooling == "token" else f", pooling `{pooling}`"
    text = (
        "## Training\n\n"
        f"Head `{kind}`{options}. Method `{config['tuning']['method']}`, {length} of {train['batch_size']} images"
        f"{best}. Optimizer {optimizer['name']}, base learning rate {optimizer['base_lr']:g}, weight "
        f"decay {optimizer['weight_decay']:g}, layer decay {optimizer['layer_decay']:g}; schedule "
        f"{config['schedule']['name']}; seed {config['seed']}."
    )
    if command:
        text += f"\n\n```sh\n{without_places(command)}\n```"
    return text


def _data(data: Mapping[str, Any]) -> str:
    if not data:
        return ""
    rows = [
        [split, f"{one['size']:,}", f"`{one['sha256'][:16]}`"]
        for split, one in data["splits"].items()
    ]
    text = (
        "## Data\n\nThe hash is the beginning of a SHA-256 over a split's image ids and labels.\n\n"
        + markdown_table(["split", "images", "hash"], rows)
    )
    if accepted := data["accepted_changes"]:
        # Drop the names of images: a CSV dataset may name images by absolute paths.
        changes = "\n".join(f"- {_NAMES.sub('', change)}" for change in accepted)
        text += (
            f"\n\nThe user accepted these changes of the images after the run began:\n\n{changes}"
        )
    return text


def _limits(
    config: Mapping[str, Any], exports: Mapping[str, Mapping[str, Any]], class_names: Sequence[str]
) -> str:
    task = _task(config)
    postprocessing = task.postprocessing.named(class_names)
    calibrated = postprocessing.stated(next(iter(exports.values()))).limits()
    always = task.answer.format(classes=len(class_names))
    turned = (
        "Pixels do not contain the EXIF orientation: before you pass a photograph to a file that takes "
        "pixels, rotate it by that orientation."
        if config["dataset"].get("upright", True)
        else "The model ignores the EXIF orientation of photographs."
    )
    return (
        "## Intended use and limits\n\n"
        "Use the model for images like its training images. "
        f"{always} It was measured only on the test split above, not on images from other cameras, "
        "places or times. Its errors were not compared between groups of people. Measure it on "
        f"your own images before you rely on it.\n\n{calibrated} {turned}"
    )


def _licences(config: Mapping[str, Any]) -> str:
    dataset = config["dataset"]
    images = dataset.get("license")
    data = (
        f"The images' licence: {images} ({dataset.get('homepage') or 'homepage not stated'})."
        if images
        else "The licence of the images was not stated (`dataset.license`)."
    )
    return (
        f"## Licence\n\n{start_of(config).terms} {data} If you distribute the model, check whether the "
        "licence of the images also applies to a model trained on them."
    )
