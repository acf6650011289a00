"""The methods' equations, one vector or one number at a time. They share no code with lib or
lightly.

Sources: Chen et al. 2020 (SimCLR, equation 1), Grill et al. 2020 (BYOL, equation 2), Zbontar et al.
2021 (Barlow Twins, equations 1 and 2), Caron et al. 2021 (DINO, algorithm 1), He et al. 2022 (MAE,
sections 3 and 4), Bardes et al. 2022 (VICReg, equations 1 to 6), Balestriero and LeCun 2025
(LeJEPA). Where a paper leaves something open, the line says which code is followed.
"""

import math

import torch


def unit(v):
    return v / (v * v).sum().sqrt()


def linear(x, layer):
    """`layer` applied to each row of x (n, inputs)."""
    rows = [layer.weight @ row for row in x]
    return torch.stack(rows if layer.bias is None else [row + layer.bias for row in rows])


def batch_norm(x, layer):
    """In training: the batch's own mean and biased variance (Ioffe and Szegedy 2015, algorithm
    1)."""
    columns = []
    for j in range(x.shape[1]):
        away = x[:, j] - x[:, j].sum() / len(x)
        columns.append(
            layer.weight[j] * away / ((away * away).sum() / len(x) + 1e-5).sqrt() + layer.bias[j]
        )
    return torch.stack(columns, 1)


def relu(x):
    return x * (x > 0)


def nt_xent(a, b, temperature):
    """The mean of l(i, j) over all 2n positive pairs, for the embeddings a, b (n, e) of two
    views."""
    z, n = [unit(v) for v in (*a, *b)], len(a)
    total = 0.0
    for i in range(2 * n):
        partner = i + n if i < n else i - n
        others = sum(torch.exp((z[i] @ z[k]) / temperature) for k in range(2 * n) if k != i)
        total = total - torch.log(torch.exp((z[i] @ z[partner]) / temperature) / others)
    return total / (2 * n)


def byol(p1, p2, t1, t2):
    """The squared distance of unit vectors; the two directions averaged as in the released code
    (the paper sums)."""
    total = 0.0
    for i in range(len(p1)):
        for p, t in ((p1[i], t2[i]), (p2[i], t1[i])):
            total = total + ((unit(p) - unit(t)) ** 2).sum() / 2
    return total / len(p1)


def barlow(a, b, redundancy, scale):
    """The paper's loss times `scale`, which only the released code has.

    Each dimension is normalised by the batch's biased variance plus 1e-5: the released code's
    BatchNorm1d.
    """
    n, d = a.shape

    def normal(x):
        away = x - x.sum() / n
        return away / ((away * away).sum() / n + 1e-5).sqrt()

    a, b = [normal(a[:, j]) for j in range(d)], [normal(b[:, j]) for j in range(d)]
    loss = 0.0
    for i in range(d):
        for j in range(d):
            c = a[i] @ b[j] / n
            loss = loss + ((1 - c) ** 2 if i == j else redundancy * c**2)
    return scale * loss


def vicreg(a, b, invariance, variance, covariance):
    """lambda s + mu (v(a) + v(b)) + nu (c(a) + c(b)).

    s is a mean over dimensions, too, and mu is halved, as in the authors' code.
    """
    n, d = a.shape
    loss = invariance * sum(((x - y) ** 2).sum() for x, y in zip(a, b, strict=True)) / (n * d)
    for z in (a, b):
        away = [z[:, j] - z[:, j].sum() / n for j in range(d)]
        for i in range(d):
            loss = loss + variance / 2 * relu(1 - ((away[i] @ away[i]) / (n - 1) + 1e-4).sqrt()) / d
            loss = (
                loss
                + covariance
                * sum(((away[i] @ away[j]) / (n - 1)) ** 2 for j in range(d) if j != i)
                / d
            )
    return loss


def epps_pulley(x):
    """n times the squared distance of the characteristic function of x (n,) from the standard
    normal's, integrated with the weight exp(-t^2 / 2) over [-3, 3] by trapezoids between 33 knots:
    the authors' 17 on the half line, mirrored."""
    step, total = 6 / 32, 0.0
    for k in range(33):
        t = -3 + k * step
        normal = math.exp(-t * t / 2)
        real, imaginary = (
            sum(torch.cos(t * v) for v in x) / len(x),
            sum(torch.sin(t * v) for v in x) / len(x),
        )
        distance = (real - normal) ** 2 + imaginary**2
        total = total + (step / 2 if k in (0, 32) else step) * normal * distance
    return len(x) * total


def lejepa(views, directions, gaussian):
    """(1 - lambda) of the squared distance from the views' mean, lambda of `epps_pulley` along
    `directions` (e, k).

    Both are means over views; the distance also over images and dimensions, as in the authors'
    code.
    """
    mean = sum(views) / len(views)
    invariance = sum(((z - mean) ** 2).sum() / z.numel() for z in views) / len(views)
    slices = [epps_pulley(z @ (a / (a * a).sum().sqrt())) for z in views for a in directions.T]
    return (1 - gaussian) * invariance + gaussian * sum(slices) / len(slices)


