"""Export a fine-tuned model to files, and check each file before it is kept.

Every file contains the preprocessing and the class names, or has them beside it if the format cannot
contain them, and gives calibrated probabilities. `parity` compares each file with evaluation on real
validation images: the top-1 classes must be equal, and no probability may differ by more than

| format        | file                       | takes                       | tolerance | run by         |
|---------------|----------------------------|-----------------------------|-----------|----------------|
| `saved_model` | ``saved_model/``           | bytes of image files        | 1e-4      | TensorFlow     |
| `onnx`        | ``onnx/model.onnx``        | uint8 (B, h, w, 3)          | 1e-3      | onnxruntime    |
| `litert`      | ``litert/model.tflite``    | uint8 (B, h, w, 3)          | 1e-3      | ai_edge_litert |
| `keras`       | ``keras/model.keras``      | uint8 (B, h, w, 3)          | 1e-3      | Keras          |
| `timm`        | ``timm/model.safetensors`` | normalised (B, 3, S, S)     | 1e-3      | timm           |

A quantised variant of the LiteRT file need not be equal. `accuracy` measures its accuracy on validation
images. The export removes the variant if its class differs from the float file's on more than a tenth.
"""
