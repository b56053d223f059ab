"""A fine-tuned model as files that others can use, each checked before it is called written.

Every file has the preprocessing and the class names in it, or beside it where a format has no place
for them, and calibrated probabilities. `parity` holds it against evaluation on real validation images:
the same top-1, and no probability further off than

| format        | file                       | takes                       | tolerance | run by         |
|---------------|----------------------------|-----------------------------|-----------|----------------|
| `saved_model` | ``saved_model/``           | bytes of image files        | 1e-4      | TensorFlow     |
| `onnx`        | ``onnx/model.onnx``        | uint8 (B, h, w, 3)          | 1e-3      | onnxruntime    |
| `litert`      | ``litert/model.tflite``    | uint8 (B, h, w, 3)          | 1e-3      | ai_edge_litert |
| `keras`       | ``keras/model.keras``      | uint8 (B, h, w, 3)          | 1e-3      | Keras          |
| `timm`        | ``timm/model.safetensors`` | normalised (B, 3, S, S)     | 1e-3      | timm           |

A quantised variant of the LiteRT file is no equal, and is told so: its accuracy on validation is
measured, and it is refused where it gives another class than the float file on more than a tenth.
"""
