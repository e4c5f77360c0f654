"""Draw docs/images/architecture.svg: the way of a scan, where adaptation attaches, what may import what.

``python docs/scripts/draw_architecture.py`` (``make reference``); tests hold the picture equal to what this gives, and
its arrows of imports to the rules that they keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

PICTURE = Path(__file__).resolve().parents[1] / "images" / "architecture.svg"
WIDTH, HEIGHT, STEP = 1040, 790, 112
INK, PALE, ROOM, DATA, ADAPTATION = "#1f2933", "#7b8794", "#dbeafe", "#ffffff", "#fde8d0"
# Who imports whom, as the figure says it: every room stands on the shared parts, the drivers on all rooms.
IMPORTS = {
    "femur_nnunet": (),
    "femur_nnunet/nnunet_plugin": ("femur_nnunet.trainers",),
    "dataset_conversion": ("femur_nnunet",),
    "planners": ("femur_nnunet",),
    "trainers": ("femur_nnunet",),
    "evaluation": ("femur_nnunet",),
    "femur_nnunet/drivers": ("femur_nnunet", "femur_nnunet.dataset_conversion", "femur_nnunet.planners",
                             "femur_nnunet.trainers", "femur_nnunet.evaluation"),
}
# Data, then the room and command that make the next data of it.
WAY = (
    (("site folders", "DICOM, NIfTI, MHA, NRRD, masks, metadata.csv"),
     ("dataset_conversion/", "convert_qct_sites, femur_splits; no torch")),
    (("nnUNet_raw", "one hip a case, unlabelled scans apart, scans.tsv, folds"),
     ("planners/", "femur_plan")),
    (("nnUNet_preprocessed", "FemurPlans.json, labelled and unlabelled data"),
     ("trainers/", "nnUNetv2_train -tr TransUNetDATrainer")),
    (("nnUNet_results", "checkpoints that stock nnU-Net loads"),
     ("stock nnU-Net", "nnUNetv2_predict")),
    (("predictions", "a mask a case"),
     ("evaluation/", "femur_eval; no torch")),
    (("tables, report.html", "cases, sites, gap, agreement, density"), None),
)
SHARED = (
    "volume_io, landmarks, calibration: scans, femora, density",
    "networks, adaptation, augmentation, losses, loading: what trainers are built of",
    "segmentation, model_bundle, site_probe: using trained networks; phantom, randomised: synthetic scans",
    "cohort, splits, plan_settings, provenance, html_report: what all share",
)


@dataclass(frozen=True)
class Box:
    """A rectangle with a title and a line below it, in the picture's units."""

    x: float
    y: float
    width: float
    height: float
    title: str
    lines: tuple[str, ...] = ()
    fill: str = DATA

    @property
    def middle(self) -> float:
        """Horizontal middle."""
        return self.x + self.width / 2

    def svg(self) -> str:
        """Return the rectangle and its text."""
        first = self.y + (self.height - 16 * len(self.lines)) / 2 + 5
        text = [_text(self.middle, first, self.title, weight="bold")]
        text += [_text(self.middle, first + 16 * number, line, size=12)
                 for number, line in enumerate(self.lines, start=1)]
        return "\n".join([f'<rect x="{self.x:g}" y="{self.y:g}" width="{self.width:g}" height="{self.height:g}" rx="6" '
                          f'fill="{self.fill}" stroke="{INK}"/>', *text])


def _text(x: float, y: float, text: str, *, size: int = 14, weight: str = "normal", anchor: str = "middle",
          colour: str = INK) -> str:
    return (f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
            f'fill="{colour}">{escape(text)}</text>')


def _arrow(x1: float, y1: float, x2: float, y2: float, *, dashed: bool = False, colour: str = INK) -> str:
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return (f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" stroke-width="1.5"{dashes} '
            f'marker-end="url(#{"pale" if colour == PALE else "ink"})"/>')


def _way() -> list[str]:
    """Return the column of data and rooms, from site folders down to tables."""
    parts: list[str] = []
    y = 78.0
    for (name, content), room in WAY:
        parts.append(Box(30, y, 390, 42, name, (content,)).svg())
        if room is not None:
            parts.append(_arrow(225, y + 42, 225, y + 56))
            fill = ROOM if room[0].endswith("/") else "#eef1f4"
            parts.append(Box(80, y + 57, 290, 40, room[0], (room[1],), fill).svg())
            parts.append(_arrow(225, y + 97, 225, y + 111))
        y += STEP
    return parts


