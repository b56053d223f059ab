"""The timm worker: timm's CaiT with a fused AdamW, eager or compiled, and timm's loader."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import timm
import torch
from timm.data import create_dataset, create_loader
from timm.optim import param_groups_weight_decay

from cait_finetune.benchmark.roofline import SIZES, flops_per_second
from cait_finetune.benchmark.task import CLASSES, InputTask, Task
from cait_finetune.benchmark.worker import CannotCompile
from cait_finetune.errors import bad_value

_RATE, _WEIGHT_DECAY = 1e-5, 0.05
_TRAINING = {
    "is_training": True,
    "scale": (0.08, 1.0),
    "ratio": (3 / 4, 4 / 3),
    "hflip": 0.5,
    "color_jitter": None,
}
_ERASING = {"auto_augment": "rand-m9-mstd0.5-inc1", "re_prob": 0.25, "re_mode": "pixel"}
#: Arguments of timm's ``create_loader`` for each of `AUGMENTATIONS`.
LOADERS: dict[str, dict[str, Any]] = {
    "crop and flip": _TRAINING,
    "RandAugment and erasing": _TRAINING | _ERASING,
    "evaluation": {"is_training": False, "crop_pct": 1.0},
}


def prepare(task: Task | InputTask) -> Callable[[], object]:
    """Return a function that executes the task once: a step of the model, or a batch of the loader.

    Raises:
        CannotCompile: `task.compiled` is set, and ``torch.compile`` fails, for example without a
            C++ compiler.
        UserError: the task is for a GPU, but PyTorch sees no GPU.
    """
    if isinstance(task, InputTask):
        return _loader(task)
    device = "cuda" if task.device == "gpu" else task.device
    if device == "cuda" and not torch.cuda.is_available():
        raise bad_value("torch", f"version {torch.__version__}, which sees no GPU",
                        "one that does", "Install one from pytorch.org, or set timm=false.")  # fmt: skip
    torch.set_num_threads(task.threads)
    torch.manual_seed(0)
    sized = {"img_size": task.image_size} if task.image_size else {}
    model = timm.create_model(task.model, num_classes=CLASSES, **sized).to(device)
    model.set_grad_checkpointing(task.remat)
    images = torch.randn(task.batch_size, 3, *task.size, device=device)
    labels = torch.randint(CLASSES, (task.batch_size,), device=device)
    forward = torch.compile(model) if task.compiled else model
    half = torch.autocast(device, torch.bfloat16, enabled=task.precision == "mixed_bfloat16")
    if task.work == "training":
        call = _training(model.train(), forward, half, images, labels)
    else:
        call = _inference(model.eval(), forward, half, images)
    if task.compiled:
        try:
            call()
        except Exception as error:  # compilers raise exceptions of any class
            reason = next((line for line in str(error).splitlines() if line.strip()), "")
            raise CannotCompile(f"torch.compile: {type(error).__name__}: {reason}") from None
    return call


def _training(model: torch.nn.Module, forward: Callable, half: torch.autocast,
              images: torch.Tensor, labels: torch.Tensor) -> Callable[[], object]:  # fmt: skip
    groups = param_groups_weight_decay(model, _WEIGHT_DECAY)
    optimizer = torch.optim.AdamW(groups, lr=_RATE, fused=True)

    def step() -> float:
        with half:
            loss = torch.nn.functional.cross_entropy(forward(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def _inference(
    model: torch.nn.Module, forward: Callable, half: torch.autocast, images: torch.Tensor
) -> Callable[[], object]:
    def infer() -> torch.Tensor:
        with torch.inference_mode(), half:
            logits = forward(images)
        if images.is_cuda:
            torch.cuda.synchronize()
        return logits

    return infer


def _loader(task: InputTask) -> Callable[[], object]:
    torch.set_num_threads(task.workers)
    options = LOADERS[task.augmentation]
    loader = create_loader(
        create_dataset("", task.root, is_training=options["is_training"]),
        input_size=(3, task.image_size, task.image_size),
        batch_size=task.batch_size,
        interpolation="bicubic",
        num_workers=task.workers,
        persistent_workers=True,
        device=torch.device("cpu"),
        **options,
    )
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    return lambda: next(batches)


def matmul_flops(precision: str, seconds: float = 1.0) -> float:
    """Return operations per second of PyTorch's fastest matrix product on the CPU.

    Args:
        precision: ``float32`` or ``mixed_bfloat16``.
        seconds: time limit for each size.
    """
    dtype = torch.bfloat16 if precision == "mixed_bfloat16" else torch.float32

    def of(size: int) -> float:
        factor = torch.randn(size, size, dtype=dtype)
        return flops_per_second(lambda: factor @ factor, 2 * size**3, seconds)

    return max(map(of, SIZES))


def device_memory() -> int:
    """Return the peak bytes of GPU memory that tensors occupied."""
    return torch.cuda.max_memory_allocated()
