"""A methods paragraph from what was really run, with its references."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from femur_nnunet.evaluation.bootstrap import EXACT_UP_TO, PERMUTATIONS
from femur_nnunet.evaluation.participants import select, sites_of
from femur_nnunet.evaluation.report.measured_pairs import density_units, is_density, is_texture
from femur_nnunet.evaluation.report.result_tables import ResultTables
from femur_nnunet.evaluation.report.wording import counted, site_title
from femur_nnunet.files import write_text

METHODS_NAME = "methods.md"
REFERENCES = {
    "dice": "Dice LR. Measures of the amount of ecologic association between species. Ecology 1945; 26:297-302.",
    "surface": "Nikolov S, et al. Deep learning to achieve clinically applicable segmentation of head and neck anatomy "
               "for radiotherapy. arXiv 1809.04430.",
    "bootstrap": "Efron B. Bootstrap methods: another look at the jackknife. Ann Stat 1979; 7:1-26.",
    "permutation": "Phipson B, Smyth GK. Permutation p-values should never be zero. Stat Appl Genet Mol Biol 2010; "
                   "9:39.",
    "holm": "Holm S. A simple sequentially rejective multiple test procedure. Scand J Stat 1979; 6:65-70.",
    "bland": "Bland JM, Altman DG. Measuring agreement in method comparison studies. Stat Methods Med Res 1999; "
             "8:135-160.",
    "icc": "Shrout PE, Fleiss JL. Intraclass correlations: uses in assessing rater reliability. Psychol Bull 1979; "
           "86:420-428.",
    "tost": "Schuirmann DJ. A comparison of the two one-sided tests procedure and the power approach for assessing the "
            "equivalence of average bioavailability. J Pharmacokinet Biopharm 1987; 15:657-680.",
    "lsc": "Cann CE, Adams JE, Brown JK, Brett AD. CTXA hip: an extension of classical DXA measurements using "
           "quantitative CT. PLoS One 2014; 9:e91904.",
    "ibsi": "Zwanenburg A, et al. The Image Biomarker Standardization Initiative. Radiology 2020; 295:328-338.",
    "nnunet": "Isensee F, et al. nnU-Net: a self-configuring method for deep learning-based biomedical image "
              "segmentation. Nat Methods 2021; 18:203-211.",
    "transunet": "Chen J, et al. 3D TransUNet: advancing medical image segmentation through vision transformers. arXiv "
                 "2310.07781.",
    "grl": "Ganin Y, et al. Domain-adversarial training of neural networks. J Mach Learn Res 2016; 17(59):1-35.",
    "mmd": "Gretton A, et al. A kernel two-sample test. J Mach Learn Res 2012; 13:723-773.",
    "teacher": "Tarvainen A, Valpola H. Mean teachers are better role models. NeurIPS 2017.",
    "vnet": "Milletari F, Navab N, Ahmadi SA. V-Net: fully convolutional neural networks for volumetric medical image "
            "segmentation. 3DV 2016."}
# Words and reference of the terms that adaptation.json names.
TERMS = {"gradient_reversal": ("a gradient reversal site classifier", "grl"),
         "mmd": ("maximum mean discrepancy", "mmd"),
         "consistency": ("consistency with a mean teacher", "teacher")}


@dataclass(frozen=True)
class TrainedArm:
    """What the folder of a training tells of it."""

    trainer: str
    plans: str
    configuration: str
    folds: Sequence[str]
    terms: Sequence[str]


class _Text:
    """Sentences with references numbered in the order in which they are first cited."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.cited: list[str] = []

    def say(self, sentence: str, *references: str) -> None:
        for name in references:
            if name not in self.cited:
                self.cited.append(name)
        numbers = ", ".join(str(self.cited.index(name) + 1) for name in references)
        self.sentences.append(f"{sentence} [{numbers}]." if references else f"{sentence}.")


def methods_paragraphs(tables: ResultTables, training: Iterable[Path] = ()) -> tuple[list[str], list[str]]:
    """Return paragraphs and numbered references of the methods of an evaluation.

    Parameters
    ----------
    tables : ResultTables
        What was evaluated.
    training : iterable of Path
        Folders of trained folds or arms.
    """
    trained = [arm for folder in training if (arm := trained_arm(folder)) is not None]
    text = _Text()
    paragraphs = [" ".join(_cohort(tables))]
    if trained:
        _training(text, trained)
        paragraphs.append(_take(text))
    _metrics(text)
    paragraphs.append(_take(text))
    if tables.density is not None or tables.texture_measured:
        _images(text, tables)
        paragraphs.append(_take(text))
    _statistics(text, tables)
    paragraphs.append(_take(text))
    versions = dict(tables.run.get("versions", {}))
    used = ", ".join(f"{name} {version}" for name, version in versions.items() if version != "not installed")
    command = tables.run.get("command", "femur_eval")
    paragraphs.append(f"Computations were made by {command} of femur-nnunet with {used}." if used
                      else "The versions of the software were not recorded.")
    return paragraphs, [f"{number}. {REFERENCES[name]}" for number, name in enumerate(text.cited, start=1)]


def write_methods(folder: Path, tables: ResultTables, training: Iterable[Path] = ()) -> Path:
    """Write methods.md into a result folder and return its path."""
    paragraphs, references = methods_paragraphs(tables, training)
    path = folder / METHODS_NAME
    write_text(path, "\n\n".join(["# Methods", *paragraphs, "# References", "\n".join(references)]) + "\n")
    return path


