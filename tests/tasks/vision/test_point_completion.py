"""Point completion: things are symmetric and seen from one side; PCN's files are read."""

import struct

import pytest
import torch
from task_support import assert_disjoint, draw, make, scored_by

from cab.errors import CabError
from cab.registry import discover_tasks
from cab.seeding import generator
from cab.tasks.vision import _pcn as pcn
from cab.tasks.vision._pcd import read_points
from cab.tasks.vision.point_completion import Things, draw_things


def test_a_thing_fills_the_unit_cube_and_is_its_own_mirror_image():
    whole = draw_things(Things(seen=9, whole=4000, near=0.1, parts=2), 6, generator("things"))
    assert whole.shape == (6, 4000, 3)
    assert torch.allclose(whole.abs().amax(dim=(1, 2)), torch.full((6,), 0.5))
    mirrored = whole * torch.tensor([-1.0, 1, 1])
    for cloud, other in zip(whole, mirrored, strict=True):
        nearest = torch.cdist(other, cloud).amin(dim=1)
        assert nearest.mean() < 0.03
        shuffled = cloud * torch.tensor([1.0, -1, 1])
        assert torch.cdist(shuffled, cloud).amin(dim=1).mean() > nearest.mean()


def test_what_is_seen_is_the_half_that_is_nearest_in_some_direction():
    batch = draw("point-completion", 12)
    assert batch["inputs"].shape == (12, 128, 3)
    assert batch["targets"].shape == (12, 256, 3)
    for seen, whole in zip(batch["inputs"], batch["targets"], strict=True):
        points = {tuple(point) for point in whole.tolist()}
        assert {tuple(point) for point in seen.tolist()} <= points
        hidden = torch.tensor(sorted(points - {tuple(point) for point in seen.tolist()}))
        # A plane parts them: a perceptron finds it, since there is one.
        rows = torch.cat((seen, hidden)).double()
        rows = torch.cat((rows, torch.ones(len(rows), 1)), dim=1)
        side = torch.tensor([1.0] * len(seen) + [-1.0] * len(hidden)).double()
        assert separable(rows, side)


def separable(rows, side):
    from scipy.optimize import linprog

    signed = (rows * side[:, None]).numpy()
    found = linprog([0] * 4, A_ub=-signed, b_ub=[-1] * len(signed), bounds=[(None, None)] * 4)
    return found.status == 0


def test_distances_are_published_in_thousandths():
    task, batch = make("point-completion"), draw("point-completion", 3)
    shifted = batch["targets"] + torch.tensor([0, 0, 50.0])
    answers = batch["targets"][:, :7], batch["targets"]
    assert scored_by(task, batch, answers)["cd_l1"].max() < 0.01
    assert scored_by(task, batch, answers)["f_score"].tolist() == [1, 1, 1]
    far = scored_by(task, batch, (shifted, shifted))
    assert (far["cd_l1"] > 49_000).all()
    assert far["f_score"].tolist() == [0, 0, 0]


def test_the_loss_is_that_of_the_coarse_and_of_the_whole_cloud():
    task, batch = make("point-completion"), draw("point-completion", 3)
    true = batch["targets"]
    one = torch.tensor([1.0, 0, 0])

    def answer(_):
        return true + 100 * one, true + 300 * one

    # Far away, the nearest of a cloud is nearly as far as the shift.
    assert task.loss(answer, batch).item() == pytest.approx(400, abs=2)


def test_splits_share_no_example():
    assert_disjoint("point-completion", 100)


def write_pcd(path, points, data="ascii"):
    path.parent.mkdir(parents=True, exist_ok=True)
    head = (
        "# .PCD v0.7\nVERSION 0.7\nFIELDS intensity x y z\nSIZE 1 4 4 8\nTYPE U F F F\n"
        f"COUNT 2 1 1 1\nWIDTH {len(points)}\nHEIGHT 1\nPOINTS {len(points)}\nDATA {data}\n"
    )
    if data == "ascii":
        head = head.replace("COUNT 2", "COUNT 1")
        body = "".join(f"7 {x} {y} {z}\n" for x, y, z in points).encode()
    else:
        body = b"".join(struct.pack("<BBffd", 7, 8, *point) for point in points)
    path.write_bytes(head.encode() + body)


POINTS = [(0.5, -1.0, 2.0), (0.25, 3.0, -0.125), (1.0, 0.0, 8.0)]


@pytest.mark.parametrize("data", ["ascii", "binary"])
def test_pcd_files_are_read(tmp_path, data):
    write_pcd(tmp_path / "one.pcd", POINTS, data)
    assert read_points(tmp_path / "one.pcd").tolist() == [list(point) for point in POINTS]


def test_what_is_no_readable_pcd_file_is_refused_in_a_sentence(tmp_path):
    path = tmp_path / "one.pcd"
    write_pcd(path, POINTS, "binary_compressed")
    with pytest.raises(CabError, match="only ascii and binary are read"):
        read_points(path)
    path.write_bytes(b"ply\nformat")
    with pytest.raises(CabError, match="no line DATA"):
        read_points(path)
    path.write_bytes(b"FIELDS x y\nDATA ascii\n")
    with pytest.raises(CabError, match="but needs x, y and z"):
        read_points(path)


def test_too_few_points_come_again_and_too_many_are_chosen_from():
    points = torch.arange(15.0).view(5, 3)
    drawing = generator("resample")
    more = pcn.resample(points, 12, drawing)
    counts = [(more == point).all(dim=1).sum().item() for point in points]
    assert sorted(counts) == [2, 2, 2, 3, 3]
    fewer = pcn.resample(points, 3, drawing)
    assert len({tuple(point) for point in fewer.tolist()}) == 3


def test_a_view_of_pcn_belongs_to_its_thing(tmp_path):
    for part in ("train", "val", "test"):
        for kind, name in (("chair", "a"), ("chair", "b"), ("lamp", "a")):
            mark = float(len(part) + 10 * len(kind) + 100 * (name == "b"))
            thing = tmp_path / "PCN" / part / "complete" / kind / f"{name}.pcd"
            write_pcd(thing, [(mark, 0, 1), (mark, 0, 2)])
            for view in range(3 if part == "train" else 1):
                path = tmp_path / "PCN" / part / "partial" / kind / name / f"{view:02}.pcd"
                write_pcd(path, [(mark, view, 0)], "binary")
    task_class = discover_tasks().load("point-completion-pcn-nc")
    task = task_class(task_class.recipes["standard"], tmp_path)
    pcn._things.cache_clear()
    views = set()
    for split in ("train", "valid", "test"):
        batch = task.draw(split, 6, generator("pcn"))
        assert batch["inputs"].shape == (6, 2_048, 3)
        assert batch["targets"].shape == (6, 16_384, 3)
        assert torch.equal(batch["inputs"][:, 0, 0], batch["targets"][:, 0, 0])
        views |= set(batch["inputs"][:, 0, 1].tolist()) if split == "train" else set()
        if split == "test":
            assert batch["targets"][:, 0, 0].unique().tolist() == [44.0, 54.0, 154.0]
    assert len(views) > 1
    pcn._things.cache_clear()
