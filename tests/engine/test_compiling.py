"""A run with compiled blocks gives the same result up to rounding, and says so where it cannot compile."""

import pytest
import torch
from tests.helpers.small_loop import run
from torch import Tensor, nn

from usfmae.base.config import with_settings
from usfmae.base.errors import SettingError
from usfmae.engine.compiling import compiling, copy_gradients
from usfmae.engine.loop import LoopConfig
from usfmae.engine.metrics_log import read_metrics
from usfmae.engine.parallel import recomputing

CPU = torch.device("cpu")

pytestmark = pytest.mark.filterwarnings("default")  # torch.compile warns of what torch itself does


class Deep(nn.Module):
    """Three equal blocks between two maps."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU()) for _ in range(3)
        )

    def forward(self, rows: Tensor) -> Tensor:
        rows = self.first(rows)
        for block in self.blocks:
            rows = rows + block(rows)
        return self.last(rows)


def counted_graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def test_a_compiled_run_has_the_losses_of_a_plain_one_and_compiles_blocks_once(tmp_path):
    run(tmp_path / "plain", Deep(), log_steps=1)
    before = counted_graphs()
    net, _ = run(tmp_path / "compiled", Deep(), log_steps=1, compile="blocks")
    assert counted_graphs() == before + 1
    plain, compiled = (
        [line["loss"] for line in read_metrics(tmp_path / name / "metrics.jsonl") if line["kind"] == "train"]
        for name in ("plain", "compiled")
    )
    assert compiled == pytest.approx(plain, rel=1e-5)
    assert all("forward" not in vars(block) for block in net.blocks), "the network is left as it was"


def test_looking_without_gradients_is_not_compiled():
    net = Deep()
    before = counted_graphs()
    with compiling(net, "blocks", CPU), torch.no_grad():
        net(torch.ones(2, 4))
    assert counted_graphs() == before


def test_recomputing_nests_within_compiling_and_both_are_undone():
    net, rows = Deep(), torch.ones(2, 4)
    wanted = torch.autograd.grad(net(rows).sum(), net.blocks[0][1].weight)[0]
    with compiling(net, "blocks", CPU), recomputing(net):
        found = torch.autograd.grad(net(rows).sum(), net.blocks[0][1].weight)[0]
    torch.testing.assert_close(found, wanted)
    assert all("forward" not in vars(block) for block in net.blocks)


def test_cuda_graphs_are_refused_without_a_gpu(tmp_path):
    with pytest.raises(SettingError, match=r"loop\.compile=graphs: CUDA graphs need a GPU"):
        run(tmp_path, Deep(), compile="graphs")


@pytest.mark.parametrize("other", ["activation_checkpointing=true", "parallel=fsdp"])
def test_cuda_graphs_are_refused_with_what_changes_memory_between_replays(other):
    name = other.split("=")[0]
    with pytest.raises(SettingError, match=f"compile=graphs cannot be used with {name}.*compile=blocks can"):
        with_settings(LoopConfig(), ["compile=graphs", other])
    assert with_settings(LoopConfig(), ["compile=blocks", other]).compile == "blocks"


def test_gradients_of_a_part_are_copied_out_of_memory_that_the_next_part_writes_into():
    net = Deep()
    net(torch.ones(2, 4)).sum().backward()
    net.last.bias.grad = None
    replayed = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    before = {name: grad.clone() for name, grad in replayed.items()}
    copy_gradients(net)
    for grad in replayed.values():
        grad.fill_(7)
    assert {name for name, p in net.named_parameters() if p.grad is not None} == before.keys()
    assert all(torch.equal(p.grad, before[name]) for name, p in net.named_parameters() if name in before)


def test_a_machine_without_a_compiler_is_told_what_to_install(tmp_path):
    torch._dynamo.reset()
    with (
        torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True}),
        pytest.raises(SettingError, match="this machine cannot compile") as caught,
    ):
        run(tmp_path, Deep(), compile="blocks")
    assert "apt install g++" in str(caught.value.hint)
