import pytest
import torch
from torch import nn

from usfmae.models import vit
from usfmae.models.classifier import Classifier
from usfmae.models.relevance import (
    attention_rollout,
    class_relevance,
    class_scores,
    gradient_times_input,
    upsample_maps,
)
from usfmae.models.seen_attention import watched_attention
from usfmae.models.vit import VisionTransformer, ViTConfig, start_weights

WIDTH, LAYERS, HEADS = 48, 4, 3


@pytest.fixture(autouse=True)
def _small_networks(monkeypatch):
    monkeypatch.setitem(vit.SIZES, "ti", (WIDTH, LAYERS, HEADS))


def drawn(*, pool="mean", seed=0, image_px=32):
    """ViT-Ti of 8 px patches at a random start, with weights large enough that attention is not uniform."""
    generator = torch.Generator().manual_seed(seed)
    encoder = VisionTransformer(ViTConfig(size="ti", image_px=image_px, patch_px=8))
    start_weights(encoder, generator)
    classifier = Classifier(encoder, 3, pool=pool, generator=generator)
    with torch.no_grad():
        classifier.classifier.weight.normal_(generator=generator)
        for block in encoder.blocks:
            block.attn.qkv.weight.mul_(3)
    return classifier.eval()


def blank(*, pool, image_px=(16, 24)):
    """A classifier of two classes in which nothing happens: attention uniform, no block adds anything. The
    mean of a patch goes into entry 0 of its token and its negative into entry 1; class 1 reads entry 0."""
    encoder = VisionTransformer(ViTConfig(size="ti", image_px=image_px, patch_px=8))
    classifier = Classifier(encoder, 2, pool=pool, generator=torch.Generator())
    with torch.no_grad():
        for name, parameter in classifier.named_parameters():
            if "norm" not in name:
                parameter.zero_()
        encoder.patch_embed.proj.weight[0] = 1 / 64
        encoder.patch_embed.proj.weight[1] = -1 / 64
        classifier.classifier.weight[1, 0] = 1.0
    return classifier.eval()


def pictures(number=2, image_px=(32, 32), seed=1):
    return torch.randn(number, 1, *image_px, generator=torch.Generator().manual_seed(seed))


def with_patches(values):
    """One picture of flat patches; values are "rows columns"."""
    return torch.tensor(values).repeat_interleave(8, 0).repeat_interleave(8, 1)[None, None]


def test_recomputed_probabilities_give_what_the_fused_kernel_gives():
    classifier, images = drawn(), pictures()
    with torch.no_grad(), watched_attention(classifier) as seen:
        classifier(images)
    assert len(seen) == LAYERS
    spread = []
    for layer in seen:
        probabilities = layer.probabilities()
        mixed = (probabilities @ layer.values()).transpose(1, 2).reshape(layer.mixed.shape)
        torch.testing.assert_close(mixed, layer.mixed, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(probabilities.sum(-1), torch.ones_like(probabilities[..., 0]))
        spread.append(float(probabilities.max()))
    assert max(spread) > 0.2  # not uniform (1/17), or this would say little


def test_watching_leaves_no_hook_and_changes_no_answer():
    classifier, images = drawn(), pictures()
    with torch.no_grad():
        before = classifier(images)
        with watched_attention(classifier):
            during = classifier(images)
    assert torch.equal(before, during)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in classifier.modules())


