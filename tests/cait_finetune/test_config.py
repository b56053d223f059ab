"""Every key has a type and a range, and an error names its key."""

from __future__ import annotations

import dataclasses

import pytest
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from cait_finetune import config as configuration
from cait_finetune.cli.explain import explain
from cait_finetune.errors import UserError
from tests.cait_finetune.stand_ins import checked, composed


def keys() -> set[str]:
    """Return every schema key that holds a value."""

    def below(node, prefix):
        for name, value in vars(node).items():
            if dataclasses.is_dataclass(value):
                yield from below(value, f"{prefix}{name}.")
            else:
                yield prefix + name

    return set(below(checked(), ""))


OUT_OF_RANGE = [
    ("dataset.seed", "-1", "[0, 2.14748e+09]"),
    ("dataset.metric", "top5", "one of top1, mean_per_class, mean_average_precision"),
    ("dataset.cache", "always", "one of none, memory, disk"),
    ("dataset.sampling", "even", "one of all, balanced"),
    ("dataset.source", "zip", "one of tfds, digits, folder, csv"),
    ("dataset.examples_per_class", "0", "[1, inf)"),
    ("dataset.train_share", "0", "a fraction above 0"),
    ("dataset.train_share", "20", "a fraction above 0, at most 1"),
    ("dataset.folds", "1", "[2, inf)"),
    ("dataset.fold", "1", "the default, 0: dataset.fold has an effect only with dataset.folds"),
    ("dataset.parallel_files", "0", "[1, inf)"),
    ("dataset.parallel_calls", "0", "[1, inf)"),
    ("dataset.prefetch", "0", "[1, inf)"),
    ("dataset.columns.classes", "[red,bee,red]", "a list of different names"),
    ("dataset.splits.shares", "[0.5,0.5]", "add up to 1"),
    ("dataset.splits.shares", "[0.5,0.5,0.5]", "add up to 1"),
    ("head.name", "conv", "one of linear, mlp, cosine, batchnorm_linear"),
    ("head.pooling", "mean", "one of token, token_and_mean, tokens"),
    ("head.hidden", "0", "[1, inf)"),
    ("head.drop_rate", "1", "[0, 1)"),
    ("head.scale", "0", "[0.001, inf)"),
    ("loss.name", "hinge", "one of auto, cross_entropy, bce, asymmetric"),
    ("loss.class_weights", "even", "one of none, balanced, effective"),
    ("loss.effective_beta", "1", "[0, 1)"),
    ("loss.logit_adjustment", "-1", "[0, 10]"),
    ("loss.gamma_negative", "-1", "[0, 20]"),
    ("loss.gamma_positive", "21", "[0, 20]"),
    ("loss.clip", "1", "[0, 1)"),
    ("loss.weights", "[0,0]", "numbers of 0 or more, at least one of them above 0"),
    ("loss.weights", "[-1,1]", "numbers of 0 or more, at least one of them above 0"),
    ("preprocessing.resize_mode", "stretch", "one of shorter_side, squash, pad"),
    ("preprocessing.crop_pct", "1.1", "[0.1, 1]"),
    ("preprocessing.interpolation", "nearest", "one of bicubic, bilinear"),
    ("preprocessing.mean", "[0.5,0.5]", "three numbers from 0 to 1"),
    ("preprocessing.mean", "most", "auto, or null"),
    ("preprocessing.mean", "[True,0.5,0.5]", "auto, or null"),
    ("preprocessing.std", "[0,1,1]", "three numbers from 0.001 to 1"),
    ("augment.rand_operations", "-1", "[0, 16]"),
    ("augment.rand_magnitude", "11", "[0, 10]"),
    ("augment.rand_magnitude_std", "-1", "[0, 10]"),
    ("augment.rand_probability", "1.5", "[0, 1]"),
    ("augment.color_jitter", "2", "[0, 1]"),
    ("augment.erasing", "1.5", "[0, 1]"),
    ("augment.repeats", "0", "[1, 64]"),
    ("dataset.splits.seed", "-1", "[0, 2.14748e+09]"),
    ("dataset.cache_dir", "s3://bucket/cache", "a path on a disk"),
    ("tuning.cache_dir", "gs://bucket/cache", "a path on a disk"),
    ("train.compile_cache_dir", "s3://bucket/cache", "a path on a disk"),
    ("dataset.on_corrupt", "ignore", "one of stop, skip"),
    ("dataset.shuffle_buffer", "0", "[1,"),
    ("dataset.num_classes", "1", "[2,"),
    ("model.in_channels", "0", "[1, 64]"),
    ("model.in_channels", "65", "[1, 64]"),
    ("model.image_size", "0", "[1,"),
    ("model.image_size", "big", "one side, or [height,width]"),
    ("model.image_size", "16.5", "one side, or [height,width]"),
    ("model.image_size", "[16]", "Write 'model.image_size=16'"),
    ("model.image_size", "[16,16,3]", "one side, or [height,width]"),
    ("model.image_size", "64x48", "Write 'model.image_size=[64,48]'"),
    ("model.kernel_init", "0", "[0.001, 1]"),
    ("model.drop_path_rate", "1", "[0, 1)"),
    ("model.drop_path_rate", "-0.1", "[0, 1)"),
    ("model.drop_rate", "1", "[0, 1)"),
    ("model.attn_drop_rate", "1.5", "[0, 1)"),
    ("tuning.method", "head", "one of full, linear_probe, head_then_full, gradual, lora, pattern"),
    ("tuning.solver", "adam", "one of sgd, lbfgs"),
    ("tuning.head_epochs", "0", "[1,"),
    ("tuning.stages", "1", "[2,"),
    ("task.alpha", "0", "[0.001, 0.5]"),
    ("tuning.stage_epochs", "0", "[1,"),
    ("tuning.rank", "0", "[1,"),
    ("tuning.alpha", "0", "a number above 0"),
    ("tuning.alpha", "inf", "a number above 0"),
    ("tuning.targets", "'(q'", "a regular expression (missing )"),
    ("tuning.pattern", "'*x'", "a regular expression (nothing to repeat"),
    ("augment.crop_scale", "[0,1]", "0 < low ≤ high ≤ 4"),
    ("augment.crop_scale", "[0.5,4.1]", "0 < low ≤ high ≤ 4"),
    ("augment.crop_scale", "[0.9,0.5]", "0 < low ≤ high ≤ 4"),
    ("augment.crop_scale", "[0.5]", "[low, high]"),
    ("augment.crop_scale", "[nan,1]", "[low, high]"),
    ("augment.crop_ratio", "[0,1]", "0 < low ≤ high"),
    ("augment.crop_ratio", "[2,1]", "0 < low ≤ high"),
    ("augment.crop_ratio", "[1,1,1]", "[low, high]"),
    ("augment.flip", "1.1", "[0, 1]"),
    ("augment.flip", "-0.5", "[0, 1]"),
    ("augment.rand_operations", "-1", "[0, 16]"),
    ("augment.rand_magnitude", "11", "[0, 10]"),
    ("augment.rand_magnitude_std", "-1", "[0, 10]"),
    ("augment.rand_probability", "1.5", "[0, 1]"),
    ("augment.color_jitter", "1.5", "[0, 1]"),
    ("augment.erasing", "-1", "[0, 1]"),
    ("augment.repeats", "0", "[1, 64]"),
    ("optimizer.base_lr", "-1", "[0, 10]"),
    ("optimizer.base_lr", "11", "[0, 10]"),
    ("optimizer.base_lr", "nan", "[0, 10]"),
    ("optimizer.weight_decay", "1.5", "[0, 1]"),
    ("optimizer.layer_decay", "0", "[0.01, 1]"),
    ("optimizer.layer_decay", "1.1", "[0.01, 1]"),
    ("optimizer.beta_1", "1", "[0, 1)"),
    ("optimizer.beta_2", "1", "[0, 1)"),
    ("optimizer.epsilon", "0", "[1e-16, 1]"),
    ("schedule.warmup_epochs", "-1", "[0,"),
    ("schedule.warmup_epochs", "inf", "[0,"),
    ("schedule.warmup_lr", "-1", "[0, 10]"),
    ("schedule.min_lr", "11", "[0, 10]"),
    ("schedule.name", "cosinus", "one of cosine, linear"),
    ("schedule.step_epochs", "0", "[0.001,"),
    ("schedule.factor", "1.5", "[0, 1]"),
    ("optimizer.name", "adam", "one of adamw, sgd"),
    ("optimizer.lr_batch_size", "0", "[1,"),
    ("optimizer.momentum", "1", "[0, 1)"),
    ("augment.mixup", "-1", "[0, 100]"),
    ("augment.cutmix", "101", "[0, 100]"),
    ("augment.mix_probability", "1.5", "[0, 1]"),
    ("augment.mix_switch_probability", "-1", "[0, 1]"),
    ("distribution.strategy", "horovod", "one of auto, cpu, gpu, mirrored, multi_worker, tpu"),
    ("distribution.devices", "0", "[1,"),
    ("distribution.cluster", "kubernetes", "one of tf_config, slurm"),
    ("distribution.port", "70000", "[1, 65535]"),
    ("distribution.timeout", "0", "[1,"),
    ("average.method", "emma", "one of none, ema, swa"),
    ("average.decay", "1", "[0, 1)"),
    ("average.swa_epochs", "0", "[1,"),
    ("checkpoint.every_steps", "0", "[1,"),
    ("checkpoint.keep", "0", "[1,"),
    ("debug.mode", "all", "one of none, overfit_batch, fast_dev_run, profile"),
    ("train.accumulation", "0", "[1,"),
    ("train.accumulation", "5", "a divisor of train.batch_size=32, for instance 4"),
    ("train.steps_per_execution", "0", "[1,"),
    ("train.max_skipped_steps", "0", "[1,"),
    ("train.patience", "0", "[1,"),
    ("train.max_hours", "0", "[1e-06,"),
    ("export.check_images", "0", "[1,"),
    ("export.accuracy_images", "0", "[1,"),
    ("export.quantise", "[int4]", "one of float16, int8"),
    ("export.push_to_hub", "name", "USER/NAME"),
    ("logger.wandb.mode", "sync", "one of auto, online, offline, disabled"),
    ("logger.wandb.finish_timeout", "0", "[1,"),
    ("train.epochs", "0", "[1,"),
    ("train.steps_per_epoch", "0", "[1,"),
    ("train.batch_size", "0", "[1,"),
    ("train.eval_batch_size", "-1", "[1,"),
    ("train.precision", "float16", "mixed_float16"),
    ("train.label_smoothing", "1", "[0, 1)"),
    ("train.clip_norm", "-1", "[0,"),
    ("train.clip_norm", "inf", "[0,"),
    ("train.log_every", "0", "[1,"),
    ("evaluation.split", "val", "one of train, validation, test"),
    ("evaluation.crop_pcts", "[]", "at least one"),
    ("evaluation.crop_pcts", "[1.1,1.0]", "[0.1, 1]"),
    ("lr_find.low", "0", "[1e-12,"),
    ("lr_find.low", "2", "below lr_find.high=0.3"),
    ("lr_find.high", "0", "[1e-12,"),
    ("lr_find.steps", "9", "[10,"),
    ("lr_find.smoothing", "1", "[0, 1)"),
    ("seed", "-1", "[0, 2.14748e+09]"),
    ("seed", "2147483648", "[0, 2.14748e+09]"),
]
WRONG_TYPE = [
    ("dataset.evaluation_only", "maybe", "bool"),
    ("dataset.allow_flip", "maybe", "bool"),
    ("dataset.shuffle_buffer", "many", "Integer"),
    ("dataset.num_classes", "2.5", "Integer"),
    ("model.drop_path_rate", "some", "Float"),
    ("augment.flip", "often", "Float"),
    ("augment.three_augment", "often", "bool"),
    ("augment.crop_scale", "[a,1]", "Float"),
    ("optimizer.base_lr", "fast", "Float"),
    ("schedule.warmup_epochs", "few", "Float"),
    *((f"export.{name}", "perhaps", "bool") for name in configuration.EXPORT_FORMATS),
    ("export.check_images", "all", "Integer"),
    ("export.hub_private", "perhaps", "bool"),
    ("logger.csv", "perhaps", "bool"),
    ("logger.tensorboard", "perhaps", "bool"),
    ("logger.wandb.enabled", "perhaps", "bool"),
    ("logger.wandb.log_model", "perhaps", "bool"),
    ("train.epochs", "1.5", "Integer"),
    ("train.batch_size", "x", "Integer"),
    ("train.clip_norm", "x", "Float"),
    ("seed", "abc", "Integer"),
    ("traceback", "sometimes", "bool"),
    ("deterministic", "sometimes", "bool"),
    ("model.remat", "sometimes", "bool"),
    ("model.fused", "sometimes", "bool"),
    ("average.warmup", "sometimes", "bool"),
    ("average.export", "sometimes", "bool"),
    ("optimizer.nesterov", "sometimes", "bool"),
    ("train.steps", "x", "Integer"),
    ("train.examples", "x", "Integer"),
    ("schedule.warmup_steps", "x", "Integer"),
    ("schedule.warmup_examples", "x", "Integer"),
    ("train.jit_compile", "often", "bool"),
    ("tuning.cache_features", "perhaps", "bool"),
    ("preprocessing.antialias", "perhaps", "bool"),
    ("model.in_channels", "2.5", "Integer"),
    ("augment.three_augment", "perhaps", "bool"),
    ("dataset.upright", "perhaps", "bool"),
    ("dataset.check", "perhaps", "bool"),
    ("dataset.accept_changes", "perhaps", "bool"),
    ("tuning.train_head", "perhaps", "bool"),
    ("tuning.rank", "1.5", "Integer"),
    ("tuning.alpha", "x", "Float"),
]
# These keys accept any text here. The code that uses a key checks its value.
FREE = {
    "task.name",
    "dataset.name",
    "dataset.data_dir",
    "model.name",
    "model.weights",
    "model.weights_key",
    "train.compile_cache_dir",
    "tuning.cache_dir",
}
FREE |= {"distribution.tpu", "resume", "continue_from"}
FREE |= {f"logger.wandb.{name}" for name in ("project", "entity", "name", "group", "tags")}
FREE |= {f"dataset.columns.{name}" for name in vars(configuration.ColumnsConfig())}
FREE |= {
    "dataset.homepage",
    "dataset.license",
    "dataset.splits.file",
    "dataset.cache_dir",
    "dataset.class_names",
    "model.weights_class_names",
    "model.weights_key",
}
FREE |= {f"dataset.splits.{split}" for split in ("train", "validation", "test")}


