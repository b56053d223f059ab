"""The section "Use" of the model card: example code for each exported file."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cait_finetune.tasks import Task

_SAVED_MODEL = """### SavedModel

```python
import tensorflow as tf

model = tf.saved_model.load("saved_model")
answer = model.signatures["serving_default"](image_bytes=tf.constant([open("image.jpg", "rb").read()]))
print(answer["predicted_class"][0].numpy().decode(), answer["probability"][0].numpy())
for name, probability in zip(answer["class_names"].numpy(), answer["probabilities"][0].numpy()):
    print(name.decode(), probability)
```

TF-Serving takes `serving/`, which has the same files in `1/`. (A download from the hub has no such
folder: make one, and copy `saved_model` into it as `1`.) Use the signature `rows`, which returns one
object for each image:

```sh
docker run -p 8501:8501 -v "$PWD/serving:/models/cait" -e MODEL_NAME=cait tensorflow/serving
curl -d "{\\"signature_name\\": \\"rows\\",
    \\"instances\\": [{\\"image_bytes\\": {\\"b64\\": \\"$(base64 -w0 image.jpg)\\"}}]}" \\
    http://localhost:8501/v1/models/cait:predict
```

The signature `serving_default` is for `inputs` instead of `instances`, and for gRPC: it returns
`class_names` once, not once per image."""

_ONNX = """### ONNX

Input `images`, uint8 (B, height, width, 3) of any size, the same for the whole batch. The file resizes and
normalises them.

```python
import numpy as np
import onnxruntime
IMPORT

session = onnxruntime.InferenceSession("onnx/model.onnx")
outputs = [output.name for output in session.get_outputs()]
image = np.asarray(OPENED.convert("RGB"))
answer = dict(zip(outputs, session.run(outputs, {"images": image[None]})))
print(answer["predicted_class"][0], answer["probability"][0])
for name, probability in zip(answer["class_names"], answer["probabilities"][0]):
    print(name, probability)
```"""

_LITERT = """### LiteRT (TensorFlow Lite)

Input `images`, uint8 (B, height, width, 3) of any size, the same for the whole batch. The file uses
only LiteRT's own operations. If your interpreter has no signatures, call `resize_tensor_input`
first. Class names are in `labels.txt`, because LiteRT's `CompiledModel` refuses files with strings:
keep the two files together and unchanged. Use quantised variants in the same way.

```python
import numpy as np
from ai_edge_litert.interpreter import Interpreter
IMPORT

classify = Interpreter("litert/model.tflite").get_signature_runner()
names = open("litert/labels.txt", encoding="utf-8").read().splitlines()
image = np.asarray(OPENED.convert("RGB"))
answer = classify(images=image[None])
print(names[answer["predicted_index"][0]], answer["probability"][0])
for name, probability in zip(names, answer["probabilities"][0]):
    print(name, probability)
```"""

_KERAS = """### Keras

The file needs `cait_tf`, on any Keras backend. `model.classifier` is the network inside, which maps
normalised images to logits.

```python
import keras
import numpy as np
from cait_tf import ImageClassifier  # registers the classes
IMPORT

model = keras.saving.load_model("keras/model.keras")
image = np.asarray(OPENED.convert("RGB"))
answer = model.classify(image[None])
print(answer["predicted_class"][0], answer["probability"][0])
for name, probability in zip(answer["class_names"], answer["probabilities"][0]):
    print(name, probability)
```"""

_TIMM = """### timm (PyTorch)

```python
import json
import timm
import torch
IMPORT

config = json.load(open("timm/config.json"))
model = timm.create_model(
    config["architecture"],
    num_classes=config["num_classes"],
    checkpoint_path="timm/model.safetensors",
    pretrained_cfg_overlay=config["pretrained_cfg"],
    **config["model_args"],
).eval()
transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
with torch.inference_mode():
    logits = model(transform(OPENED.convert("RGB"))[None])
probabilities = logits[0].ACTIVATION
print(config["label_names"][probabilities.argmax()], probabilities.max().item())
for name, probability in zip(config["label_names"], probabilities.tolist()):
    print(name, probability)
```

The head's weights are already divided by the temperature."""

#: The lines that show classes, and the lines that show numbers in their place.
_OF_NUMBERS = {
    """print(answer["predicted_class"][0].numpy().decode(), answer["probability"][0].numpy())
for name, probability in zip(answer["class_names"].numpy(), answer["probabilities"][0].numpy()):
    print(name.decode(), probability)
""": """for name, number in zip(answer["target_names"].numpy(), answer["prediction"][0].numpy()):
    print(name.decode(), number)
""",
    """print(answer["predicted_class"][0], answer["probability"][0])
for name, probability in zip(answer["class_names"], answer["probabilities"][0]):
    print(name, probability)
""": """for name, number in zip(answer["target_names"], answer["prediction"][0]):
    print(name, number)
""",
    """print(names[answer["predicted_index"][0]], answer["probability"][0])
for name, probability in zip(names, answer["probabilities"][0]):
    print(name, probability)
""": """for name, number in zip(names, answer["prediction"][0]):
    print(name, number)
""",
    """    logits = model(transform(OPENED.convert("RGB"))[None])
probabilities = logits[0].ACTIVATION
print(config["label_names"][probabilities.argmax()], probabilities.max().item())
for name, probability in zip(config["label_names"], probabilities.tolist()):
    print(name, probability)
""": """    numbers = model(transform(OPENED.convert("RGB"))[None])
for name, number in zip(config["label_names"], numbers[0].tolist()):
    print(name, number)
""",
    "The head's weights are already divided by the temperature.": "The head's weights contain the "
    "mean and the standard deviation of the targets.",
    "ImageClassifier": "ImageRegressor",
    "model.classify(": "model.estimate(",
    "`model.classifier` is the network inside, which maps\nnormalised images to logits.": (
        "`model.regressor` is the network inside, which maps\nnormalised images to numbers."
    ),
    "`class_names` once": "`target_names` once",
    "Class names are in": "Target names are in",
    "\nclassify = Interpreter": "\nestimate = Interpreter",
    "classify(images=": "estimate(images=",
}

