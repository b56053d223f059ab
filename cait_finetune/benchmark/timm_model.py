"""timm's side of a comparison: its CaiT in PyTorch, eager or compiled, with a fused AdamW."""

from __future__ import annotations

from collections.abc import Callable

import timm
import torch
from timm.optim import param_groups_weight_decay

from cait_finetune.benchmark.contestant import CannotCompile
from cait_finetune.benchmark.peak import SIZES, fastest
from cait_finetune.benchmark.task import CLASSES, Task
from cait_finetune.errors import bad_value

_RATE, _WEIGHT_DECAY = 1e-5, 0.05


def prepare(task: Task) -> Callable[[], object]:
    """A function that does the task once.

    Raises:
        CannotCompile: `task.compiled`, and there is no C++ compiler or it fails.
        UserError: the task is for a GPU, and PyTorch sees none.
    """
    device = "cuda" if task.device == "gpu" else task.device
    if device == "cuda" and not torch.cuda.is_available():
        raise bad_value("torch", f"version {torch.__version__}, which sees no GPU",
                        "one that does", "see pytorch.org for the build, or add timm=false")  # fmt: skip
    torch.set_num_threads(task.threads)
    torch.manual_seed(0)
    sized = {"img_size": task.image_size} if task.image_size else {}
    model = timm.create_model(task.model, num_classes=CLASSES, **sized).to(device)
    model.set_grad_checkpointing(task.remat)
    images = torch.randn(task.batch_size, 3, task.size, task.size, device=device)
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
        except Exception as error:  # of a compiler anything may come
            reason = next((line for line in str(error).splitlines() if line.strip()), "")
            raise CannotCompile(f"torch.compile: {type(error).__name__}: {reason}") from None
    return call


def _training(
    model: torch.nn.Module,
    forward: Callable,
    half: torch.autocast,
    images: torch.Tensor,
    labels: torch.Tensor,
) -> Callable[[], object]:
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


def product_peak(precision: str, seconds: float = 1.0) -> float:
    """The most floating-point operations a second of one of PyTorch's matrix products on this machine's
    CPU, with as many threads as an operation has in this process.

    Args:
        seconds: how long each size is tried.
    """
    dtype = torch.bfloat16 if precision == "mixed_bfloat16" else torch.float32

    def of(size: int) -> float:
        factor = torch.randn(size, size, dtype=dtype)
        return fastest(lambda: factor @ factor, 2 * size**3, seconds)

    return max(map(of, SIZES))


def device_memory() -> int:
    """The most bytes of the card that tensors took at once."""
    return torch.cuda.max_memory_allocated()