def _training_step() -> list[str]:
    """Return the picture of a step with gradient reversal and MMD, beside the trainers' box."""
    encoder = Box(480, 250, 120, 60, "encoder")
    tokens = Box(640, 250, 130, 60, "transformer", ("tokens",))
    decoder = Box(810, 250, 110, 60, "decoder")
    loss = Box(945, 250, 75, 60, "L_seg", ("labelled",))
    reversal = Box(560, 390, 160, 50, "gradient reversal", ("x -lambda on the way back",), ADAPTATION)
    classifier = Box(560, 470, 160, 50, "site classifier", ("L_site",), ADAPTATION)
    mmd = Box(760, 390, 160, 50, "MMD^2", ("between sites, with queues",), ADAPTATION)
    return [
        f'<rect x="460" y="140" width="570" height="420" rx="8" fill="#f8fafc" stroke="{PALE}"/>',
        _text(480, 166, "One step of TransUNetDATrainer", weight="bold", anchor="start"),
        _text(480, 186, "trainers/adapting_trainer.py, femur_nnunet/adaptation/terms.py", size=12, anchor="start"),
        _text(480, 222, "patches of every site: labelled and unlabelled ones", size=12, anchor="start"),
        _arrow(540, 228, 540, 248),
        *(box.svg() for box in (encoder, tokens, decoder, loss, reversal, classifier, mmd)),
        _arrow(600, 280, 638, 280), _arrow(770, 280, 808, 280), _arrow(920, 280, 943, 280),
        _arrow(690, 310, 650, 388), _arrow(720, 310, 830, 388), _arrow(640, 440, 640, 468),
        _text(480, 340, "layers by the plan:", size=12, anchor="start"),
        _text(480, 356, "bottleneck by default, any", size=12, anchor="start"),
        _text(480, 372, "encoder or decoder stage", size=12, anchor="start"),
        _text(480, 544, "Unlabelled patches skip the decoder by default. Classifier and queues lie outside of it.",
              size=12, anchor="start"),
        f'<path d="M370 379 L460 160 M370 379 L460 540" stroke="{PALE}" stroke-width="0.8" fill="none"/>',
    ]


def _imports() -> list[str]:
    """Return the drivers above, the shared parts to the right below, and who imports whom."""
    drivers = Box(30, 14, 1000, 44, "femur_nnunet/drivers/",
                  ("femur_demo, femur_study, femur_segment, femur_model, femur_probe, femur_box_model: "
                   "import every room",), "#e3e8ee")
    shared = Box(460, 630, 570, 110, "femur_nnunet/: imports no other room", SHARED, "#e6f4ea")
    return [
        drivers.svg(), shared.svg(),
        _text(480, 596, "Every room on the left imports femur_nnunet/ and nothing of the other rooms.", size=12,
              anchor="start"),
        _text(480, 614, "nnU-Net finds the trainers through femur_nnunet/nnunet_plugin/, which re-exports them.",
              size=12, anchor="start"),
        f'<line x1="440" y1="58" x2="440" y2="685" stroke="{PALE}" stroke-width="1.5" stroke-dasharray="5 4"/>',
        *(f'<line x1="370" y1="{y:g}" x2="440" y2="{y:g}" stroke="{PALE}" stroke-width="1.5" stroke-dasharray="5 4"/>'
          for y in (155, 267, 379, 603)),
        _arrow(440, 685, 458, 685, dashed=True, colour=PALE),
        _text(1028, 772, "arrows: data and features; dashed: imports", size=12, anchor="end", colour="#52606d"),
    ]


def picture() -> str:
    """Return the whole picture as SVG."""
    marker = ('<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
              'orient="auto-start-reverse"><path d="M0 0 L8 4 L0 8 z" fill="{colour}"/></marker>')
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="Helvetica, Arial, sans-serif" role="img">',
        "<title>The way of a scan through the rooms, the adaptation terms of a step, and who imports whom</title>",
        f"<defs>{marker.format(name='ink', colour=INK)}{marker.format(name='pale', colour=PALE)}</defs>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *_imports(), *_way(), *_training_step(), "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
