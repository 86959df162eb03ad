"""What the tests of tasks share: a task, examples of it, and a score of given answers."""

from torch import Tensor, nn

from cab.attention import build_attention
from cab.backbones.slots import Slots
from cab.registry import discover_tasks, discover_variants
from cab.running.facts import fingerprint
from cab.seeding import generator
from cab.task import SPLITS, Batch, Task
from cab.taxonomy import Pattern

TASKS = discover_tasks()


def make(name: str, profile: str = "quick") -> Task:
    """Construct a task."""
    task_class = TASKS.load(name)
    assert issubclass(task_class, Task)
    return task_class(task_class.recipes[profile])


def draw(name: str, count: int = 100, *, profile: str = "quick") -> Batch:
    """Draw examples, the same at every call."""
    return make(name, profile).draw("train", count, generator("drawn for tests", name))


def softmax_slots(pattern: str) -> Slots:
    """Slots that the reference fills."""
    softmax = discover_variants().load("softmax")

    def factory(**geometry):
        return build_attention(softmax, {}, **geometry)

    return Slots(Pattern(pattern), factory, factory)


class Answers(nn.Module):
    """A model that gives the same logits, whatever it is asked."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, *asked: Tensor) -> Tensor:
        return self.logits


def scored_by(task: Task, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
    """Return the metrics of a model that answers `logits`."""
    return task.evaluate(Answers(logits), batch)


def assert_disjoint(name: str, count: int = 300) -> None:
    """Assert that examples of different splits, and of one split, all differ."""
    task, seen = make(name), set()
    for split in SPLITS:
        batch = task.draw(split, count, generator("disjoint", split))
        for row in range(count):
            seen.add(fingerprint({key: batch[key][row] for key in batch}))
    assert len(seen) == count * len(SPLITS)


def assert_labels_of_the_nearest(task: Task) -> None:
    """Assert that each target is the label of the vector at the smallest distance, in loops."""
    dim, classes = task.recipe.data.dim, task.recipe.data.classes
    batch = task.draw("test", 5, generator("nearest"))
    vectors, labels = batch["context"].split((dim, classes), dim=-1)
    assert labels.sum(dim=-1).eq(1).all()
    for row in range(5):
        for query, target in zip(batch["inputs"][row], batch["targets"][row], strict=True):
            distances = [(query - vector).square().sum().item() for vector in vectors[row]]
            assert labels[row, distances.index(min(distances))].argmax() == target
