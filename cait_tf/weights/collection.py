"""Map variables of the original collection (sayakpaul/cait/1) to timm's names, both ways.

The checkpoint stores variables under numbers. The name of a variable is a path through the
checkpoint's object graph, such as ``blocks/0/layer_with_weights-1/qkv/kernel``. The reader follows
these paths. It needs neither Keras 2 nor the original code, and it does not depend on the order of
the variables.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from cait_tf.atomic import write_text
from cait_tf.errors import WeightsError
from cait_tf.weights.checksum import STATED, checksum

_NORM = (("gamma", "weight"), ("beta", "bias"))
_DENSE = (("kernel", "weight"), ("bias", "bias"))
#: SavedModels reserve the directory assets.extra for files of other programs.
_CLASSES = "assets.extra/class_names.json"
_STATED = "assets.extra/stated.json"
_VARIABLE_KEY = "/.ATTRIBUTES/VARIABLE_VALUE"


def checkpoint_prefix(path: str | Path) -> Path | None:
    """Return the path prefix of a SavedModel's checkpoint. `None`: there is no checkpoint.

    Args:
        path: the SavedModel directory, or its subdirectory ``variables``.
    """
    path = Path(path)
    for prefix in (path / "variables" / "variables", path / "variables"):
        if prefix.with_name(f"{prefix.name}.index").is_file():
            return prefix
    return None


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Read every variable of the SavedModel's checkpoint: timm name to array in Keras layout.

    Raises:
        WeightsError: the checkpoint is damaged, or has variables that are not those of a CaiT. The
            message lists the unknown variables.
    """
    import tensorflow as tf

    reader, walk = _open(path)
    tensors, used = {}, set()
    blocks = walk.count("blocks"), walk.count("blocks_token_only")
    for graph_path, name in _name_map(*blocks).items():
        if (key := walk.variable_key(graph_path)) is not None:
            try:
                tensors[name] = reader.get_tensor(key)
            except (tf.errors.OpError, IndexError, ValueError) as error:
                raise WeightsError(
                    f"weights: got {path}, whose checkpoint is damaged at {name} ({error})"
                ) from error
            used.add(key)
    # The published files also hold scalars such as a save counter, which are not parameters.
    parameters = {
        key
        for key, shape in reader.get_variable_to_shape_map().items()
        if key.endswith(_VARIABLE_KEY) and shape
    }
    if strangers := sorted(parameters - used):
        raise WeightsError(
            f"weights: got {path}, expected a model of the CaiT collection; "
            f"{len(strangers)} variables are unknown: {', '.join(strangers[:8])}\n"
            "  For a model that a run exported, give RUN/checkpoints/best.safetensors instead."
        )
    return tensors


def grid(path: str | Path) -> tuple[int, int] | None:
    """Return the patch grid, from ``serving_default``'s input. `None`: the grid is not known."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    reader, walk = _open(path)
    patch_key = walk.variable_key("projection/layer_with_weights-0/kernel")
    file = _directory(path) / "saved_model.pb"
    if patch_key is None or not file.is_file():
        return None
    try:
        graphs = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
    except DecodeError:  # the weights are in the checkpoint, which is readable
        return None
    patch = reader.get_variable_to_shape_map()[patch_key][0]
    for graph in graphs:
        for spec in graph.signature_def["serving_default"].inputs.values():
            sides = [dim.size for dim in spec.tensor_shape.dim][1:3]
            if len(sides) == 2 and min(sides) > 0:
                return sides[0] // patch, sides[1] // patch
    return None


def class_names(path: str | Path) -> tuple[str, ...] | None:
    """Return the names of `add_class_names`. `None`: no names, as in the original collection."""
    file = _directory(path) / _CLASSES
    return tuple(json.loads(file.read_bytes())) if file.is_file() else None


def stated(path: str | Path) -> dict[str, str]:
    """Return what `add_stated` added; an empty dictionary for any other directory."""
    return {key: text for key, text in _extra_assets(path).items() if key != STATED}


def _extra_assets(path: str | Path) -> dict[str, str]:
    try:
        return json.loads((_directory(path) / _STATED).read_bytes())
    except (OSError, ValueError, AttributeError):  # AttributeError: no SavedModel
        return {}


def add_stated(directory: Path, stated: Mapping[str, str]) -> None:
    """Write what the weights state about themselves, such as their run, into the extra assets.

    The checksum of the variables is added, so that `check` finds variables of another model.
    """
    file = directory / _STATED
    file.parent.mkdir(exist_ok=True)
    write_text(file, json.dumps({**stated, STATED: checksum(read(directory))}))


def check(path: str | Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Check that a SavedModel has the variables that its extra assets describe.

    Args:
        tensors: the variables, as `read` returns them.

    Raises:
        WeightsError: the variables are those of another model.
    """
    wanted = _extra_assets(path).get(STATED)
    if wanted is not None and wanted != checksum(tensors):
        raise WeightsError(
            f"weights: got {path} with variables of another model than its {_STATED} describes, "
            "expected a directory as it was written\n  Convert the model again."
        )


