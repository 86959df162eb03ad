"""Local attentional Mamba against its recurrence along each route and masked softmax."""

import pytest
import torch
import torch.nn.functional as F
from support import DIM, HEAD_WIDTH, HEADS, VARIANTS, draw, relative_difference

from cab.attention import build_attention
from cab.taxonomy import Pattern


def build_local_mamba(grid, layer=0, **options):
    sizes = {"dim": DIM, "heads": HEADS, "max_length": grid[0] * grid[1], "grid": grid}
    sizes |= {"layer": layer, "layers": 4}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mamba = VARIANTS.load("local-mamba")
        module = build_attention(mamba, options, pattern=Pattern.NS, **sizes)
    return module.double().eval()


def routes(rows, columns):
    """Four walks, as (row, column) from the first to the last token."""
    along = [
        (r, c) for r in range(rows) for c in (range(columns), reversed(range(columns)))[r % 2]
    ]
    down = [(r, c) for c in range(columns) for r in (range(rows), reversed(range(rows)))[c % 2]]
    walks = (along, along[::-1], down, down[::-1])
    return [[r * columns + c for r, c in walk] for walk in walks]


def scanned(mixer, x, kept):
    u, gate = mixer.input(x).chunk(2, dim=-1)
    u = F.silu(mixer.convolution(u.T.unflatten(1, mixer.grid)[None])[0].flatten(1).T)
    total, state = torch.zeros_like(u), mixer.config.state_width
    for number, route in enumerate(routes(*mixer.grid)):
        memory = torch.zeros(u.shape[1], state).to(x)
        for t in route:
            steps, b, c = (u[t] @ mixer.read[number]).split((mixer.rank, state, state))
            delta = F.softplus(steps @ mixer.widen[number] + mixer.step_bias[number, 0])
            if kept[t]:
                decay = torch.exp(-delta[:, None] * mixer.log_rate[number].exp())
                memory = decay * memory + (delta * u[t])[:, None] * b
            total[t] += memory @ c + mixer.skip[number, 0] * u[t]
    return mixer.scan_output(mixer.scan_norm(total) * F.silu(gate))


def window_of(t, mixer):
    """The window of a token: on each axis, shifted in odd layers if smaller than the picture."""
    place, found = divmod(t, mixer.grid[1]), []
    for where, side in zip(place, mixer.grid, strict=True):
        window = min(mixer.config.window, side)
        shift = window // 2 if mixer.layer % 2 and window < side else 0
        found.append((where - shift) // window)
    return found


def written_out(mixer, x, kept):
    first = scanned(mixer, x, kept)
    near, mixed = mixer.norm(x + first), torch.zeros_like(x)
    q, k, v = (part(near) for part in (mixer.query, mixer.key, mixer.value))
    for t in range(len(x)):
        seen = [s for s in range(len(x)) if kept[s] and window_of(s, mixer) == window_of(t, mixer)]
        for head in range(HEADS if seen else 0):
            cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
            weights = (k[seen, cut] @ q[t, cut] / HEAD_WIDTH**0.5).softmax(dim=0)
            mixed[t, cut] = weights @ v[seen, cut]
    return first + mixer.output(mixed)


@torch.no_grad()
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (5, 4), (6, 7)])
@pytest.mark.parametrize("options", [{}, {"window": 3, "state_width": 2, "ratio": 1.0}])
def test_it_is_its_two_stages(grid, layer, options):
    mixer, length = build_local_mamba(grid, layer, **options), grid[0] * grid[1]
    x, padding = draw(2, length, DIM), draw(2, length, seed="holes") > 0.5
    for mask in (None, padding):
        got = mixer(x, key_padding_mask=mask)
        for row in range(2):
            kept = torch.ones(length, dtype=torch.bool) if mask is None else ~mask[row]
            here = x[row].masked_fill(~kept[:, None], 0.0)
            expected = written_out(mixer, here, kept)
            assert relative_difference(got[row, kept], expected[kept]) <= 1e-10
