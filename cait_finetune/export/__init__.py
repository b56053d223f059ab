"""Export a fine-tuned model to files, and check each file before it is kept.

Each file contains the preprocessing and the class names. What a format cannot contain is in a file
beside it. Probabilities are calibrated. `parity` compares each file with evaluation on real
validation images: the top-1 classes must be equal, and no probability may differ by more than the
tolerance:

| format        | file                       | takes                       | tolerance | run by         |
|---------------|----------------------------|-----------------------------|-----------|----------------|
| `saved_model` | ``saved_model/``           | bytes of image files        | 1e-4      | TensorFlow     |
| `onnx`        | ``onnx/model.onnx``        | images (B, h, w, c)         | 1e-3      | onnxruntime    |
| `litert`      | ``litert/model.tflite``    | images (B, h, w, c)         | 1e-3      | ai_edge_litert |
| `keras`       | ``keras/model.keras``      | images (B, h, w, c)         | 1e-3      | Keras          |
| `timm`        | ``timm/model.safetensors`` | normalised (B, c, H, W)     | 1e-3      | timm           |

Images are uint8 for c = 3 channels. For another number of channels they are float32, in the unit of
`data.bands`.

Quantised variants of the LiteRT file need not pass this check. `accuracy` measures their accuracy
on validation images. The export removes a variant if its top-1 class differs from the float file's
on more than a tenth of the images.
"""
