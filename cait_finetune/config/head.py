"""Keys of the head."""

from __future__ import annotations

from dataclasses import dataclass

from cait_finetune.config.keys import check_keys, key
from cait_finetune.config.results import ExportConfig
from cait_finetune.errors import bad_value


@dataclass
class HeadConfig:
    """The head on the backbone. Keys that the chosen head does not read are null."""

    name: str = key("The kind of head. `head=NAME` sets it and its defaults.", "linear",
                    choices=("linear", "mlp", "cosine", "batchnorm_linear"))  # fmt: skip
    pooling: str = key(
        "The features under the head: the class token; the class token and the mean of the patch tokens; or "
        "the class tokens after each class-attention block.",
        "token", choices=("token", "token_and_mean", "tokens"),
    )  # fmt: skip
    hidden: int | None = key("Width of the hidden layer.", None, low=1)
    drop_rate: float | None = key("Dropout rate of the hidden layer.", None,
                                  low=0, high=1, open_high=True)  # fmt: skip
    scale: float | None = key("Initial scale of the cosines.", None, low=0.001)

    def __post_init__(self) -> None:
        check_keys(self, "head")

    def check_export(self, export: ExportConfig) -> None:
        """Check that every export format can hold the head.

        Raises:
            UserError: a format cannot hold it.
        """
        if export.timm and (self.name, self.pooling) != ("linear", "token"):
            raise bad_value(
                "export.timm",
                f"true with head.name={self.name} head.pooling={self.pooling}",
                "false: timm's CaiT has a linear head on the class token",
                "Choose another format, such as export=onnx.",
            )

    @property
    def options(self) -> dict[str, float | int]:
        """The options that the head reads."""
        named = {"hidden": self.hidden, "drop_rate": self.drop_rate, "scale": self.scale}
        return {name: value for name, value in named.items() if value is not None}
