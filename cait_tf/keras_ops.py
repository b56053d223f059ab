"""`keras.ops` as `Any`: of several operations, type checkers infer that the result may be `None`."""

from __future__ import annotations

from typing import Any

import keras

ops: Any = keras.ops
