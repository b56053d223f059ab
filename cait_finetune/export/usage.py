"""How each exported file is used, as code that runs: a chapter of the model card."""

from __future__ import annotations

from collections.abc import Collection

_SAVED_MODEL = """### SavedModel

```python
import tensorflow as tf

model = tf.saved_model.load("saved_model")
answer = model.signatures["serving_default"](image_bytes=tf.constant([open("image.jpg", "rb").read()]))
print(answer["class_names"][0].numpy().decode(), answer["probabilities"][0].numpy().max())
```

TF-Serving takes `serving/`, which has the same files in `1/` (a download from the hub has no such
folder: put `saved_model` into one as `1`):

```sh
docker run -p 8501:8501 -v "$PWD/serving:/models/cait" -e MODEL_NAME=cait tensorflow/serving
curl -d "{\\"instances\\": [{\\"image_bytes\\": {\\"b64\\": \\"$(base64 -w0 image.jpg)\\"}}]}" \\
    http://localhost:8501/v1/models/cait:predict
```"""

_ONNX = """### ONNX

Input `images`, uint8 (B, height, width, 3), of any one size; resizing and normalisation are inside.

```python
import json
import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession("onnx/model.onnx")
names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
image = np.asarray(Image.open("image.jpg").convert("RGB"))
[probabilities] = session.run(["probabilities"], {"images": image[None]})
print(names[probabilities[0].argmax()], probabilities[0].max())
```"""

_LITERT = """### LiteRT (TensorFlow Lite)

Input as of the ONNX file. Of LiteRT's own operations; an interpreter without signatures is told the
size first (`resize_tensor_input`). Quantised variants are used alike.

```python
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

classify = Interpreter("litert/model.tflite").get_signature_runner()
names = open("litert/labels.txt", encoding="utf-8").read().splitlines()
image = np.asarray(Image.open("image.jpg").convert("RGB"))
probabilities = classify(images=image[None])["probabilities"]
print(names[probabilities[0].argmax()], probabilities[0].max())
```"""

_KERAS = """### Keras

Needs `cait_tf`, on any backend of Keras. `model.classifier` is the network in it, normalised images to
logits.

```python
import keras
import numpy as np
from cait_tf import ImageClassifier  # registers the classes
from PIL import Image

model = keras.saving.load_model("keras/model.keras")
image = np.asarray(Image.open("image.jpg").convert("RGB"))
probabilities = np.asarray(model(image[None]))
print(model.class_names[probabilities[0].argmax()], probabilities[0].max())
```"""

_TIMM = """### timm (PyTorch)

```python
import json
import timm
import torch
from PIL import Image

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
    logits = model(transform(Image.open("image.jpg").convert("RGB"))[None])
print(config["label_names"][logits[0].argmax()], logits[0].ACTIVATION.max().item())
```

The temperature is divided into the head already."""

_FROM_HUB = """

From the hub it is `timm.create_model("hf-hub:{repository}", pretrained=True)`."""

_PADDED = """

timm has no transform that pads with black as this model was trained with: bring images to a square so
first."""


def usage(
    exports: Collection[str],
    repository: str | None = None,
    multi_label: bool = False,
    padded: bool = False,
) -> str:
    """The chapter. Paths are as seen from the folder that the card is in.

    Args:
        exports: the formats that are there.
        padded: images were made square with black beside them, which timm cannot.
    """
    timm = _TIMM.replace("ACTIVATION", "sigmoid()" if multi_label else "softmax(-1)")
    if repository:
        timm += _FROM_HUB.format(repository=repository)
    if padded:
        timm += _PADDED
    of = {
        "saved_model": _SAVED_MODEL,
        "onnx": _ONNX,
        "litert": _LITERT,
        "keras": _KERAS,
        "timm": timm,
    }
    return "\n\n".join(["## Use", *(text for name, text in of.items() if name in exports)])
