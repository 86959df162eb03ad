"""The digits of `digits`, classified by a residual network with gates on feature maps."""

from cab.backbones.residual import Residual, ResidualConfig
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Recipe, Training
from cab.tasks.vision.digits import Canvas, Digits


def _recipe(width: Width, training: Training, valid: int, test: int) -> Recipe:
    canvas = Canvas(patch=1)
    model = ResidualConfig(width, grid=canvas.grid, classes=10)
    return Recipe(canvas, model, training, valid, test)


@register_task(
    name="digits-residual",
    domain="vision",
    pattern="ns",
    summary="classify a handwritten digit on a canvas, with a residual network",
    backbone="residual",
    metric="accuracy",
    higher_is_better=True,
    chance=0.1,
    version=2,
    length="196 pixels",
    imports=("sklearn.datasets",),
    grid=True,
    slot="feature_map",
    source="scikit-learn's digits, placed as in `digits`",
    licence="CC BY 4.0",
    diagnostic=("quick",),
)
class DigitsResidual(Digits):
    """Convolutions recognise digits without attention, so the task measures what a gate adds."""

    recipes = {  # noqa: RUF012
        "smoke": _recipe(Width(dim=8, heads=2, layers=1), Training(4, 8, 3e-3), 50, 50),
        "quick": _recipe(Width(dim=16, heads=2, layers=2), Training(700, 32, 3e-3), 200, 400),
    }

    def build(self, slots: Slots) -> Residual:
        """Build the residual network."""
        return Residual(self.recipe.model, slots)
