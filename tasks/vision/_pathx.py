"""The pictures of Path-X: Pathfinder on 16,384 pixels, Long Range Arena's longest task."""

from cab.tasks.vision._pathfinder import Paths

LARGE = Paths(
    side=128,
    dashes=14,
    dash=5.0,
    gap=3.0,
    thick=1.5,
    clear=5.0,
    near=20.0,
    disc=3.0,
    alike=8.0,
    distractors=8,
    distractor_dashes=4,
    stiff=1.8,
    shade=0.9,
)
"""Sizes in pixels are those of the published generator."""
