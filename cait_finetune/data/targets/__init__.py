"""What the label of an image is: one module for each kind."""

from cait_finetune.data.targets.any_classes import ANY_CLASSES
from cait_finetune.data.targets.numbers import NUMBERS
from cait_finetune.data.targets.one_class import ONE_CLASS
from cait_finetune.data.targets.several_labels import SEVERAL_LABELS

#: The kinds of labels, for messages that name a kind that fits one feature.
KINDS = (ONE_CLASS, ANY_CLASSES, NUMBERS)

__all__ = ["ANY_CLASSES", "KINDS", "NUMBERS", "ONE_CLASS", "SEVERAL_LABELS"]