def add_class_names(directory: Path, class_names: Sequence[str]) -> None:
    """Write the head's class names into a SavedModel's extra assets. TensorFlow ignores them."""
    file = directory / _CLASSES
    file.parent.mkdir(exist_ok=True)
    write_text(file, json.dumps(list(class_names)))


def _directory(path: str | Path) -> Path:
    """Return the directory of a SavedModel that has a checkpoint."""
    prefix = cast("Path", checkpoint_prefix(path))
    return prefix.parent.parent


def _open(path: str | Path) -> tuple[Any, _Walk]:
    import tensorflow as tf
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    prefix = checkpoint_prefix(path)
    if prefix is None:
        raise WeightsError(f"weights: got {path}, expected a SavedModel with variables/variables")
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(
            reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
        )
    except (tf.errors.OpError, IndexError, ValueError) as error:  # IndexError: a short read
        raise WeightsError(f"weights: got {path}, whose checkpoint is damaged ({error})") from error
    return reader, _Walk(graph)


class _Walk:
    """Find variables by their paths through a checkpoint's object graph."""

    def __init__(self, graph: Any) -> None:
        self._nodes = graph.nodes

    def _node(self, path: str) -> Any | None:
        node = self._nodes[0]
        for step in path.split("/"):
            found = [child.node_id for child in node.children if child.local_name == step]
            if not found:
                return None
            node = self._nodes[found[0]]
        return node

    def count(self, path: str) -> int:
        """Return the number of elements of the list at `path`. 0: the path does not exist."""
        node = self._node(path)
        return sum(child.local_name.isdigit() for child in node.children) if node else 0

    def variable_key(self, path: str) -> str | None:
        """Return the checkpoint key of the variable at `path`. `None`: the path has no variable."""
        node = self._node(path)
        return node.attributes[0].checkpoint_key if node and node.attributes else None


def attach(root: Any, variables: Mapping[str, Any]) -> None:
    """Attach `variables` to `root` at the collection's paths.

    A SavedModel of `root` then has the same checkpoint names as the original models.

    Args:
        root: a ``tf.Module``.
        variables: TensorFlow variables by timm name.
    """
    import tensorflow as tf

    blocks = [
        len({name.split(".")[1] for name in variables if name.startswith(f"{stage}.")})
        for stage in ("blocks", "blocks_token_only")
    ]
    for path, name in _name_map(*blocks).items():
        if name not in variables:  # a feature extractor has no head
            continue
        *steps, leaf = path.split("/")
        node = root
        for step in steps:
            if step not in vars(node):
                setattr(node, step, tf.Module())
            node = vars(node)[step]
        setattr(node, leaf, variables[name])


def _name_map(depth: int, depth_token_only: int) -> dict[str, str]:
    """Return a map from object-graph path to timm name."""
    table = {"cls_token": "cls_token", "pos_embed": "pos_embed"}

    def add(path: str, name: str, leaves: tuple[tuple[str, str], ...]) -> None:
        for theirs, ours in leaves:
            table[f"{path}/{theirs}"] = f"{name}.{ours}"

    add("projection/layer_with_weights-0", "patch_embed.proj", _DENSE)
    for stage, blocks, attention in (
        ("blocks", depth, ("qkv", "proj", "proj_l", "proj_w")),
        ("blocks_token_only", depth_token_only, ("q", "k", "v", "proj")),
    ):
        for i in range(blocks):
            theirs, ours = f"{stage}/{i}/layer_with_weights-", f"{stage}.{i}"
            add(f"{theirs}0", f"{ours}.norm1", _NORM)
            for dense in attention:
                add(f"{theirs}1/{dense}", f"{ours}.attn.{dense}", _DENSE)
            table[f"{theirs}2/gamma"] = f"{ours}.gamma_1"
            add(f"{theirs}3", f"{ours}.norm2", _NORM)
            add(f"{theirs}4", f"{ours}.mlp.fc1", _DENSE)
            add(f"{theirs}5", f"{ours}.mlp.fc2", _DENSE)
            table[f"{theirs}6/gamma"] = f"{ours}.gamma_2"
    add("norm", "norm", _NORM)
    add("head", "head", _DENSE)
    return table
