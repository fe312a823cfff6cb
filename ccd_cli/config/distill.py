"""The distillation recipe: every key with type, default and meaning. Free of torch.

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
    """Catalog name of a Depth Anything architecture, or `timm` for any timm encoder with the same head."""
    encoder: str | None = None
    """With `arch: timm`: the timm model name, e.g. `mobilenetv4_conv_small`."""
    features: Annotated[int, Field(ge=8, le=1024)] = 64
    """With `arch: timm`: width of the depth head in channels."""
    init: Literal["pretrained", "encoder", "scratch"] = "pretrained"
    """`pretrained`: load all weights; `encoder`: load the encoder, random head (paper, Table 5); `scratch`: random weights."""
    weights: str | None = None
    """Weights for `pretrained` and `encoder`: a catalog name, a run folder or a checkpoint file. Default: the published
    weights of `arch`; with `arch: timm` and `init: encoder`, timm's ImageNet weights (downloaded by timm)."""
    kind: Literal["disparity", "depth", "metric"] = "disparity"
    """Kind of the student's output: affine-invariant `disparity`, scale-invariant `depth`, or `metric` depth in meters. The
    distillation terms compare disparity (1 / depth) in any case; `depth` and `metric` need `loss.depth`."""
    max_depth: Annotated[float, Field(gt=0.0, lt=1e6)] | None = None
    """With `kind: metric`: the output is a sigmoid times this many meters, as in the published metric heads (20 indoors, 80
    outdoors). Default: an exponential, which has no end."""
    canonical_focal: Annotated[float, Field(gt=0.0, lt=1e6)] | None = None
    """With `kind: metric`: the network learns depth times this / focal length in pixels of what it sees, so that cameras of any
    focal length agree (300 in Depth Anything 3, 1000 in Metric3D). Needs intrinsics, for predictions in meters too."""
    sky: bool = False
    """A second output that marks sky, learned from teachers that mark it or from ground truth that is infinitely far. Predictions
    are infinitely far there; needs `loss.sky`."""
    freeze_encoder: bool = False
    """Train only the depth head."""
    checkpointing: bool = False
    """Activation checkpointing of the encoder: less memory for its activations, which the backward pass computes again (about a
    third more time in the encoder); losses and gradients stay the same."""
    sharded: bool = False
    """With several processes: each holds a part of the weights, gradients, moments and EMA in place of all of them (FSDP), and
    the parts are exchanged while a step computes. For students that do not fit a GPU otherwise; others are faster without."""
    batch_norm: Literal["local", "synchronized", "frozen"] = "local"
    """Statistics of batch normalization, where the network has it: `local`: of what one process sees in one micro-step;
    `synchronized`: over processes (CUDA); `frozen`: those of the initial weights."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"arch": value} if isinstance(value, str) else value


class Context(Section):
    """One distillation context and the normalization of its loss (paper, Table 1: each context has its own)."""

    weight: Weight = 1.0
    """Weight of this loss term; 0 disables it."""
    normalization: Normalization = "hybrid"
    """`global`: over the whole map; `hybrid`: mean over nested contexts; `local`: finest contexts only; `none`: no further
    normalization of labels at unit scale."""
    contexts: ContextFamily = "range"
    """Contexts for hybrid and local: equal segments of the label's value `range` (paper), equal pixel counts (`quantile`)
    or cells of the image (`grid`); the three families of HDN."""
    levels: list[Annotated[int, Field(ge=1, le=32)]] = Field(default=[1, 2, 4], min_length=1)
    """Contexts per level (paper: 1, 2, 4); each number divides the next, so that contexts nest."""


class LocalGlobal(Context):
    """Local-global term: the student sees the crop, the teacher patches of it (paper: lambda 1 = 0.5)."""

    unit: Literal["patch", "region"] = "patch"
    """What the labels of patches are divided by: each `patch`'s own mean absolute deviation, or that of the `region` that they
    lie in, so that a teacher whose scale is the same in both keeps it (matters for normalization `none` and the anchor alone)."""


class Feature(Section):
    """Feature alignment loss (Depth Anything V1): keeps the student's encoder close to a frozen one."""

    weight: Weight = 1.0
    """Loss weight, lambda 2 of the paper (1.0)."""
    margin: Fraction = 0.85
    """Tolerance margin: patches with a higher cosine similarity are excluded."""
    projection: bool = False
    """If the encoders' widths differ: learn a linear projection between them; without it the term is disabled with a note."""


class Gradient(Section):
    """Multi-scale gradient matching loss (MiDaS) on the globally normalized residual of the shared context."""

    weight: Weight = 2.0
    """Loss weight, lambda 3 of the paper (2.0)."""
    scales: Annotated[int, Field(ge=1, le=8)] = 4
    """Number of scales (subsampling by 1, 2, 4, ...)."""
    form: Literal["sum", "mean"] = "sum"
    """`sum`: the differences of all scales over the number of valid pixels (MiDaS); `mean`: their mean over pairs of neighbors
    and scales, about 8 times weaker at four scales."""