#: The lines that open RGB images, and the lines for images of another number of channels.
_OF_BANDS = {
    "IMPORT\n": "",
    'np.asarray(OPENED.convert("RGB"))': 'np.load("image.npy")  # (height, width, CHANNELS) float32',
    "uint8 (B, height, width, 3)": "float32 (B, height, width, CHANNELS)",
    "image.jpg": "image.npy",
    "transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))\n": (
        "# (1, CHANNELS, height, width) float32, resized and normalised as pretrained_cfg states\n"
        'image = torch.from_numpy(np.load("normalised.npy"))\n'
    ),
    'transform(OPENED.convert("RGB"))[None]': "image",
    "import json\nimport timm\n": "import json\nimport numpy as np\nimport timm\n",
}

_VALUES = """An image has {channels} channels. Divide 8-bit levels by 255 and 16-bit levels by 65535; leave
other values as they are. The SavedModel takes the bytes of PNG, JPEG and NPY files, whose levels it divides
itself. Convert TIFF to NPY first."""

#: The lines that show one class, and the lines that show a class for each label in their place.
_OF_LABELS = {
    """print(answer["predicted_class"][0].numpy().decode(), answer["probability"][0].numpy())
""": """for label, name, probability in zip(
    answer["label_names"].numpy(), answer["predicted_class"][0].numpy(), answer["probability"][0].numpy()
):
    print(label.decode(), name.decode(), probability)
""",
    """print(answer["predicted_class"][0], answer["probability"][0])
""": """for label, name, probability in zip(
    answer["label_names"], answer["predicted_class"][0], answer["probability"][0]
):
    print(label, name, probability)
""",
    """print(names[answer["predicted_index"][0]], answer["probability"][0])
""": """for column, probability in zip(answer["predicted_index"][0], answer["probability"][0]):
    print(names[column], probability)
""",
    "ImageClassifier": "ImageSeveralClassifier",
    "`class_names` once": "`class_names` and `label_names` once",
}

#: Code that imports PIL and opens an image: rotated by its EXIF orientation, or as stored.
_UPRIGHT = ("from PIL import Image, ImageOps", 'ImageOps.exif_transpose(Image.open("image.jpg"))')
_AS_STORED = ("from PIL import Image", 'Image.open("image.jpg")')

_BITS = """The code that opens an image with PIL is for images of 8 bits per channel. PIL clips
16-bit values; training drops their lower 8 bits."""

_FROM_HUB = """

To load the model from the hub, call `timm.create_model("hf-hub:{repository}", pretrained=True)`."""

_PADDED = """

This model was trained on images padded with black to the ratio of its input. As
timm has no transform that pads with black, pad images first."""


def usage(
    exports: Collection[str],
    task: Task,
    repository: str | None = None,
    padded: bool = False,
    upright: bool = True,
    channels: int = 3,
) -> str:
    """Return the section. Its paths are relative to the folder of the card.

    Args:
        exports: names of the exported formats.
        task: the run's task, for the activation and its note.
        repository: ``USER/NAME`` on the hub. `None`: the export is not pushed.
        padded: whether the preprocessing pads images with black, which timm has no transform for.
        upright: whether the model was trained on photographs that were turned as their EXIF orientation
            states.
        channels: channels of an image.
    """
    of = {
        "saved_model": _SAVED_MODEL,
        "onnx": _ONNX,
        "litert": _LITERT,
        "keras": _KERAS,
        "timm": _TIMM,
    }
    by = {"numbers": _OF_NUMBERS, "labels": _OF_LABELS}.get(task.answers, {})
    of = {name: _replaced(text, by) for name, text in of.items()}
    if task.answers == "class":  # timm's format is refused for several labels
        of["timm"] = _TIMM.replace("ACTIVATION", task.postprocessing.activation.torch)
    if channels != 3:
        of = {name: _replaced(text, _OF_BANDS) for name, text in of.items()}
        of = {name: text.replace("CHANNELS", str(channels)) for name, text in of.items()}
    imported, opened = _UPRIGHT if upright else _AS_STORED
    of = {
        name: text.replace("IMPORT", imported).replace("OPENED", opened)
        for name, text in of.items()
    }
    if repository:
        of["timm"] += _FROM_HUB.format(repository=repository)
    if padded:
        of["timm"] += _PADDED
    parts = ["## Use"]
    if task.use:
        parts.append(task.use)
    if channels != 3:
        parts.append(_VALUES.format(channels=channels))
    if any("Image.open" in text for name, text in of.items() if name in exports):
        parts.append(_BITS)
    return "\n\n".join([*parts, *(text for name, text in of.items() if name in exports)])


def _replaced(text: str, by: Mapping[str, str]) -> str:
    for old, new in by.items():
        text = text.replace(old, new)
    return text
