"""`keras.ops` as `Any`: type checkers infer that several operations may return `None`."""

from __future__ import annotations

from typing import Any

import keras

ops: Any = keras.ops
