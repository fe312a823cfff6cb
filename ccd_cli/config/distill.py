"""The distillation recipe: every key, its type, its default and the reason for it. Free of torch.

Numbers marked "paper" are from Distill Any Depth (arXiv 2502.19204); "choice" marks what the paper leaves open.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ccd_cli.config.common import (
    Count,
    Crops,
    Fraction,
    Images,
    Positive,
    PrecomputedLabelsSection,
    Section,
    TeacherEntry,
    Weight,
)

Normalization = Literal["global", "hybrid", "local", "none"]
ContextFamily = Literal["range", "quantile", "grid"]


class Student(Section):
    """The network to train."""

    arch: str = "depth-anything-v2-small"
    """A Depth Anything architecture by its catalog name, or `timm` for any other timm encoder under the same head."""
    encoder: str | None = None
    """With `arch: timm`, the timm model name, for instance `mobilenetv4_conv_small`."""
    features: Annotated[int, Field(ge=8, le=1024)] = 64
    """With `arch: timm`, the width of the depth head in channels."""
    init: Literal["pretrained", "encoder", "scratch"] = "pretrained"
    """`pretrained`: all weights from a file; `encoder`: the encoder's, with a random head (paper, Table 5); `scratch`: none."""
    weights: str | None = None
    """Where `pretrained` and `encoder` come from: a catalog name, a run folder or a file. Default: the published file of
    `arch`; with `arch: timm` and `init: encoder`, timm's own ImageNet weights (downloaded by timm)."""
    kind: Literal["disparity"] = "disparity"
    """What the student predicts. Every label is brought to this domain before any loss."""
    freeze_encoder: bool = False
    """Train the head alone."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"arch": value} if isinstance(value, str) else value


class Context(Section):
    """One distillation context and the normalization of its loss (paper, Table 1: each context has its own)."""

    weight: Weight = 1.0
    """Factor of this term; 0 turns the context off."""
    normalization: Normalization = "hybrid"
    """`global`: by the whole map; `hybrid`: mean over nested contexts; `local`: finest contexts only; `none`: labels at
    unit scale, otherwise raw."""
    contexts: ContextFamily = "range"
    """Contexts for hybrid and local: equal segments of the label's value `range` (paper), equal pixel counts (`quantile`)
    or cells of the image (`grid`); the three families of HDN."""
    levels: list[Annotated[int, Field(ge=1, le=32)]] = Field(default=[1, 2, 4], min_length=1)
    """Segments a level (paper: 1, 2, 4); each divides the next, so that contexts nest."""


class Feature(Section):
    """Feature alignment (Depth Anything V1): keeps the student's encoder close to a frozen one."""

    weight: Weight = 1.0
    """Factor l2 of the paper (1.0)."""
    margin: Fraction = 0.85
    """Patches already more similar (cosine) than this are left out."""
    projection: bool = False
    """Where the encoders' widths differ: learn a linear map between them; otherwise the term is off, which is said."""


class Gradient(Section):
    """Multi-scale gradient matching (MiDaS) on the globally normalized residual of the shared context."""

    weight: Weight = 2.0
    """Factor l3 of the paper (2.0)."""
    scales: Annotated[int, Field(ge=1, le=8)] = 4
    """Scales 1, 2, 4, ...; the term is their mean (choice)."""


class Anchor(Section):
    """Small pull of the student's scale (MAD) toward the label's unit scale, against magnitude drift."""

    weight: Weight = 0.0
    """0 turns it off. Scale-invariant losses leave the student's scale free; 0.01 is enough to hold it."""


class Loss(Section):
    """L = shared + l1 local_global + l2 feature + l3 gradient (+ anchor) (paper, eq. 9)."""

    shared: Context = Context()
    """Teacher and student see the same crop."""
    local_global: Context = Context(weight=0.5)
    """The student sees a region, the teacher patches of it (paper: l1 = 0.5)."""
    feature: Feature = Feature()
    """Feature alignment with the primary teacher's encoder."""
    gradient: Gradient = Gradient()
    """Gradient matching."""
    anchor: Anchor = Anchor()
    """Scale anchor."""
    drop_worst: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Leave out this share of a map's pixels, those with the largest loss (Depth Anything V2: 0.1)."""


class Masks(Section):
    """Label pixels that teach nothing."""

    saturated: bool = True
    """Leave out plateaus at a label's exact minimum or maximum (clipped sky, clamped depth)."""
    saturated_fraction: Fraction = 0.01
    """A plateau is at least this share of the map."""
    flat: bool = True
    """Leave out whole labels without relief (a wall, the sky): their normalized loss is noise."""