class Anchor(Section):
    """Regularizer that pulls the student's scale (MAD) toward the labels' unit scale, against scale drift."""

    weight: Weight = 0.0
    """Loss weight; 0 disables it. Scale-invariant losses leave the student's scale free; 0.01 is enough to hold it."""


class LogDepth(Section):
    """Losses in the logarithm of depth, for students of kind `depth` and `metric`, on pixels whose depth is known in the unit that
    they learn: scale-invariant log + l1 * absolute + gradient * multi-scale gradient."""

    weight: Weight = 0.0
    """Loss weight; 0 disables it. Students of these kinds need it: the other terms leave their unit free."""
    focus: Fraction = 0.5
    """Lambda of the scale-invariant log loss, sqrt(mean d^2 - lambda (mean d)^2): 0.5 as in Depth Anything V2's metric code, 0.85
    in BTS, 1 leaves the scale free."""
    l1: Weight = 0.0
    """Weight of the mean absolute difference of the logarithms."""
    gradient: Weight = 0.5
    """Weight of the multi-scale gradient of the difference of the logarithms (MegaDepth), over `loss.gradient.scales`."""


class Sky(Section):
    """Binary cross entropy of the student's second output, over the pixels of the shared crop whose teacher knows what is sky."""

    weight: Weight = 0.0
    """Loss weight; 0 disables it. Needs a student with `sky`, and such a student needs it."""


class Loss(Section):
    """Loss terms: L = shared + lambda1 local_global + lambda2 feature + lambda3 gradient (+ anchor, depth, sky) (paper, eq. 9)."""

    shared: Context = Context()
    """Shared-context term: teacher and student see the same crop."""
    local_global: LocalGlobal = LocalGlobal(weight=0.5)
    feature: Feature = Feature()
    gradient: Gradient = Gradient()
    anchor: Anchor = Anchor()
    depth: LogDepth = LogDepth()
    sky: Sky = Sky()
    drop_worst: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Fraction of pixels with the largest loss that is ignored in each map (Depth Anything V2: 0.1)."""


class Masks(Section):
    """Label pixels that are excluded (masked) from the loss."""

    saturated: bool = True
    """Mask saturated pixels: plateaus at a label's exact nearest value (clipped near), and for depth and metric teachers at
    its farthest finite one (the end of a range). Sky, which is infinite depth or a label's smallest disparity, is never masked:
    it is learned as the farthest."""
    saturated_fraction: Fraction = 0.01
    """Largest fraction of the map at one extreme value that is not yet a plateau."""
    flat: bool = True
    """Mask labels without depth variation (a wall, nothing but sky): their normalized loss is noise."""


class Augment(Section):
    """Augmentation of the student's input; of it, teachers see the flip alone."""

    jitter: Fraction = 0.4
    """Strength of color jitter (brightness, contrast, saturation); a quarter of it for hue."""
    jitter_probability: Fraction = 0.8
    """Probability of color jitter."""
    gray_probability: Fraction = 0.05
    """Probability of conversion to grayscale."""
    blur_probability: Fraction = 0.2
    """Probability of Gaussian blur (sigma 0.1 to 2 pixels)."""
    flip_probability: Fraction = 0.0
    """Probability of a horizontal flip of an image's views: for the teachers, the student and precomputed labels alike."""


class Optim(Section):
    """Optimizer (AdamW), learning-rate schedule and checkpoints."""

    steps: Count = 20_000
    """Optimizer steps (paper: 20 000)."""
    batch: Count = 8
    """Batch size per forward pass (paper: 8), split across processes."""
    accumulate: Count = 1
    """Gradient accumulation: micro-steps per optimizer step."""
    lr: Positive = 5e-5
    """Learning rate of the depth head (paper: 5e-5)."""
    encoder_lr: Positive = 5e-6
    """Learning rate of the encoder; a tenth of the head's, as in Depth Anything."""
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Learning rate of each layer of the encoder as a fraction of the next one's (ViT: blocks, pyramids: stages); the last has
    `encoder_lr`. 0.65 to 0.9 keeps early layers of a pretrained encoder nearly as they are."""
    weight_decay: Weight = 0.01
    """Weight decay of AdamW; not applied to biases, norms and other vectors."""
    warmup: Annotated[int, Field(ge=0)] = 500
    """Steps of linear warm-up; limited to a tenth of `steps`, so that short trials still train."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Learning-rate schedule after the warm-up."""
    final_lr_ratio: Fraction = 0.0
    """Final learning rate as a fraction of the initial one."""
    clip: Weight = 1.0
    """Gradient clipping: largest norm; 0 disables it. The card says in how many steps it acted: at 1.0 it is most of them."""
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Decay of the exponential moving average (EMA) of the weights, which is evaluated and saved; 0 disables it."""
    checkpoint_every: Count = 500
    """Steps between checkpoints."""


class Guards(Section):
    """Conditions under which a run stops itself with an explanation."""

    drift_limit: Positive = 4.0
    """Largest change of log(student MAD / label MAD), both since the start of the run and from unit scale; 4 is a factor of
    55."""
    drift_window: Count = 50
    """Steps over which drift is averaged; the guard is inactive before that."""
    nonfinite_limit: Count = 20
    """Stop after this many consecutive steps with a non-finite loss or gradient; each of them is skipped and counted."""


class ComputeKeys(Section):
    """How steps are computed: time and memory, not results, rounding apart."""

    teacher_batch: Literal["auto"] | Count = "auto"
    """Largest number of views in one pass of a teacher; `auto`: all of a micro-step's, halved whenever memory runs out."""
    ahead: Literal["auto", "never", "always"] = "auto"
    """Whether teachers label the next step while the student trains on this one: `auto`: where one of them has a `device` of its
    own. On one device it needs memory for both at once."""
    compile: Literal["none", "student", "teachers", "both"] = "none"
    """What torch.compile translates for this machine before the first step: minutes, and a C++ compiler (CUDA: Triton), for faster
    steps. Of the teachers, those of ccd's own architectures."""