def refusal(*overrides: str) -> str:
    """Return the message that a user gets for `overrides`."""
    with pytest.raises((UserError, HydraException, OmegaConfBaseException)) as caught:
        checked(*overrides)
    error = caught.value
    return str(error) if isinstance(error, UserError) else explain(error)


def test_every_key_is_tried_below():
    tried = {key for key, *_ in (*OUT_OF_RANGE, *WRONG_TYPE)}
    assert tried | FREE == keys()


@pytest.mark.slow
@pytest.mark.parametrize(("key", "value", "expected"), OUT_OF_RANGE)
def test_out_of_range(key, value, expected):
    message = refusal(f"{key}={value}")
    assert message.startswith(f"{key}: got ")
    assert "expected" in message
    assert expected in message
    number = value.strip("[]").split(",")[0]
    assert number in message.partition("expected")[0]


@pytest.mark.parametrize(("key", "value", "expected"), WRONG_TYPE)
def test_wrong_type(key, value, expected):
    message = refusal(f"{key}={value}")
    assert message.startswith(key)
    words = {"bool": "true or false", "Integer": "a whole number", "Float": "a number"}
    assert f"expected {words[expected]}" in message
    assert f"got '{value.strip('[]').split(',')[0]}'" in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dataset.num_classes", "2"),
        ("dataset.num_classes", "null"),
        ("model.image_size", "null"),
        ("model.kernel_init", "0.08"),
        ("model.drop_path_rate", "0.99"),
        ("augment.crop_scale", "[1,1]"),
        ("augment.flip", "1"),
        ("optimizer.base_lr", "10"),
        ("optimizer.layer_decay", "1"),
        ("schedule.warmup_epochs", "0"),
        ("train.clip_norm", "0"),
        ("train.label_smoothing", "0"),
        ("seed", "2147483647"),
    ],
)
def test_the_ends_of_the_ranges_are_allowed(key, value):
    node = checked(f"{key}={value}")
    for part in key.split("."):
        node = getattr(node, part)
    assert node == {"null": None, "[1,1]": [1.0, 1.0]}.get(value) or node == float(value)


