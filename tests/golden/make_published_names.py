"""The names in the state dicts of torchvision and timm, one file each beside this one: what test_zoo_import.c holds the rules of
src/zoo/published.c to. Needs torch, torchvision and timm.

    python3 tests/golden/make_published_names.py
"""
import pathlib
import re

import timm
import torch
import torchvision

TORCHVISION = ["vgg11", "vgg11_bn", "squeezenet1_0", "squeezenet1_1", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0",
               "shufflenet_v2_x0_5", "convnext_tiny", "swin_t"]
TIMM = ["mobilenetv2_100", "seresnet50", "efficientnet_b0", "convnext_tiny", "swin_tiny_patch4_window7_224", "mixer_s16_224",
        "mobilenetv3_small_100", "mobilenetv3_large_100", "vgg11", "vgg11_bn", "seresnet18", "deit_tiny_distilled_patch16_224"]


def write(library, name, model):
    names = [k for k in model.state_dict() if not k.endswith("num_batches_tracked")]
    text = "\n".join(names) + "\n"
    # five tensors of a normalisation on one line: the file is read by people, too
    text = re.sub(r"(\S+)\.weight\n\1\.bias\n\1\.running_mean\n\1\.running_var\n", r"\1.+norm\n", text)
    (pathlib.Path(__file__).parent / "published" / f"{library}_{name}.txt").write_text(text)


with torch.device("meta"):
    for name in TORCHVISION:
        write("torchvision", name, getattr(torchvision.models, name)(weights=None))
    for name in TIMM:
        write("timm", name, timm.create_model(name, pretrained=False))
