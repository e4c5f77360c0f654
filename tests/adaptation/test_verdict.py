from __future__ import annotations

import math

import pytest

from femur_nnunet.adaptation.verdict import judge

EPOCHS = 20
NAN = math.nan


def curves(**changed):
    """A healthy run: the classifier learns before the ramp, then falls towards chance."""
    healthy = {
        "gradient_domain": [NAN] * 4 + [0.01] * 16, "gradient_mmd": [NAN] * 4 + [0.02] * 16,
        "gradient_consistency": [NAN] * EPOCHS, "consistency_weight": [0.0] * EPOCHS,
        "site_accuracy": [0.6, 0.8, 0.95, 1.0, 0.9] + [0.7] * 5 + [0.55] * 10,
    }
    return healthy | changed


def verdict(n_sites=2, patches_an_epoch=1000, **changed):
    return judge(curves(**changed), n_sites=n_sites, patches_an_epoch=patches_an_epoch)


def test_a_classifier_that_learnt_and_was_then_confused_is_adapting():
    assert verdict().name == "adapting"
    assert verdict().reasons == []


@pytest.mark.parametrize("term", ["domain", "mmd"])
def test_a_term_in_use_without_gradient_is_not_adapting(term):
    # What detached features give: the loss is there, its gradient is not.
    found = verdict(**{f"gradient_{term}": [NAN] * 4 + [0.0] * 16})
    assert found.name == "not adapting"
    assert found.reasons == [f"the term {term} has no gradient at the encoder"]


def test_a_term_that_is_not_in_use_is_not_blamed():
    assert verdict(gradient_domain=[NAN] * EPOCHS).name == "adapting"


def test_a_classifier_at_one_to_the_end_is_not_adapting():
    found = verdict(site_accuracy=[0.7, 0.9] + [1.0] * 18)
    assert found.name == "not adapting"
    assert "100.0%" in found.reasons[0]


def test_a_classifier_at_one_before_the_ramp_alone_is_no_fault():
    assert verdict(site_accuracy=[1.0] * 15 + [0.6] * 5).name == "adapting"


@pytest.mark.parametrize("accuracy", [0.5, 0.24])
def test_a_classifier_at_or_beyond_chance_from_the_start_is_collapsed(accuracy):
    found = verdict(site_accuracy=[accuracy] * EPOCHS)
    assert found.name == "collapsed"
    assert "never rose above chance" in found.reasons[0]


def test_a_classifier_that_learnt_and_ends_beyond_chance_is_driven_past_it():
    found = verdict(site_accuracy=[0.9] * 5 + [0.24] * 15)
    assert found.name == "driven past chance"
    assert found.reasons[0].startswith("the site classifier is right in 24.0% of the last 4 epochs")


def test_beyond_chance_means_by_more_than_the_margin():
    # Last 4 epochs of 1000 patches: 3 standard errors are .024, so that .05 is the margin.
    assert verdict(site_accuracy=[0.9] * 16 + [0.46] * 4).name == "adapting"
    assert verdict(site_accuracy=[0.9] * 16 + [0.44] * 4).name == "driven past chance"
    # With 8 patches an epoch it is 3 * sqrt(.25 / 32) = .265.
    assert verdict(patches_an_epoch=8, site_accuracy=[1.0] * 16 + [0.3] * 4).name == "adapting"
    assert verdict(patches_an_epoch=8, site_accuracy=[1.0] * 16 + [0.2] * 4).name == "driven past chance"
    # Chance is a quarter with four sites.
    assert verdict(n_sites=4, site_accuracy=[0.9] * 5 + [0.24] * 15).name == "adapting"
    assert verdict(n_sites=4, site_accuracy=[0.9] * 5 + [0.1] * 15).name == "driven past chance"


def test_a_classifier_that_only_looks_on_is_not_said_to_be_driven():
    assert verdict(gradient_domain=[NAN] * EPOCHS, site_accuracy=[0.9] * 5 + [0.24] * 15).name == "adapting"


@pytest.mark.parametrize(("accuracy", "name"), [
    ([NAN] * 5 + [0.5] * 15, "collapsed"), ([NAN] * 5 + [1.0] * 15, "not adapting"),
    ([0.5] * 5 + [NAN] + [0.5] * 14, "collapsed"), ([NAN] * 2 + [0.9] * 8 + [0.5] * 10, "adapting")])
def test_epochs_without_an_accuracy_are_passed_over(accuracy, name):
    # A training that goes on from a stock trainer's checkpoint has none in its first epochs.
    assert verdict(site_accuracy=accuracy).name == name


def test_a_training_without_any_accuracy_is_judged_by_its_gradients():
    assert verdict(site_accuracy=[NAN] * EPOCHS).name == "adapting"


def test_chance_is_that_of_the_number_of_sites():
    assert verdict(n_sites=4, site_accuracy=[0.27] * EPOCHS).name == "collapsed"
    assert verdict(n_sites=4, site_accuracy=[0.5] * EPOCHS).name == "adapting"


def test_few_patches_an_epoch_need_more_to_count_as_learnt():
    # Windows of 2 epochs with 8 patches: 3 standard errors are 3 * sqrt(.25 / 16) = .375.
    assert verdict(patches_an_epoch=8, site_accuracy=[0.8] * EPOCHS).name == "collapsed"
    assert verdict(patches_an_epoch=8, site_accuracy=[0.9] * EPOCHS).name == "adapting"


def test_without_gradient_reversal_the_classifier_only_looks_on():
    assert verdict(gradient_domain=[NAN] * EPOCHS, site_accuracy=[0.5] * EPOCHS).name == "adapting"


def test_a_run_without_any_term_is_named_so():
    nothing = [NAN] * EPOCHS
    assert verdict(gradient_domain=nothing, gradient_mmd=nothing).name == "no adaptation term in use"


def test_a_consistency_whose_gradient_was_not_measured_is_a_term_in_use_all_the_same():
    nothing = [NAN] * EPOCHS
    assert verdict(gradient_domain=nothing, gradient_mmd=nothing,
                   consistency_weight=[1.0] * EPOCHS).name == "adapting"