@pytest.mark.parametrize(
    ("override", "key", "near"),
    [
        ("train.epoch=3", "train.epoch", "epochs"),
        ("optimizer.base_rl=3", "optimizer.base_rl", "base_lr"),
        ("dataset.splits.trian=x", "dataset.splits.trian", "train"),
        ("sed=3", "sed", "seed"),
        ("datset=digits", "datset", "dataset"),
    ],
)
def test_unknown_key(override, key, near):
    message = refusal(override)
    assert message.startswith(f"{key}: got an unknown key, expected ")
    assert "did you mean" in message
    assert near in message.partition("did you mean")[2]


@pytest.mark.parametrize(
    ("override", "near"),
    [
        ("model=cait_s24_244", "cait_s24_224"),
        ("dataset=flower", "flowers"),
        ("tuning=linear_prob", "linear_probe"),
        ("augment=lite", None),
        ("optimizer=adam", "adamw"),
        ("schedule=cosin", "cosine"),
        ("distribution=gpus", "gpu"),
        ("export=savedmodel", "saved_model"),
    ],
)
def test_unknown_option(override, near):
    group, _, got = override.partition("=")
    message = refusal(override)
    assert message.startswith(f"{group}: got {got}, expected one of ")
    hint = message.partition("\n")[2]
    assert near in hint if near else True


