from cait_tf import LoadingReport


def test_a_report_reads_as_one_line():
    report = LoadingReport(
        "file.safetensors",
        "timm safetensors",
        loaded=("norm.weight", "norm.bias"),
        resampled=("pos_embed",),
        initialised=("head.weight", "head.bias"),
        notes=("new head for 5 classes",),
    )
    line = "3 of 5 tensors from file.safetensors (timm safetensors); new head for 5 classes"
    assert str(report) == line
