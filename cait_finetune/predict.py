"""``python -m cait_finetune.predict``: the command. In Python ``cait_finetune.predict`` is a function.

All that the command does is in `cait_finetune.inference`.
"""

from __future__ import annotations

import sys

import cait_finetune
from cait_finetune.inference.command import main

if __name__ == "__main__":
    main()
# A module that is imported becomes its package's attribute of the same name. What it leaves here is
# what becomes that: the function, which it was before.
sys.modules[__name__] = cait_finetune.predict
