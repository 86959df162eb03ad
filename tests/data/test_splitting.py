"""Dividing by content: no example in two splits, none lost without a reason."""

from cab.data import divide, keep_apart


def test_equal_examples_stay_on_one_side_and_tested_ones_on_none():
    training = [b"%d" % (n % 800) for n in range(1000)]
    test = [b"%d" % n for n in range(100, 150)]
    train, valid = divide(iter(training), iter(test))
    contents = [{training[n] for n in rows} for rows in (train, valid)]
    assert not contents[0] & contents[1]
    assert contents[0] | contents[1] == set(training) - set(test)
    assert len(train) + len(valid) == sum(one not in set(test) for one in training)
    assert sorted(train) == train
    assert 40 < len(contents[1]) < 110
    assert divide(training[::-1], test) != (train, valid)
    again = divide(training[::-1], test)
    assert {training[::-1][n] for n in again[1]} == contents[1]


def test_published_parts_lose_what_a_later_part_holds():
    training, valid, test = [b"a", b"b", b"c", b"a", b"d"], [b"b", b"e", b"f"], [b"f", b"c", b"c"]
    assert keep_apart(training, valid, test) == ([0, 3, 4], [0, 1])
