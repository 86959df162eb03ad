"""What an attention asks of training: parameters without weight decay, a call after each step."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from cli_support import cells_of, run_cells, write_variant
from support import VARIANTS
from task_support import make
from torch import nn

from cab.attention import MultiHeadAttention, build_attention
from cab.backbones.slots import Slots
from cab.errors import CabError
from cab.registry import register_variant
from cab.running.training import parameter_groups, train
from cab.taxonomy import Pattern

DECAY = 0.5


def toy(name):
    return register_variant(name=name, family="control", patterns="cs", summary="for a test")


class Idle(MultiHeadAttention):
    """Has parameters of ones without a gradient: weight decay alone moves them."""

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        self.rate, self.other = (nn.Parameter(torch.ones(3, 1)) for _ in range(2))
        self.vector, self.scalar = (nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(())))
        self.register_buffer("steps", torch.zeros(()))

    def attend(self, q, k, v, *, key_padding_mask=None):
        unused = (self.rate, self.other, self.vector, self.scalar)
        return q + 0.0 * sum(one.sum() for one in unused)

    def after_step(self):
        assert not torch.is_grad_enabled()
        self.steps += 1


@toy("idle")
class Decayed(Idle):
    pass


@toy("idle-named")
class Named(Idle):
    def no_weight_decay(self):
        return {"rate"}


@toy("idle-outer")
class Outer(Idle):
    """Holds another attention, which speaks for itself."""

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        self.inner = Named(**geometry)

    def attend(self, q, k, v, *, key_padding_mask=None):
        out = super().attend(q, k, v, key_padding_mask=key_padding_mask)
        return out + self.inner.attend(q, k, v)


@toy("idle-wrong")
class Wrong(Idle):
    def no_weight_decay(self):
        return {"rates"}


def network(attention):
    task = make("mqar", "smoke")
    task.recipe = replace(task.recipe, train=replace(task.recipe.train, weight_decay=DECAY))

    def factory(**geometry):
        return build_attention(attention, {}, **geometry)

    slots = Slots(Pattern.CS, factory, factory)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return task, task.build(slots), slots.tested


def trained(attention):
    """The attention after the real training loop on mqar in smoke, and how often it stepped."""
    task, model, (module,) = network(attention)
    train(task, model, Accelerator(cpu=True), 0, lambda done, total: None)
    return module, task.recipe.train


def decayed(recipe):
    """What weight decay alone makes of 1, by the schedule that PyTorch states."""
    optimizer = torch.optim.SGD([torch.zeros(())], lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps + 1, pct_start=recipe.warmup
    )
    left = torch.ones(3, 1)
    for _ in range(recipe.steps):
        left *= 1 - schedule.get_last_lr()[0] * DECAY
        optimizer.step()
        schedule.step()
    return left


def test_named_parameters_are_not_decayed_and_all_others_are():
    module, recipe = trained(Named)
    assert module.rate.equal(torch.ones(3, 1))
    torch.testing.assert_close(module.other.detach(), decayed(recipe))
    module, recipe = trained(Decayed)
    for parameter in (module.rate, module.other):
        torch.testing.assert_close(parameter.detach(), decayed(recipe))
    assert module.vector.equal(torch.ones(3))
    assert module.scalar.equal(torch.ones(()))
    assert (decayed(recipe) < 0.998).all(), "too little for the comparison to tell"


def test_an_attention_inside_another_is_asked_for_its_own():
    module, recipe = trained(Outer)
    assert module.inner.rate.equal(torch.ones(3, 1))
    for parameter in (module.rate, module.other, module.inner.other):
        torch.testing.assert_close(parameter.detach(), decayed(recipe))
    assert module.steps == module.inner.steps == recipe.steps


def test_the_hook_is_called_once_after_each_step():
    module, recipe = trained(Decayed)
    assert module.steps == recipe.steps > 1


def test_vectors_and_scalars_take_no_decay_in_any_network():
    for attention in (VARIANTS.load("softmax"), Decayed):
        _, model, _ = network(attention)
        decayed_ones, others = parameter_groups(model)
        assert others["weight_decay"] == 0
        assert "weight_decay" not in decayed_ones
        own = list(model.parameters())
        assert [id(p) for p in decayed_ones["params"]] == [id(p) for p in own if p.ndim > 1]
        assert [id(p) for p in others["params"]] == [id(p) for p in own if p.ndim < 2]


def test_each_parameter_stands_in_one_group():
    _, model, (module,) = network(Outer)
    first, second = parameter_groups(model)
    matrices = [id(p) for p in second["params"] if p.ndim > 1]
    assert matrices == [id(module.inner.rate)]
    assert second["weight_decay"] == 0
    grouped = sorted(id(p) for group in (first, second) for p in group["params"])
    assert grouped == sorted(id(p) for p in model.parameters())


def test_a_name_that_is_no_parameter_is_refused():
    _, model, _ = network(Wrong)
    with pytest.raises(CabError) as refusal:
        parameter_groups(model)
    assert str(refusal.value) == (
        "idle-wrong: no_weight_decay() returns 'rates', but must return a set of parameter names. "
        "They are rate, other, vector, scalar, query.weight, key.weight, value.weight, "
        "output.weight."
    )


WRONG = """    def no_weight_decay(self):
        return {"rates"}
"""


def test_a_cell_with_a_wrong_name_ends_in_a_sentence(tmp_path):
    path = write_variant(tmp_path, "misnamed", top=WRONG)
    (finished,), _ = run_cells(tmp_path, cells_of(["misnamed"], include=[path]))
    assert finished.record.status == "error"
    assert finished.record.message.startswith("misnamed: no_weight_decay() returns 'rates', but ")


NOTES = """    def after_step(self):
        rank = torch.distributed.get_rank()
        total = sum(p.double().sum().item() for p in self.parameters())
        with open({folder!r} + f"/{{rank}}.txt", "a") as file:
            file.write(f"{{total!r}}\\n")
"""


@pytest.mark.slow
def test_the_hook_is_called_on_every_process_with_the_same_parameters(tmp_path):
    path = write_variant(tmp_path, "noted", top=NOTES.format(folder=str(tmp_path)))
    cells = cells_of(["noted"], include=[path], processes=2)
    (finished,), _ = run_cells(tmp_path, cells)
    assert finished.record.status == "ok", finished.record.message
    one, two = (json.loads(f"[{','.join(lines)}]") for lines in map(_lines, _files(tmp_path)))
    assert one == two
    assert len(one) == cells[0].recipe.train.steps
    assert len(set(one)) == len(one), "nothing was learned in between"


def _files(folder: Path) -> list[Path]:
    return [folder / f"{rank}.txt" for rank in range(2)]


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()