class Augment(Section):
    """Changes of the student's input only; teachers always see the clean crop."""

    jitter: Fraction = 0.4
    """Strength of brightness, contrast and saturation changes; hue changes by a quarter of it."""
    jitter_probability: Fraction = 0.8
    """Share of inputs that are jittered."""
    gray_probability: Fraction = 0.05
    """Share of inputs turned gray."""
    blur_probability: Fraction = 0.2
    """Share of inputs blurred, by a Gaussian of sigma 0.1 to 2 pixels."""


class Optim(Section):
    """AdamW, its schedule, and how often state is saved."""

    steps: Count = 20_000
    """Optimizer steps (paper: 20 000)."""
    batch: Count = 8
    """Photos a forward pass (paper: 8); several processes share it."""
    accumulate: Count = 1
    """Forward passes an optimizer step."""
    lr: Positive = 5e-5
    """Learning rate of the depth head (paper: 5e-5)."""
    encoder_lr: Positive = 5e-6
    """Learning rate of the encoder: a tenth, the Depth Anything habit."""
    weight_decay: Weight = 0.01
    """AdamW weight decay; none on biases, norms and other vectors."""
    warmup: Annotated[int, Field(ge=0)] = 500
    """Steps of linear warm-up, at most a tenth of `steps`, so that a short trial still trains."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape of the learning rate after the warm-up."""
    final_lr_ratio: Fraction = 0.0
    """Share of the learning rate that is left at the end."""
    clip: Weight = 1.0
    """Largest gradient norm; 0 turns clipping off."""
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Decay of the running mean of the weights, which is what is evaluated and kept; 0 turns it off."""
    checkpoint_every: Count = 500
    """Steps between saved states."""


class Guards(Section):
    """When a run stops itself, with an explanation."""

    drift_limit: Positive = 4.0
    """Largest change of log(student MAD / label MAD) beyond where the run began and beyond unit scale; 4 is a factor 55."""
    drift_window: Count = 50
    """Steps over which drift is averaged, and after which the guard begins."""
    nonfinite_limit: Count = 20
    """Stop after this many steps in a row whose loss or gradient is not finite; each of them is skipped and counted."""


class Eval(Section):
    """Scores on the user's own pairs during training; the best student is kept."""

    pairs: str | None = None
    """A YAML file that describes photos with ground truth, as `ccd eval --suite` reads it (see `docs/PAIRS.md`)."""
    scenes: Annotated[int, Field(ge=0)] = 0
    """Without pairs: score on this many held-out generated scenes, of the size and family of `images.scenes`."""
    compare: bool = True
    """At the end, score teachers, the untrained student, a mean map and a constant on the same images, side by side."""
    every: Count = 1000
    """Steps between evaluations; one more follows the last step."""
    max_images: Count = 200
    """Pairs used at each evaluation, spread evenly over the set."""


class Log(Section):
    """What a run draws beside its metrics."""

    samples: Annotated[int, Field(ge=0, le=16)] = 4
    """Photos in the sample grid; 0 draws none."""
    samples_every: Count = 1000
    """Steps between sample grids; one more follows the last step."""
    tensorboard: bool = True
    """Write TensorBoard events."""


class DistillRecipe(Section):
    """A recipe for `ccd distill`."""

    task: Literal["distill"] = "distill"
    """What the recipe is for."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """Names the run; the default output folder is `runs/NAME`."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Decides initial weights, photo order, crops, augmentation and teacher draws."""
    out: str | None = None
    """Output folder; default `runs/NAME`."""
    images: Images = Images()
    """The photos to learn from."""
    labels: PrecomputedLabelsSection | None = None
    """Learn from labels made earlier, instead of photos that live teachers label."""
    student: Student = Student()
    """The network to train."""
    teachers: list[TeacherEntry] = Field(default=[])
    """Who labels; the first is the primary teacher. With `labels`: which of their teachers to learn from, by the names
    there; default: all, at equal weight."""
    mixing: Literal["select", "average"] = "select"
    """`select`: one teacher a step, drawn by weight (paper); `average`: pixel mean by weight and agreement (ablation)."""
    crops: Crops = Crops()
    """Views of a photo."""
    loss: Loss = Loss()
    """Terms and weights."""
    masks: Masks = Masks()
    """Label pixels left out."""
    augment: Augment = Augment()
    """Student-side augmentation."""
    optim: Optim = Optim()
    """Optimizer, length and saving."""
    guards: Guards = Guards()
    """Stops."""
    eval: Eval = Eval()
    """Evaluation during training."""
    log: Log = Log()
    """Pictures and events."""

    @field_validator("teachers", mode="before")
    @classmethod
    def _one_teacher(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | dict) else value

    @field_validator("labels", mode="before")
    @classmethod
    def _folder(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value