def explicit_pass(classifier, images):
    """Logits by written-out attention, and the probabilities as part of the graph."""
    encoder = classifier.encoder
    patches = encoder.patch_embed.proj(images).flatten(2).transpose(1, 2) + encoder.pos_embed[:, 1:]
    first = (encoder.cls_token + encoder.pos_embed[:, :1]).expand(len(images), -1, -1)
    tokens, kept = torch.cat([first, patches], dim=1), []
    for block in encoder.blocks:
        b, n, d = tokens.shape
        qkv = block.attn.qkv(block.norm1(tokens)).reshape(b, n, 3, HEADS, d // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-2, -1) / (d // HEADS) ** 0.5).softmax(-1)
        attention.retain_grad()
        kept.append(attention)
        tokens = tokens + block.attn.proj((attention @ v).transpose(1, 2).reshape(b, n, d))
        tokens = tokens + block.mlp(block.norm2(tokens))
    return classifier.classifier(encoder.norm(tokens)[:, 0]), kept


def test_relevance_equals_the_published_rules_on_a_pass_that_keeps_its_probabilities():
    # Rules 5 and 6 of Chefer et al. 2021, as loops over images, layers and heads.
    classifier, images, wanted = drawn(pool="cls"), pictures(), torch.tensor([2, 0])
    logits, kept = explicit_pass(classifier, images)
    torch.testing.assert_close(logits, classifier(images), atol=1e-4, rtol=1e-4)
    (logits[[0, 1], wanted] - logits.mean(dim=1)).sum().backward()
    ours = class_relevance(classifier, images, classes=wanted)
    for number in range(2):
        relevance = torch.eye(17)
        for attention in kept:
            heads = [
                (attention.grad[number, head] * attention[number, head]).clamp(min=0).detach()
                for head in range(HEADS)
            ]
            relevance = relevance + torch.stack(heads).mean(0) @ relevance
        expected = relevance[0, 1:].reshape(4, 4)
        assert expected.max() > 0
        torch.testing.assert_close(
            ours[number] / expected.max(), expected / expected.max(), atol=1e-4, rtol=0
        )


def test_rollout_equals_its_definition():
    classifier, images = drawn(), pictures()
    _, kept = explicit_pass(classifier, images)
    rolled = torch.eye(17).expand(2, -1, -1)
    for attention in kept:
        rolled = (attention.detach().mean(1) + torch.eye(17)) / 2 @ rolled
    first, mean = rolled[:, 0, 1:].reshape(2, 4, 4), rolled[:, 1:, 1:].mean(1).reshape(2, 4, 4)
    for pool, expected in (("cls", first), ("mean", mean), ("mean+cls", (first + mean) / 2)):
        ours = attention_rollout(classifier.encoder, images, pool=pool)
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


def test_uniform_attention_rolls_out_uniformly():
    # Each layer is (J/7 + I)/2 for 7 tokens; J/7 is idempotent, so 4 layers are 2^-4 I + (1 - 2^-4) J/7.
    encoder = blank(pool="cls").encoder
    rolled = attention_rollout(encoder, pictures(2, (16, 24)), pool="cls")
    torch.testing.assert_close(rolled, torch.full((2, 2, 3), (1 - 2**-4) / 7))


def test_the_one_patch_that_moves_the_logit_is_alone_relevant():
    # Tokens of black patches are 0. Only the bright patch has an entry 0, so only it reaches the logit.
    classifier = blank(pool="mean")
    images = with_patches([[0.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
    relevance = class_relevance(classifier, images)[0]
    assert relevance[1, 2] > 0
    assert relevance.sum() == relevance[1, 2]
    moved = gradient_times_input(classifier, images, cell_px=8)[0]
    others = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    assert all(moved[place] == 0 for place in others)


def test_a_patch_that_speaks_against_a_class_is_relevant_for_the_other_one():
    classifier = blank(pool="mean")
    images = with_patches([[2.0, 0.0, 0.0], [0.0, -2.0, 0.0]]).expand(2, -1, -1, -1)
    maps = class_relevance(classifier, images, classes=torch.tensor([1, 0]))
    assert maps[0].argmax() == 0
    assert maps[0, 1, 1] == 0
    assert maps[1].argmax() == 4
    assert maps[1, 0, 0] == 0


@pytest.mark.parametrize("pool", ["cls", "mean+cls"])
def test_what_reaches_the_class_token_through_attention_is_relevant(pool):
    # One layer whose values and output map are the identity: the class token receives the mean of all.
    classifier = blank(pool=pool)
    with torch.no_grad():
        classifier.encoder.blocks[2].attn.qkv.weight[2 * WIDTH :] = torch.eye(WIDTH)
        classifier.encoder.blocks[2].attn.proj.weight.copy_(torch.eye(WIDTH))
        if pool == "mean+cls":  # read the class token alone
            classifier.classifier.weight[:, :WIDTH] = 0
            classifier.classifier.weight[1, WIDTH] = 1.0
    images = with_patches([[0.0, 4.0, 0.0], [0.0, -1.0, 0.0]])
    relevance = class_relevance(classifier, images, classes=torch.tensor([1]))[0]
    assert relevance[0, 1] > 0
    assert relevance.sum() == relevance[0, 1]


def test_what_is_added_to_all_logits_changes_no_map():
    classifier, images = drawn(), pictures()
    before = class_relevance(classifier, images)
    with torch.no_grad():
        classifier.classifier.weight += torch.randn(WIDTH, generator=torch.Generator().manual_seed(2))
        classifier.classifier.bias += 5
    after = class_relevance(classifier, images)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3 * float(before.max()))


def test_the_predicted_class_is_the_default():
    classifier, images = drawn(), pictures(4)
    likeliest = classifier(images).argmax(dim=1)
    for method in (class_relevance, gradient_times_input):
        torch.testing.assert_close(method(classifier, images), method(classifier, images, classes=likeliest))


def test_frozen_and_training_networks_are_explained_and_left_alone():
    classifier, images = drawn(), pictures()
    expected = class_relevance(classifier, images)
    classifier.requires_grad_(False)
    classifier.train()
    classifier.encoder.blocks[0].eval()
    for block in classifier.encoder.blocks:
        block.drop_path = 0.5
    with torch.no_grad():
        torch.testing.assert_close(class_relevance(classifier, images), expected, rtol=1e-4, atol=1e-4)
    assert classifier.training
    assert not classifier.encoder.blocks[0].training
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_gradient_times_input_of_a_linear_cnn_sums_to_its_score():
    generator = torch.Generator().manual_seed(3)
    cnn = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(4 * 16 * 24, 3, bias=False)
    )
    for parameter in cnn.parameters():
        nn.init.normal_(parameter, generator=generator)
    images = pictures(2, (16, 24))
    maps = gradient_times_input(cnn, images, cell_px=8)
    assert maps.shape == (2, 2, 3)
    torch.testing.assert_close(maps.sum(dim=(1, 2)), class_scores(cnn(images)), rtol=1e-4, atol=1e-3)
    whole = gradient_times_input(cnn, images)
    assert whole.shape == (2, 16, 24)
    torch.testing.assert_close(whole[:, 8:, 16:].sum(dim=(1, 2)), maps[:, 1, 2], rtol=1e-4, atol=1e-3)


def test_cells_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="cell_px=5 does not divide images of 32 x 32"):
        gradient_times_input(drawn(), pictures(), cell_px=5)


def test_scores_by_hand():
    logits = torch.tensor([[1.0, 3.0, 5.0]])
    assert class_scores(logits).tolist() == [2.0]
    assert class_scores(logits, torch.tensor([0])).tolist() == [-2.0]
    assert class_scores(torch.tensor([[4.0]])).tolist() == [4.0]


def test_upsampling_keeps_maxima_in_place_and_flat_maps_flat():
    maps = torch.zeros(1, 4, 6)
    maps[0, 1, 4] = 1.0
    large = upsample_maps(maps, (32, 48))[0]
    down, across = divmod(int(large.argmax()), 48)
    assert (down // 8, across // 8) == (1, 4)
    torch.testing.assert_close(
        upsample_maps(torch.full((1, 2, 2), 7.0), (10, 10)), torch.full((1, 10, 10), 7.0)
    )