def dino_head(h, head):
    """Three layers with ReLU, an l2-normalised bottleneck, prototypes of trained length along v /
    |v|.

    The released code has ReLU; DINO's own and lightly's have GELU.
    """
    first, _, second, _, third = head.mlp
    z = linear(relu(linear(relu(linear(h, first)), second)), third)
    length = head.prototypes.parametrizations.weight.original0
    direction = head.prototypes.parametrizations.weight.original1
    prototypes = torch.stack([g * unit(v) for g, v in zip(length, direction, strict=True)])
    return torch.stack([prototypes @ unit(row) for row in z])


def dino(student, teacher, centre, student_temperature, teacher_temperature):
    """Cross-entropies of view 1's teacher with view 2's student and the reverse, averaged."""
    total = 0.0
    for i, j in ((0, 1), (1, 0)):
        for t, s in zip(teacher[i], student[j], strict=True):
            q = torch.exp((t - centre) / teacher_temperature)
            p = torch.exp(s / student_temperature)
            total = total - ((q / q.sum()) * torch.log(p / p.sum())).sum()
    return total / (2 * len(student[0]))


def binary_cross_entropy(logits, labels, pos_weight):
    """-w y log s(x) - (1 - y) log(1 - s(x)), the mean over images."""
    total = 0.0
    for x, y in zip(logits, labels, strict=True):
        p = 1 / (1 + torch.exp(-x))
        total = total - (pos_weight * torch.log(p) if y == 1 else torch.log(1 - p))
    return total / len(logits)


def positions(width, side):
    """(1 + side^2, width): zeros for the cls token, then of each patch, row by row, sines and
    cosines of its column, then of its row. The order is that of MAE's released code."""
    table = [[0.0] * width]
    for row in range(side):
        for column in range(side):
            waves = []
            for place in (column, row):
                angles = [place / 10000 ** (k / (width / 4)) for k in range(width // 4)]
                waves += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            table.append(waves)
    return torch.tensor(table, dtype=torch.float64)


def square(image, position, patch):
    """Pixels (3, patch, patch) of the patch at `position`, which counts from 1, row by row."""
    row, column = divmod(position - 1, image.shape[2] // patch)
    return image[:, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]


def mae_encode(vit, x, keep, patch):
    """Tokens (n, kept, width) of the positions `keep`; no other patch is looked at."""
    table = positions(vit.embed_dim, x.shape[2] // patch)
    images = []
    for image, kept in zip(x, keep.tolist(), strict=True):
        tokens = [vit.cls_token[0, 0] + table[0]]
        for position in kept[1:]:
            pixels = square(image, position, patch).flatten()
            filters = vit.patch_embed.proj.weight.flatten(1)
            tokens.append(filters @ pixels + vit.patch_embed.proj.bias + table[position])
        images.append(torch.stack(tokens))
    return vit.norm(vit.blocks(torch.stack(images)))


def mae_decode(decoder, tokens, keep, side):
    """Predictions (n, side^2, 3 patch^2): each token goes back to its place, the mask token to all
    others."""
    blocks = decoder.blocks
    table = positions(blocks.mask_token.shape[2], side)
    images = []
    for rows, kept in zip(tokens, keep.tolist(), strict=True):
        sequence = [blocks.mask_token[0, 0] for _ in range(side * side + 1)]
        for row, position in zip(rows, kept, strict=True):
            sequence[position] = decoder.embed.weight @ row + decoder.embed.bias
        images.append(
            torch.stack([token + place for token, place in zip(sequence, table, strict=True)])
        )
    decoded = blocks.norm(blocks.blocks(torch.stack(images)))
    return torch.stack([linear(image[1:], decoder.predict) for image in decoded])


def mae(prediction, x, masked, patch):
    """The mean over masked patches of the mean squared error of their normalised pixels.

    A patch is flattened pixel by pixel, its three channels together; its variance is unbiased and
    1e-6 is added to it, as in MAE's released code.
    """
    errors = []
    for guess, image, hidden in zip(prediction, x, masked.tolist(), strict=True):
        for position in hidden:
            pixels = square(image, position, patch)
            values = torch.stack(
                [
                    pixels[c, i, j]
                    for i in range(patch)
                    for j in range(patch)
                    for c in range(len(pixels))
                ]
            )
            away = values - values.sum() / len(values)
            normal = away / ((away * away).sum() / (len(values) - 1) + 1e-6).sqrt()
            errors.append(((guess[position - 1] - normal) ** 2).sum() / len(values))
    return sum(errors) / len(errors)
