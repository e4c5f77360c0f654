"""model_card.md where the packer gives none: what the manifest says, in sentences."""

from __future__ import annotations

from femur_nnunet.model_bundle.manifest import Distribution, Manifest, PostprocessingStep


def write_card(manifest: Manifest) -> str:
    """Return a model card in Markdown."""
    network, facts = manifest.network, manifest.training
    lines = [
        f"# {manifest.name}", "", manifest.intended_use, "",
        "## Model", "",
        f"- Network: {network.family}, trained by `{network.trainer}` on the plan `{network.plans_name}`, "
        f"{len(network.folds)} fold(s).",
        f"- Classes: {', '.join(label.name for label in manifest.labels)}.",
        f"- Hips are found by: {manifest.localiser}.",
        f"- Licence: {manifest.licence}", *(f"- Attribution: {text}" for text in manifest.attribution), "",
        "## Training data", "", *_training_lines(manifest), "",
        "## Postprocessing", "",
        f"- Largest component: {describe_step(manifest.postprocessing.largest_component)}.",
        f"- Holes filled: {describe_step(manifest.postprocessing.fill_holes)}.", "",
        "## Not known", "",
        "- How the model does on scanners, kernels, ages and diseases outside of the training data.",
        *([] if facts.n_cases else ["- How many cases it was trained on."]), ""]
    return "\n".join(lines)


def describe_step(step: PostprocessingStep) -> str:
    """Return a step's choice and its evidence in a few words."""
    choice = "used" if step.use else "not used"
    proof = step.evidence
    if proof is None:
        return f"{choice} (default, not validated)"
    interval = ("" if proof.ci95_low is None or proof.ci95_high is None
                else f" (95 % interval {proof.ci95_low:+.4f} to {proof.ci95_high:+.4f})")
    return (f"{choice}: mean Dice {proof.dice_without:.4f} without, {proof.dice_with:.4f} with it, difference "
            f"{proof.difference:+.4f}{interval} over {proof.n_participants} participants, better in {proof.n_better}, "
            f"worse in {proof.n_worse}")


def describe_spread(spread: Distribution, digits: int = 2) -> str:
    """Return a distribution in a few words."""
    return (f"{spread.minimum:.{digits}f} to {spread.maximum:.{digits}f}, median {spread.median:.{digits}f}")


def _training_lines(manifest: Manifest) -> list[str]:
    facts = manifest.training
    counts = [f"{number} {what}" for number, what in (
        (facts.n_cases, "labelled cases"), (facts.n_participants, "participants"),
        (len(facts.cases_by_site) or None, "site(s)"),
        (facts.n_unlabelled_cases or None, "further cases without labels")) if number is not None]
    names = facts.site_names or [""] * len(facts.cases_by_site)
    lines = [f"- {', '.join(counts)}." if counts else "- Number of cases not recorded."]
    lines += ["- Labelled cases by site: " + ", ".join(f"{name} {count}".strip() for name, count in zip(
        names, facts.cases_by_site, strict=True)) + "."] if facts.cases_by_site else []
    axes = ("slices", "rows", "columns")
    lines += [f"- Spacing of {axis}: {describe_spread(spread)} mm."
              for axis, spread in zip(axes, facts.spacing_mm, strict=False)]
    if facts.femur_volume_ml is not None:
        lines.append(f"- Volume of a femur in the field of view: {describe_spread(facts.femur_volume_ml, 0)} ml.")
    return lines