@pytest.mark.parametrize(
    ("override", "key", "got"),
    [
        ("+lr=3", "lr", "3"),
        ("+train.lr=3", "train.lr", "3"),
        ("+dataset.splits.more=a", "dataset.splits.more", "'a'"),
    ],
)
def test_an_added_key_is_refused(override, key, got):
    assert refusal(override).startswith(f"{key}: got {got}, expected a known key")


def test_an_added_key_near_a_known_one():
    assert "did you mean epochs?" in refusal("+train.epoch=3")


def test_lbfgs_needs_all_features_at_once():
    cached = ["tuning=linear_probe", "tuning.solver=lbfgs"]
    assert checked(*cached).tuning.solver == "lbfgs"
    message = refusal(*cached, "tuning.cache_features=false")
    assert message.startswith("tuning.solver: got lbfgs with tuning.cache_features=false")


def test_several_loggers_at_once():
    logger = checked("logger=[wandb,csv]", "logger.wandb.tags=[a,b]").logger
    assert (logger.csv, logger.tensorboard, logger.wandb.enabled) == (True, False, True)
    assert logger.wandb.tags == ["a", "b"]
    assert refusal("logger=[wandb,comet]").startswith(
        "logger: got comet, expected one of csv, none"
    )
    message = refusal("logger=wandb,csv")
    assert message.startswith("logger: got wandb,csv, expected one value")
    assert "Add -m for one run per value; for one run with all values write " in message
    assert message.endswith("'logger=[wandb,csv]'")


