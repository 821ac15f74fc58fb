"""The network behind `images.marks`: 105,000 weights, half-size output, stored as ONNX with folded norms."""

from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

WIDTHS = (16, 32, 48)


class Step(nn.Module):
    """3 x 3 convolution, batch norm, rectifier."""

    def __init__(self, num_in: int, num_out: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_in, num_out, 3, stride, dilation, dilation, bias=False)
        self.norm = nn.BatchNorm2d(num_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same size, or half of it."""
        return torch.relu(self.norm(self.conv(x)))


class MarkNet(nn.Module):
    """Three scales (1/2, 1/4, 1/8) down and up again.

    Four channels are the logit "is a mark" of the 2 x 2 pixels of a half-size pixel, five more its kind.
    """

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth = WIDTHS
        self.at_half = Step(3, half, stride=2)
        self.quarter = nn.Sequential(Step(half, quarter, stride=2), Step(quarter, quarter))
        self.eighth = nn.Sequential(
            Step(quarter, eighth, stride=2),
            Step(eighth, eighth),
            Step(eighth, eighth, dilation=2),
            Step(eighth, eighth, dilation=4),
        )
        self.to_quarter = nn.Conv2d(eighth, quarter, 1)
        self.join_quarter = Step(quarter, quarter)
        self.to_half = nn.Conv2d(quarter, half, 1)
        self.join_half = Step(half, half)
        self.out = nn.Conv2d(half, 9, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """ "batch 3 height width", sides divisible by 8, to "batch 9 height/2 width/2"."""
        half = self.at_half(x)
        quarter = self.quarter(half)
        up = nn.functional.interpolate(self.to_quarter(self.eighth(quarter)), scale_factor=2)
        quarter = self.join_quarter(quarter + up)
        up = nn.functional.interpolate(self.to_half(quarter), scale_factor=2)
        return self.out(self.join_half(half + up))


def to_onnx(net: MarkNet, path: Path) -> None:
    """Store as ONNX (opset 13, any size), norms folded into the convolutions."""
    nodes, weights = [], []

    def store(name: str, values: torch.Tensor) -> str:
        weights.append(numpy_helper.from_array(values.detach().numpy().astype("float32"), name))
        return name

    def conv(
        name: str, x: str, weight: torch.Tensor, bias: torch.Tensor, stride: int = 1, dilation: int = 1
    ) -> str:
        pad = dilation * (weight.shape[-1] // 2)
        inputs = [x, store(f"{name}.weight", weight), store(f"{name}.bias", bias)]
        sizes = {"kernel_shape": list(weight.shape[2:]), "strides": [stride] * 2}
        sizes |= {"pads": [pad] * 4, "dilations": [dilation] * 2}
        nodes.append(helper.make_node("Conv", inputs, [name], **sizes))
        return name

    def step(name: str, x: str, part: Step) -> str:
        scale = part.norm.weight / torch.sqrt(part.norm.running_var + part.norm.eps)
        weight = part.conv.weight * scale[:, None, None, None]
        bias = part.norm.bias - part.norm.running_mean * scale
        linear = conv(f"{name}.linear", x, weight, bias, part.conv.stride[0], part.conv.dilation[0])
        nodes.append(helper.make_node("Relu", [linear], [name]))
        return name

    def steps(name: str, x: str, parts: nn.Sequential) -> str:
        for index, part in enumerate(parts):
            x = step(f"{name}{index}", x, part)
        return x

    def plus(name: str, skip: str, x: str, part: nn.Conv2d) -> str:
        small = conv(f"{name}.small", x, part.weight, part.bias)
        inputs = [small, "", store(f"{name}.scales", torch.tensor([1.0, 1, 2, 2]))]
        how = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        nodes.append(helper.make_node("Resize", inputs, [f"{name}.big"], **how))
        nodes.append(helper.make_node("Add", [skip, f"{name}.big"], [name]))
        return name

    half = step("half", "planes", net.at_half)
    quarter = steps("quarter", half, net.quarter)
    eighth = steps("eighth", quarter, net.eighth)
    quarter = step("join_quarter", plus("at_quarter", quarter, eighth, net.to_quarter), net.join_quarter)
    half = step("join_half", plus("at_half", half, quarter, net.to_half), net.join_half)
    conv("logits", half, net.out.weight, net.out.bias)
    graph = helper.make_graph(
        nodes,
        "marks",
        [helper.make_tensor_value_info("planes", TensorProto.FLOAT, [1, 3, "height", "width"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 9, "half_height", "half_width"])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def from_onnx(net: MarkNet, path: Path, inputs: torch.Tensor) -> None:
    """Take the weights of a stored network; its norms start from the statistics of `inputs`."""
    stored = {
        each.name: torch.tensor(numpy_helper.to_array(each)) for each in onnx.load(path).graph.initializer
    }
    steps = {"half": net.at_half, "join_quarter": net.join_quarter, "join_half": net.join_half}
    steps |= {f"quarter{index}": part for index, part in enumerate(net.quarter)}
    steps |= {f"eighth{index}": part for index, part in enumerate(net.eighth)}
    plain = {"at_quarter.small": net.to_quarter, "at_half.small": net.to_half, "logits": net.out}
    for name, conv in plain.items():
        conv.weight.data.copy_(stored[f"{name}.weight"])
        conv.bias.data.copy_(stored[f"{name}.bias"])
    hooks = []
    for name, part in steps.items():
        part.conv.weight.data.copy_(stored[f"{name}.linear.weight"])

        def undo(_conv, _inputs, out, part=part, bias=stored[f"{name}.linear.bias"]):
            part.norm.weight.data.copy_(torch.sqrt(out.var((0, 2, 3), unbiased=False) + part.norm.eps))
            part.norm.bias.data.copy_(bias + out.mean((0, 2, 3)))
            part.norm.running_mean.copy_(out.mean((0, 2, 3)))
            part.norm.running_var.copy_(out.var((0, 2, 3)))

        hooks.append(part.conv.register_forward_hook(undo))
    with torch.no_grad():
        net.train()(inputs)
    for hook in hooks:
        hook.remove()
