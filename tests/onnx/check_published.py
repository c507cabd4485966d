#!/usr/bin/env python3
"""Published weights, end to end: torchvision's and timm's networks with random weights, imported, exported, run. A name that both
have is torchvision's unless it begins with `timm.`.

    python3 tests/onnx/check_published.py make DIR [NAME...]   # needs torch, torchvision (and timm) and safetensors
    python3 tests/onnx/check_published.py check DIR build/espalier   # needs onnxruntime and numpy

`make` writes for each network its state dict, an input and its output. `check` runs `espalier import --arch` and
`espalier export`, then ONNX Runtime, and prints the largest difference relative to the largest element; exit status 1 above 1e-4.
"""
import glob
import os
import subprocess
import sys

NAMES = ["resnet18", "resnet50", "resnext50_32x4d", "densenet121", "mobilenet_v2", "vit_b_16", "vit_tiny_patch16_224", "vgg11",
         "mixer_s16_224", "mobilenetv3_small_100", "mobilenetv3_large_100", "seresnet18", "seresnet34",
         "deit_tiny_distilled_patch16_224", "densenet201", "mobilenet_v3_large", "efficientnet_b0",
         "shufflenet_v2_x2_0", "convnext_tiny", "swin_t", "squeezenet1_1", "timm.vgg11", "vgg11_bn", "timm.vgg11_bn", "wide_resnet50_2",
         "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_0", "timm.mobilenetv2_100", "timm.efficientnet_b0", "efficientnet_b5:image=224",
         "timm.convnext_tiny", "swin_tiny_patch4_window7_224", "deit_tiny_patch16_224", "timm.resnet18"]
TIMM = ("timm.", "patch", "mixer", "mobilenetv3", "seresnet")  # in the names that are timm's


def build(name):
    name = name.split(":")[0]
    if any(word in name for word in TIMM):
        import timm
        return timm.create_model(name.removeprefix("timm."), pretrained=False)
    import torchvision
    return torchvision.models.get_model(name, weights=None)


def make(folder):
    import numpy as np
    import torch
    from safetensors.torch import save_file
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for name in sys.argv[3:] or NAMES:
        model = build(name).eval()
        with torch.no_grad():
            for key, value in model.state_dict().items():  # no bias or statistic stays at its start
                if "running_var" in key:
                    value.uniform_(0.5, 1.5)
                elif value.dim() == 1 and value.is_floating_point():
                    value.add_(torch.randn_like(value) * 0.1)
                elif value.is_floating_point() and not value.any():
                    value.normal_(0, 0.02)  # a classifier that starts at zero would hide all before it
            x = torch.randn(1, 3, 224, 224)
            y = model(x)
        save_file(model.state_dict(), f"{folder}/{name}.safetensors")
        np.save(f"{folder}/{name}.x.npy", x.permute(0, 2, 3, 1).contiguous().numpy())
        np.save(f"{folder}/{name}.y.npy", y.numpy())
        print(name)
    return 0


def check(folder, espalier):
    import numpy as np
    import onnxruntime
    failures = 0
    print("| network | relative difference |\n|---|---|")
    for path in sorted(glob.glob(f"{folder}/*.x.npy")):
        name = os.path.basename(path)[:-6]
        model, file = f"{folder}/{name}.model.safetensors", f"{folder}/{name}.onnx"
        subprocess.run([espalier, "import", "--arch", name.removeprefix("timm."), f"{folder}/{name}.safetensors", "-o", model, "--quiet"], check=True)
        subprocess.run([espalier, "export", model, "-o", file, "--quiet"], check=True)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        found, y = session.run(None, {"x": np.load(path)})[0], np.load(f"{folder}/{name}.y.npy")
        difference = float(np.abs(found - y).max() / np.abs(y).max())
        failures += not difference <= 1e-4
        print(f"| {name} | {difference:.1e} |", flush=True)
        os.remove(model)
        os.remove(file)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(make(sys.argv[2]) if sys.argv[1] == "make" else check(sys.argv[2], sys.argv[3]))