def test_the_wandb_project_defaults_to_the_environment_variable(monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    assert checked("logger=wandb").logger.wandb.project == "cait-finetune"
    monkeypatch.setenv("WANDB_PROJECT", "flowers")
    assert checked("logger=wandb").logger.wandb.project == "flowers"
    assert checked("logger=wandb", "logger.wandb.project=mine").logger.wandb.project == "mine"


@pytest.mark.parametrize("word", ["project=mine", "mode=offline", "tags=[a]", "log_model=false"])
def test_a_key_of_wandb_without_it(word):
    key = word.partition("=")[0]
    message = refusal("logger=csv", f"logger.wandb.{word}")
    assert message.startswith(f"logger.wandb.{key}: got ")
    assert "without Weights & Biases, expected logger=wandb as well" in message


def test_missing_name_of_the_data_set():
    message = refusal("dataset=tfds")
    assert message.startswith("dataset.name: got nothing, expected a value")
    assert "Add dataset.name=" in message


def test_a_group_is_no_value():
    assert refusal("train=3").startswith("train: ")


def test_the_defaults_are_valid_and_typed():
    config = checked()
    assert isinstance(config, configuration.Config)
    assert isinstance(config.dataset.splits, configuration.SplitsConfig)
    assert isinstance(config.optimizer.base_lr, float)
    assert config.dataset.name == "digits"


def test_the_division_has_its_defaults_in_one_place():
    splits = checked().dataset.splits
    assert (splits.shares, splits.seed) == (None, None)
    assert (splits.split_shares, splits.split_seed) == ((0.8, 0.1, 0.1), 0)
    splits = checked(
        "dataset=folder", "dataset.splits.shares=[0.6,0.2,0.2]", "dataset.splits.seed=4"
    ).dataset.splits
    assert (splits.split_shares, splits.split_seed) == ((0.6, 0.2, 0.2), 4)


def test_compose_accepts_a_value_out_of_range():
    """Hydra checks types and from_hydra checks ranges: compose accepts a value out of range."""
    assert composed("train.epochs=0").train.epochs == 0


@pytest.mark.parametrize(
    ("overrides", "key", "expected"),
    [
        (["task=multi_label", "loss=cross_entropy"], "loss.name", "bce or asymmetric"),
        (["head=mlp", "export=timm"], "export.timm", "false: timm's"),
        (["head=cosine", "tuning=linear_probe", "tuning.solver=lbfgs"], "head.name", "linear: L-BFGS"),
        (["head=batchnorm_linear", "tuning=full"], "head.name", "tuning=linear_probe: its"),
        (["loss=asymmetric"], "loss.name", "cross_entropy or bce"),
        (["task=multi_label", "loss.logit_adjustment=1"], "loss.logit_adjustment", "0 with"),
        (["task=multi_label", "dataset.sampling=balanced"], "dataset.sampling", "all, because an image"),
        (["dataset.sampling=balanced", "loss.class_weights=balanced"], "dataset.sampling", "one of them"),
        (["dataset.sampling=balanced", "loss.logit_adjustment=1"], "dataset.sampling", "one of them"),
        (["loss.logit_adjustment=1", "loss.class_weights=effective"], "loss.logit_adjustment", "one of"),
        (["tuning=linear_probe", "tuning.solver=lbfgs", "loss=bce"], "tuning.solver", "sgd with"),
        (["tuning=linear_probe", "tuning.solver=lbfgs", "task=multi_label"], "tuning.solver", "sgd"),
        (["tuning=linear_probe", "dataset=csv", "dataset.columns.weight=w"], "dataset.columns.weight", "null: cached"),
        (["task=multi_label", "dataset.metric=top1"], "dataset.metric", "mean_average_precision"),
        (["dataset.metric=mean_average_precision"], "dataset.metric", "top1 or mean_per_class"),
        (["dataset.folds=3", "dataset.fold=3"], "dataset.fold", "[0, 2]"),
        (["dataset.class_names=[a,b,a]"], "dataset.class_names", "different names"),
        (["preprocessing.resize_mode=pad", "preprocessing.crop_pct=0.9"], "preprocessing.crop_pct", "null"),
    ],
)  # fmt: skip
def test_contradicting_keys_are_refused(overrides, key, expected):
    message = refusal(*overrides)
    assert message.startswith(f"{key}: got ")
    assert expected in message.partition("expected ")[2]


@pytest.mark.parametrize(
    ("choice", "formats"),
    [
        ([], ("saved_model",)),
        (["export=none"], ()),
        (["export=onnx"], ("onnx",)),
        (["export=[onnx,saved_model]"], ("saved_model", "onnx")),
        (["export=[keras,timm,litert]"], ("litert", "keras", "timm")),
    ],
)
def test_several_formats_are_chosen_like_one(choice, formats):
    config = checked(*choice, "export.check_images=3").export
    assert config.formats == formats
    assert config.check_images == 3


def test_an_unknown_format_among_known_ones():
    message = refusal("export=[onnx,litret]")
    assert message.startswith("export: got litret, expected one of ")
    assert "did you mean litert" in message


def test_quantised_variants_are_the_litert_files():
    message = refusal("export=onnx", "export.quantise=[int8]")
    assert message.startswith("export.quantise: got ['int8'], expected [] without export=litert")
    assert checked("export=litert", "export.quantise=[int8]").export.quantise == ["int8"]


def test_a_share_beside_a_count_is_refused():
    with pytest.raises(UserError, match=r"^dataset\.train_share: got 0\.2 beside .*=5, expected"):
        checked("dataset.train_share=0.2", "dataset.examples_per_class=5")