class Eval(Section):
    """Evaluation during training, on your own pairs or on held-out scenes; the best checkpoint is retained."""

    pairs: str | None = None
    """A YAML file that describes photos with ground truth, as `ccd eval --suite` reads it (see `docs/pairs.md`)."""
    scenes: Annotated[int, Field(ge=0)] = 0
    """Without `pairs`: number of held-out synthetic scenes to evaluate on, of the size and family of `images.scenes`."""
    compare: bool = True
    """At the end, also evaluate teachers, the untrained student and trivial baselines (mean map of the other images, vertical
    gradient, constant) on the same images."""
    every: Count = 1000
    """Steps between evaluations; the last step is always evaluated."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Early stopping: the run ends after this many evaluations in a row without a better AbsRel; 0: it never does. The learning
    rate follows `optim.steps` all the same."""
    max_images: Count = 200
    """Largest number of pairs per evaluation, evenly spaced over the set."""


class WandbLog(Section):
    """Logging to Weights & Biases."""

    project: str = "ccd"
    """Project that the run belongs to."""
    entity: str | None = None
    """User or team; default: the account's."""
    name: str | None = None
    """Name of the run; default: that of the recipe."""
    group: str | None = None
    """Group of the run."""
    tags: list[str] = Field(default=[])
    """Tags of the run."""
    mode: Literal["online", "offline"] | None = None
    """`offline` writes into the run folder, and `wandb sync` sends it later; default: WANDB_MODE, else online."""


class MlflowLog(Section):
    """Logging to MLflow."""

    uri: str | None = None
    """Tracking store; default: MLFLOW_TRACKING_URI, else `sqlite:///mlflow.db` in the current folder."""
    experiment: str = "ccd"
    """Experiment that the run belongs to; created if need be."""
    name: str | None = None
    """Name of the run; default: that of the recipe."""


class Log(Section):
    """Sample grids, TensorBoard events, experiment trackers."""

    samples: Annotated[int, Field(ge=0, le=16)] = 4
    """Images in the sample grid; 0 disables it."""
    samples_every: Count = 1000
    """Steps between sample grids; the last step always writes one."""
    tensorboard: bool = True
    """Write TensorBoard events."""
    wandb: bool | WandbLog = False
    """Also log metrics, scores, sample grids and the recipe to Weights & Biases: `true`, or its settings. Needs `.[wandb]`."""
    mlflow: bool | MlflowLog = False
    """Also log metrics, scores, sample grids and the recipe to MLflow: `true`, or its settings. Needs `.[mlflow]`."""


class DistillRecipe(Section):
    """A recipe for `ccd distill`."""

    task: Literal["distill"] = "distill"
    """Task of the recipe."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """Name of the run; the default output folder is `runs/NAME`."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Random seed of initial weights, image order, crops, augmentation and teacher selection."""
    out: str | None = None
    """Output folder; default: `runs/NAME`."""
    images: Images = Images()
    labels: PrecomputedLabelsSection | None = None
    """Train on precomputed labels instead of running teachers during training."""
    student: Student = Student()
    teachers: list[TeacherEntry] = Field(default=[])
    """Teachers; the first is the primary teacher. With `labels`: which of their teachers to use, by the names stored there;
    default: all, at equal weight."""
    mixing: Literal["select", "average", "average-raw"] = "select"
    """`select`: one teacher per step, drawn by weight (paper); `average`: mean of the normalized maps, per pixel by weight and,
    of three teachers or more, by agreement; `average-raw`: mean of the maps as the teachers give them, in disparity, by weight
    (ablations)."""
    crops: Crops = Crops()
    loss: Loss = Loss()
    masks: Masks = Masks()
    augment: Augment = Augment()
    optim: Optim = Optim()
    guards: Guards = Guards()
    compute: ComputeKeys = ComputeKeys()
    eval: Eval = Eval()
    log: Log = Log()

    @field_validator("teachers", mode="before")
    @classmethod
    def _one_teacher(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | dict) else value

    @field_validator("labels", mode="before")
    @classmethod
    def _folder(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value
