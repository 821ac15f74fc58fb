"""Where in a picture an answer comes from: heat maps of classifiers.

Three methods, from the plainest to the most specific. Attention rollout (Abnar and Zuidema 2020, "Quantifying
Attention Flow in Transformers", sec. 3) follows attention through the layers and knows no class. Gradient x
attention (Chefer, Gur and Wolf 2021, "Generic Attention-model Explainability", sec. 3.1, rules 5 and 6; it
needs no layer-wise propagation, unlike their "Transformer Interpretability Beyond Attention Visualization")
keeps of attention what speaks for one class. Gradient x input (Shrikumar et al. 2016, "Not Just a Black Box")
needs nothing but a gradient, so it works for CNNs too.

The score of a class is its logit minus the mean of all logits. Softmax leaves open what is added to all of
them, and so must a heat map of its answer.

A heat map says what a network used, not where disease is; whether the two meet is measured by
`evaluate.pointing_game`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from usfmae.models.classifier import Classifier, PoolName, pool_tokens
from usfmae.models.seen_attention import watched_attention
from usfmae.models.vit import VisionTransformer


def attention_rollout(
    encoder: VisionTransformer, images: Float[Tensor, "b c h w"], *, pool: PoolName
) -> Float[Tensor, "b rows columns"]:
    """How much of each patch reaches the pooled vector when every layer passes on what it attends to.

    Layers are (A + I) / 2, A the mean over the heads; the half that stays stands for the residual path.

    Args:
        encoder: on any device.
        images: standardised, of the encoder's size.
        pool: which tokens are read at the end; mean and class token weigh the same in "mean+cls".

    Returns:
        Shares from 0 to 1 per patch; with what the class token gives of itself they sum to 1.
    """
    with _in_evaluation(encoder), torch.no_grad(), watched_attention(encoder) as seen:
        encoder(images)
        rolled = None
        for layer in seen:
            attention = layer.probabilities().mean(dim=1)
            passed = (attention + torch.eye(attention.shape[-1], device=attention.device)) / 2
            rolled = passed if rolled is None else passed @ rolled
    assert rolled is not None
    parts: tuple[PoolName, ...] = ("mean", "cls") if pool == "mean+cls" else (pool,)
    read = torch.stack([pool_tokens(rolled, part) for part in parts]).mean(dim=0)
    rows, columns = encoder.grid_of((images.shape[2], images.shape[3]))
    return read[:, 1:].reshape(-1, rows, columns)


def class_relevance(
    classifier: Classifier, images: Float[Tensor, "b c h w"], *, classes: Int[Tensor, " b"] | None = None
) -> Float[Tensor, "b rows columns"]:
    """What of each patch speaks for a class: gradient x attention, through all layers.

    Relevance starts as the identity and each layer adds `mean over heads of (gradient of A * A)+` times
    what was there. It is read in the row of the class token, as in the paper. Mean pooling is taken as one
    more layer of attention with equal probabilities, so a patch token counts by its own (gradient * token)+.

    Args:
        classifier: on any device; left as it was found.
        images: standardised, of the encoder's size.
        classes: whose relevance, per image; None for the predicted one.

    Returns:
        Per patch, 0 or more, in no unit: comparable inside one picture only. All 0 where nothing speaks for
        the class.
    """
    encoder, kept = classifier.encoder, []
    with _in_evaluation(classifier), torch.enable_grad(), watched_attention(classifier) as seen:
        hook = encoder.register_forward_hook(lambda _module, _inputs, out: kept.append(out))
        try:
            logits = classifier(images.detach().requires_grad_())
        finally:
            hook.remove()
        tokens = kept[0]
        score = class_scores(logits, classes).sum()
        of_tokens, *of_mixed = torch.autograd.grad(score, [tokens, *(layer.mixed for layer in seen)])
    with torch.no_grad():
        relevance = torch.eye(tokens.shape[1], device=tokens.device).expand(len(tokens), -1, -1)
        for layer, gradient in zip(seen, of_mixed, strict=True):
            speaking = (layer.gradient(gradient) * layer.probabilities()).clamp(min=0).mean(dim=1)
            relevance = relevance + speaking @ relevance
        if classifier.pool == "cls":
            read = relevance[:, 0]
        else:
            weight = (of_tokens * tokens).float().sum(dim=2).clamp(min=0)
            read = (weight[:, None] @ relevance)[:, 0]
    rows, columns = encoder.grid_of((images.shape[2], images.shape[3]))
    return read[:, 1:].reshape(-1, rows, columns)


def gradient_times_input(
    network: nn.Module,
    images: Float[Tensor, "b c h w"],
    *,
    classes: Int[Tensor, " b"] | None = None,
    cell_px: int = 1,
) -> Float[Tensor, "b rows columns"]:
    """How much each pixel adds to the score of a class, to first order around an input of 0.

    For a network that is linear in its input, without bias, the map sums to the score. An input of 0 is the
    mean grey after standardisation; black counts as a negative input.

    Args:
        network: images to logits, any architecture; left as it was found.
        images: standardised.
        classes: whose score, per image; None for the predicted one.
        cell_px: side in pixels of the squares over which the map is summed: 1 for single pixels, the patch
            for maps that compare with those of a ViT. Divides height and width.

    Returns:
        Signed: negative where the picture speaks against the class.

    Raises:
        ValueError: `cell_px` does not divide the image.
    """
    height, width = images.shape[2:]
    if cell_px < 1 or height % cell_px or width % cell_px:
        raise ValueError(f"cell_px={cell_px} does not divide images of {height} x {width}")
    with _in_evaluation(network), torch.enable_grad():
        inputs = images.detach().requires_grad_()
        score = class_scores(network(inputs), classes).sum()
        (gradient,) = torch.autograd.grad(score, [inputs])
    each = (gradient * images).sum(dim=1).float()
    return each.reshape(len(images), height // cell_px, cell_px, width // cell_px, cell_px).sum(dim=(2, 4))


def class_scores(
    logits: Float[Tensor, "b class"], classes: Int[Tensor, " b"] | None = None
) -> Float[Tensor, " b"]:
    """The logit of a class minus the mean of all; a single logit stays as it is.

    Args:
        logits: of each image.
        classes: one per image; None for the likeliest.
    """
    wanted = logits.argmax(dim=1) if classes is None else classes.to(logits.device)
    chosen = logits.gather(1, wanted[:, None])[:, 0]
    return chosen if logits.shape[1] == 1 else chosen - logits.mean(dim=1)


def upsample_maps(
    maps: Float[Tensor, "b rows columns"], size_px: tuple[int, int]
) -> Float[Tensor, "b height width"]:
    """Maps at the resolution of pixels: bilinear between the middles of the patches, constant beyond them.

    Args:
        maps: one value per patch.
        size_px: (height, width) in pixels.
    """
    return F.interpolate(maps[:, None], size=size_px, mode="bilinear", align_corners=False)[:, 0]


@contextmanager
def _in_evaluation(network: nn.Module) -> Iterator[None]:
    """No blocks are skipped inside; afterwards each module is in the mode it was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