def trained_arm(folder: Path) -> TrainedArm | None:
    """Return what the folder of an arm or fold tells, None where it is no training of nnU-Net."""
    whole = folder.resolve()
    arm = whole.parent if whole.name.startswith("fold_") else whole
    parts = arm.name.split("__")
    if len(parts) != 3:
        return None
    folds = [whole] if whole != arm else sorted(path for path in arm.glob("fold_*") if path.is_dir())
    terms: list[str] = []
    for fold in folds:
        terms += [term for term in _json(fold / "adaptation.json").get("terms", []) if term not in terms]
    trainer, plans, configuration = parts
    return TrainedArm(trainer, plans, configuration, [fold.name.removeprefix("fold_") for fold in folds], terms)


def _cohort(tables: ResultTables) -> list[str]:
    sentences = []
    arms = tables.arms
    role = tables.run.get("arguments", {}).get("role", "test")
    number = "One model" if len(arms) == 1 else f"{len(arms)} models"
    sentences.append(f"{number} ({', '.join(arms)}) {'was' if len(arms) == 1 else 'were'} "
                     f"evaluated on scans of role {role}.")
    own = [row for row in tables.judged if row.arm == arms[0]] if arms else []
    for site in (site for site in tables.site_names if site in sites_of(own)):
        rows = select(own, site=site)
        sexes = {sex: len({row.participant_id for row in rows if row.sex == sex}) for sex in ("F", "M")}
        known = f" ({sexes['F']} women, {sexes['M']} men)" if sum(sexes.values()) else ""
        people = len({row.participant_id for row in rows})
        sentences.append(f"{site_title(site)} gave {counted(len(rows), 'hip')} of {counted(people, 'participant')}"
                         f"{known}.")
    for arm in arms:
        missed = sum(row.rule.counts_as_missed for row in tables.judged if row.arm == arm)
        if missed:
            sentences.append(f"{arm} missed {counted(missed, 'hip')} (no usable prediction), scored as Dice 0 and "
                             "without a distance.")
    sources = list(dict.fromkeys(gap.source_site for gap in tables.gaps))
    if sources:
        sentences.append(f"Labels of {', '.join(site_title(site) for site in sources)} served in training.")
    return sentences


def _training(text: _Text, arms: Sequence[TrainedArm]) -> None:
    for arm in arms:
        references = ["nnunet"]
        references += ["transunet"] if "TransUNet" in arm.trainer else ["vnet"] if "VNet" in arm.trainer else []
        terms = [TERMS[term] for term in arm.terms if term in TERMS]
        references += [reference for _, reference in terms]
        adapted = f", with {' and '.join(dict.fromkeys(word for word, _ in terms))}" if terms else ""
        text.say(f"The model was trained with nnU-Net v2 by {arm.trainer} on the plan {arm.plans}, configuration "
                 f"{arm.configuration}, fold{'' if len(arm.folds) == 1 else 's'} {', '.join(arm.folds)}{adapted}",
                 *dict.fromkeys(references))


def _metrics(text: _Text) -> None:
    text.say("Masks were compared on their own anisotropic grids, without resampling. Overlap was measured by the Dice "
             "coefficient", "dice")
    text.say("Border voxels are those with a face neighbour outside the mask; distances between the borders of both "
             "masks were taken exactly and in millimetres: the larger of the two directed 95th percentiles (HD95), the "
             "average symmetric surface distance (ASSD) and the share of both borders within 1 and 2 mm of the other "
             "(surface Dice)", "surface")
    text.say("Twins of the metrics for a fair extent trim both masks to a common distal level and leave the cut plane "
             "of the shaft out")


def _images(text: _Text, tables: ResultTables) -> None:
    if tables.density is not None:
        units = density_units(tables)
        text.say("Volumetric bone mineral density, bone mineral content and cortical thickness were measured on the "
                 "calibrated scans within reference and predicted masks by region"
                 + (f", in mg/cc of {' and '.join(units)}" if units else "") +
                 "; region definitions are in the software's documentation")
    if tables.texture_measured:
        number = len({row.quantity for row in tables.agreement if is_texture(row)})
        text.say(f"{number} texture features were computed by the definitions of the Image Biomarker Standardisation "
                 "Initiative", "ibsi")


def _statistics(text: _Text, tables: ResultTables) -> None:
    arguments = tables.run.get("arguments", {})
    nested = arguments.get("statistics")
    resamples = arguments.get("resamples", nested.get("resamples") if isinstance(nested, dict) else None)
    number = f"{resamples} resamples" if resamples is not None else "resamples"
    text.say("The participant is the unit of all statistics: hips and visits were averaged first")
    text.say(f"Intervals are 95 % percentile bootstrap intervals over participants ({number}, seed "
             f"{tables.run.get('seed', 'not recorded')})", "bootstrap")
    if tables.gaps:
        text.say("The gap between sites is the difference of means, tested by permuting participants between sites "
                 f"(all arrangements up to {EXACT_UP_TO:,}, else {PERMUTATIONS:,} random ones)", "permutation")
    if tables.comparison:
        text.say("Models were compared on the same hips by permuting the signs of the participants' differences, with "
                 "Holm's adjustment over all pairs of models in one metric at one site", "permutation", "holm")
    if tables.agreement:
        text.say("Agreement between predicted and reference measurements is given as bias with limits of agreement",
                 "bland")
        text.say("Intraclass correlations are ICC(2,1) and ICC(3,1)", "icc")
    margins = sorted({row.tost_margin for row in tables.agreement if row.tost_margin == row.tost_margin})
    if margins:
        text.say("Equivalence was tested by two one-sided t-tests at the 5 % level, with margins stated beside each "
                 "result", "tost")
    if any(is_density(row) and row.tost_margin == row.tost_margin for row in tables.agreement):
        text.say("Margins of density, where no other was given, are least significant changes: 2.77 times the "
                 "precision error", "lsc")


def _take(text: _Text) -> str:
    taken, text.sentences = " ".join(text.sentences), []
    return taken


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
