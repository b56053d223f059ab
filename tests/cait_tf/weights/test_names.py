import numpy as np
import pytest

from cait_tf.weights import names


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("backbone/cls_token", "cls_token"),
        ("cait_s24_224/backbone/pos_embed", "pos_embed"),
        ("backbone/patch_embed/proj/kernel", "patch_embed.proj.weight"),
        ("backbone/blocks_12/attn/qkv/kernel", "blocks.12.attn.qkv.weight"),
        ("backbone/blocks_0/attn/proj_l/bias", "blocks.0.attn.proj_l.bias"),
        ("backbone/blocks_3/gamma_1/gamma", "blocks.3.gamma_1"),
        ("backbone/blocks_3/norm1/gamma", "blocks.3.norm1.weight"),
        ("backbone/blocks_3/norm1/beta", "blocks.3.norm1.bias"),
        ("backbone/blocks_token_only_1/attn/q/kernel", "blocks_token_only.1.attn.q.weight"),
        ("backbone/blocks_token_only_1/mlp/fc2/bias", "blocks_token_only.1.mlp.fc2.bias"),
        ("backbone/norm/gamma", "norm.weight"),
        ("cait_s24_224/head/kernel", "head.weight"),
        ("student/teacher/backbone/norm/beta", "norm.bias"),
    ],
)
def test_a_path_becomes_timms_name(path, name):
    assert names.timm_name(path) == name


@pytest.mark.parametrize("path", ["dense/kernel", "", "backbone/blocks/kernel"])
def test_a_strange_path_is_a_key_error(path):
    with pytest.raises(KeyError, match="not the path of a CaiT parameter"):
        names.timm_name(path)


def test_dense_kernels_are_transposed():
    torch_kernel = np.arange(6).reshape(2, 3)  # (out, in)
    np.testing.assert_array_equal(names.from_torch_layout(torch_kernel), torch_kernel.T)


def test_convolution_kernels_become_height_width_in_out():
    kernel = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)  # (out, in, h, w)
    got = names.from_torch_layout(kernel)
    assert got.shape == (4, 5, 3, 2)
    assert got[1, 2, 0, 1] == kernel[1, 0, 1, 2]


@pytest.mark.parametrize("shape", [(5,), (1, 4, 3), (2, 3), (2, 3, 4, 5)])
def test_the_torch_layout_is_undone_exactly(shape):
    array = np.random.default_rng(0).normal(size=shape)
    back = names.to_torch_layout(names.from_torch_layout(array))
    np.testing.assert_array_equal(back, array)
    assert back.flags.c_contiguous
