import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usfmae.models.agreement import AgreementConfig, AgreementParts, Projector, vicreg
from usfmae.models.mae import DecoderConfig, MaeConfig, MaskedAutoencoder
from usfmae.models.masking import Hiding, hide_patches, one_after_the_other
from usfmae.models.vit import ViTConfig, start_weights


def rows(n: int = 9, d: int = 5, *, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def values(parts: AgreementParts) -> list[float]:
    return [value.item() for value in vars(parts).values()]


def test_the_three_parts_by_hand():
    # a: (1, 0) and (-1, 0.6). Variances (unbiased) 2 and 0.18, covariance -0.6. The standard deviation of the
    # first dimension is above 1 and adds nothing, that of the second is sqrt(0.1801) = 0.4244.
    # b: the same with the second dimension 0 throughout: deviation sqrt(1e-4) = 0.01, covariance 0.
    a = torch.tensor([[1.0, 0.0], [-1.0, 0.6]])
    b = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    invariance = 0.6**2 / 4
    variance = ((1 - math.sqrt(0.1801)) / 2 + (1 - 0.01) / 2) / 2
    covariance = 2 * 0.6**2 / 2
    assert values(vicreg(a, b)) == pytest.approx([invariance, variance, covariance], rel=1e-6)


def test_the_whole_is_the_formula_of_the_paper_written_out():
    a, b = rows(seed=1, scale=0.7), rows(seed=2, scale=0.9)
    n, d = a.shape
    expected = torch.zeros(3, dtype=torch.float64)
    expected[0] = sum((a[i, j].double() - b[i, j]) ** 2 for i in range(n) for j in range(d)) / (n * d)
    for view in (a.double(), b.double()):
        mean = [sum(view[i, j] for i in range(n)) / n for j in range(d)]
        cov = [
            [
                sum((view[i, j] - mean[j]) * (view[i, k] - mean[k]) for i in range(n)) / (n - 1)
                for k in range(d)
            ]
            for j in range(d)
        ]
        expected[1] += sum(max(0, 1 - math.sqrt(cov[j][j] + 1e-4)) for j in range(d)) / d / 2
        expected[2] += sum(cov[j][k] ** 2 for j in range(d) for k in range(d) if j != k) / d
    parts = vicreg(a, b)
    assert values(parts) == pytest.approx(expected.tolist(), rel=1e-5)
    weighted = AgreementConfig(weight=0.1).weighted(parts).item()
    assert weighted == pytest.approx(
        0.1 * (25 * expected[0] + 25 * expected[1] + expected[2]).item(), rel=1e-5
    )


@given(seed=st.integers(0, 999), n=st.integers(2, 12), d=st.integers(1, 6))
def test_it_does_not_matter_which_view_is_the_first_or_in_what_order_images_come(seed, n, d):
    a, b = rows(n, d, seed=seed), rows(n, d, seed=seed + 1000)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    assert values(vicreg(b, a)) == pytest.approx(values(vicreg(a, b)), rel=1e-5, abs=1e-6)
    assert values(vicreg(a[order], b[order])) == pytest.approx(values(vicreg(a, b)), rel=1e-4, abs=1e-5)


def test_equal_views_agree():
    assert vicreg(rows(), rows()).invariance.item() == 0
    assert vicreg(rows(), rows() + 0.5).invariance.item() == pytest.approx(0.25)


def test_a_dimension_that_is_spread_enough_adds_nothing():
    a = rows(40)
    a = (a - a.mean(dim=0)) / a.std(dim=0)
    assert vicreg(a, 3 * a).variance.item() == 0
    assert vicreg(0.5 * a, a).variance.item() == pytest.approx((1 - math.sqrt(0.25 + 1e-4)) / 2, rel=1e-5)


def test_collapse_is_punished_by_hand():
    # All images in one point: deviation sqrt(1e-4) = 0.01 everywhere, so the hinge is 0.99; at weights of 25
    # and 0.02 that is 0.495.
    point = torch.ones(8, 5)
    assert values(vicreg(point, point)) == pytest.approx([0, 0.99, 0], abs=1e-6)
    assert AgreementConfig().weighted(vicreg(point, point)).item() == pytest.approx(0.495, rel=1e-5)


def test_dimensions_that_say_the_same_are_punished():
    a = rows(200, 1)
    twice = torch.cat([a, a], dim=1) / a.std()
    assert vicreg(twice, twice).covariance.item() == pytest.approx(2, rel=1e-5)
    apart = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert vicreg(apart, apart).covariance.item() == 0


def test_one_row_alone_has_no_spread_and_no_nan():
    a = rows(1).requires_grad_()
    parts = vicreg(a, rows(1, seed=1))
    assert values(parts)[1:] == pytest.approx([0.99, 0])
    AgreementConfig().weighted(parts).backward()
    assert torch.isfinite(a.grad).all()


def test_autocast_does_not_make_it_coarser():
    a, b = rows(seed=1), rows(seed=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = values(vicreg(a, b))
    assert inside == values(vicreg(a, b))


def test_what_an_image_is_projected_to_does_not_depend_on_those_beside_it():
    projector = Projector(12, AgreementConfig(dim=8), norm_eps=1e-6)
    start_weights(projector, torch.Generator().manual_seed(0))
    batch = rows(6, 12)
    assert projector(batch).shape == (6, 8)
    torch.testing.assert_close(projector(batch)[2:3], projector(batch[2:3]))
    assert [tuple(layer.weight.shape) for layer in projector if hasattr(layer, "in_features")] == [
        (8, 12), (8, 8), (8, 8),
    ]  # fmt: skip
    assert len(Projector(12, AgreementConfig(dim=8, num_layers=1), norm_eps=1e-6)) == 1


def network(**agreement) -> MaskedAutoencoder:
    made = MaskedAutoencoder(
        MaeConfig(
            encoder=ViTConfig(image_px=32, patch_px=8),
            decoder=DecoderConfig(dim=32, num_layers=1, num_heads=4),
            agreement=AgreementConfig(**agreement),
        )
    )
    start_weights(made, torch.Generator().manual_seed(1))
    return made.eval()


def hiding(seed: int = 0, batch: int = 2) -> Hiding:
    return hide_patches(batch, 16, hide_ratio=0.75, rng=torch.Generator().manual_seed(seed))


def test_without_it_a_network_has_no_more_parameters_and_starts_as_it_did():
    plain, paired = network(), network(kind="image", dim=16)
    extra = set(paired.state_dict()) - set(plain.state_dict())
    assert extra
    assert all(name.startswith("projector.") for name in extra)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, paired.state_dict()[name])
    assert plain(torch.randn(2, 1, 32, 32), hiding()).projected is None


def test_the_mean_of_the_visible_patches_is_projected_and_hidden_ones_have_no_say():
    paired, images, chosen = network(kind="image", dim=16), torch.randn(2, 1, 32, 32), hiding()
    tokens = paired.encoder(images, visible=chosen.visible)[:, 1:]
    expected = paired.projector(tokens.mean(dim=1))
    torch.testing.assert_close(paired(images, chosen).projected, expected)
    hidden = torch.ones(2, 16).scatter_(1, chosen.visible, 0).reshape(2, 1, 4, 4)
    changed = images + hidden.repeat_interleave(8, 2).repeat_interleave(8, 3)
    torch.testing.assert_close(paired(changed, chosen).projected, expected)


@pytest.mark.parametrize("kind", ["self", "cross"])
def test_every_parameter_learns_from_pixels_and_agreement_together(kind):
    made = MaskedAutoencoder(
        MaeConfig(
            encoder=ViTConfig(image_px=32, patch_px=8),
            decoder=DecoderConfig(dim=32, num_layers=1, num_heads=4, kind=kind),
            agreement=AgreementConfig(kind="image", dim=16),
        )
    )
    start_weights(made, torch.Generator().manual_seed(1))
    output = made(torch.randn(4, 1, 32, 32), hiding(batch=4))
    (output.loss + AgreementConfig().weighted(vicreg(*output.projected.chunk(2)))).backward()
    assert [name for name, p in made.named_parameters() if p.requires_grad and p.grad is None] == []


def test_two_choices_of_patches_stand_one_after_the_other():
    one, two = hiding(seed=1), hiding(seed=2, batch=3)
    both = one_after_the_other(one, two)
    assert torch.equal(both.visible, torch.cat([one.visible, two.visible]))
    assert torch.equal(both.hidden, torch.cat([one.hidden, two.hidden]))
    assert both.scored is None
    ones, zeros = torch.ones(2, 12), torch.zeros(3, 12)
    scored = one_after_the_other(Hiding(*vars(one).values()), two)
    assert scored.scored is None
    scored = one_after_the_other(
        Hiding(one.visible, one.hidden, ones), Hiding(two.visible, two.hidden, zeros)
    )
    assert torch.equal(scored.scored, torch.cat([ones, zeros]))
