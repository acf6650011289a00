"""Drawings of damage, deposits, roots, water and obstacles, as `lib.simulator.frames` calls
them."""

import math

import cv2
import numpy as np

from lib.simulator.pipe import CRUST, DARK, bell, ramp, shifted
from lib.simulator.textures import sample

SOIL = (0.30, 0.24, 0.17)


def cracks(s, spot, rng, c):
    """RB: dark branching lines with a pale edge, or a shard broken out with soil behind and cracks
    from it."""
    mask = np.zeros(s.size, np.float32)
    width = 0.032 + 0.024 * c
    if rng.random() < 0.35:
        mask = np.maximum(mask, _break(s, spot, rng, c))
        starts = [
            (spot.phi + 0.3 * math.cos(t), spot.z + 0.3 * math.sin(t), t, 0.7)
            for t in rng.uniform(0, 6.28, 3)
        ]
    else:
        t = rng.choice([0.0, math.pi / 2, 0.9, 2.2]) + 0.2 * rng.standard_normal()
        n = rng.uniform(1.2, 1.9)
        phi, z = spot.phi - 0.5 * n * math.cos(t), spot.z - 0.4 * n * math.sin(t)
        starts = [(phi, z, t, n)]
        for _ in range(rng.integers(1, 4)):
            f = rng.uniform(0.2, 0.8) * n
            turn = rng.choice([-1, 1]) * rng.uniform(0.6, 1.4)
            starts.append((phi + f * math.cos(t), z + f * math.sin(t), t + turn, 0.6))
    for phi, z, heading, length in starts:
        line = s.seam(rng, phi, z, heading, length, width)
        lip = shifted(line, 0, s.scale / 48)
        s.paint(np.clip(lip - line, 0, 1), CRUST, 0.35 * c)
        s.paint(line, DARK, 0.55 + 0.45 * c)
        mask = np.maximum(mask, line)
    return mask


def _break(s, spot, rng, c):
    """A polygonal hole with soil behind it and a pale broken edge."""
    a, b = s.local(spot.z, spot.phi)
    angle = np.arctan2(b, a)
    k = rng.integers(4, 7)
    corners = 0.28 * np.cos(k * angle + rng.uniform(0, 6))
    corners = corners + 0.15 * np.cos(2 * angle + rng.uniform(0, 6))
    e = np.hypot(a, b / 1.3) / (rng.uniform(0.24, 0.36) * (1 + corners)) - 1
    hole = ramp(-e, 0.18) * s.dry
    grit = np.clip(0.5 + 0.4 * s.noise("stones", rng.uniform(0, 99), 2), 0.1, 2)
    s.paint(hole, SOIL, 0.55 + 0.45 * c, grit)
    s.paint(bell((e - 0.12) / 0.16) * s.dry * np.clip(0.6 + 2 * b, 0, 1), CRUST, 0.6 * c)
    return hole


def surface_damage(s, spot, rng, c):
    """OB: a ragged corroded patch where the skin is gone and coarse stones stand out of a dark
    matrix."""
    a, b = s.local(spot.z, spot.phi)
    wide, long = rng.uniform(0.55, 1.0), rng.uniform(0.5, 1.0)
    oval = 1 - np.square(a / wide) - np.square(b / long)
    patch = ramp(oval + 0.45 * s.noise("cloud", rng.uniform(0, 99), 2) - 0.15, 0.35) * s.dry
    stones = s.noise("stones", rng.uniform(0, 99), rng.choice([1, 2]), rng.uniform(45, 75))
    s.paint(patch, (0.56, 0.49, 0.38), 0.35 + 0.6 * c, np.clip(0.75 + 0.36 * stones, 0.15, 1.7))
    s.relief += patch * stones * 0.015 * (0.5 + c) - patch * 0.03
    s.shine *= 1 - patch
    return patch


def production_error(s, spot, rng, c):
    """PF: a lining that wrinkled when it was made: two or three folds stand out of the wall, round
    the pipe or along it, each with a bright crest and a hard shadow beside it."""
    a, b = s.local(spot.z, spot.phi)
    round_the_pipe = rng.random() < 0.6
    slant = rng.uniform(-0.25, 0.25)
    if round_the_pipe:
        pitch, length = rng.uniform(0.42, 0.52), rng.uniform(1.0, 1.4)
        run, across = b + slant * a, a
    else:
        pitch, length = rng.uniform(0.30, 0.38), rng.uniform(0.9, 1.2)
        run, across = a + slant * b, b
    n = rng.integers(2, 4)
    turns = run / pitch + 0.5 * n + 0.10 * s.noise("cloud", rng.uniform(0, 99))
    side = turns - np.clip(np.floor(turns), 0, n - 1)  # 0..1 in each fold: its crest, its shadow
    body = np.clip(1 - np.square(across / length), 0, 1)  # the folds run out at both ends
    width = 0.32 * np.sqrt(body) + 0.02
    crest, shadow = (
        bell((side - at) / width) * np.minimum(5 * body, 1) * s.dry for at in (0.30, 0.72)
    )
    s.paint(crest, CRUST, 0.3 + 0.3 * c)
    s.shade *= (1 + (0.30 + 0.35 * c) * crest) * (1 - (0.55 + 0.3 * c) * shadow)
    s.shine += crest * 0.10 * c
    return np.maximum(crest, shadow)


def deformation(s, spot, rng, c):
    """DE: the bore is no longer round: squashed to an oval, or its crown pressed in; a joint that
    gapes shows the outline."""
    inward = 1 - np.hypot(*s.at(s.z))  # how far `shape_deformation` pressed the wall in
    mask = ramp(np.abs(inward) - 0.08, 0.06) * (s.z < 4) * s.dry
    s.shade *= 1 + 0.9 * np.clip(inward, -0.4, 0.5)  # nearer to the lamp, or farther
    gap = bell((s.z - spot.joint) / np.maximum(0.08, 2 * s.pixel)) * s.dry
    s.paint(gap, DARK, 0.5 + 0.3 * c)
    return np.maximum(mask, gap)


def shape_deformation(spot, rng, c):
    if rng.random() < 0.5:  # squashed
        flat = rng.uniform(0.20, 0.24) + 0.08 * c
        return {"squash": (rng.choice([0, 0, 0.4, -0.4]), 1 + flat, 1 - flat, 1 - flat)}
    crown = rng.uniform(0.48, 0.54) - 0.10 * c
    return {"squash": (rng.choice([0, 0, 0.5, -0.5]), 1.12, crown, 0.97)}


def roots(s, spot, rng, c):
    """RO: a tassel of fine brown hairs that grows in at the joint, branches, curls and hangs into
    the bore."""
    phi = spot.phi if abs(spot.phi) < 2.0 else 0.6 * spot.phi
    mask = np.zeros(s.size, np.float32)
    n = 10  # points of a hair
    reach = rng.uniform(0.4, 0.6) * spot.joint
    spread = rng.uniform(0.22, 0.5)
    for layer, brightness in enumerate((0.10, 0.24, 0.58)):  # from back to front
        m = rng.integers(9, 14)
        around, along = spread * rng.uniform(-1, 1, m), 0.1 * rng.uniform(-1, 1, m)
        start = s.wall(phi + around, spot.joint + along)[:, None]
        way = -start * (0.8, 0.8, 0) + (0, 0.6, -0.15)  # to the axis, down, towards the camera
        way = way + 0.45 * rng.standard_normal((m, 1, 3)) * (1, 1, 0.4)
        curl = np.cumsum(rng.standard_normal((m, n, 3)) * (0.38, 0.38, 0.11), 1)
        step = (way + curl) * reach * rng.uniform(0.6, 1.1, (m, 1, 1)) / n
        hairs = s.stroke(start + np.cumsum(step, 1) - step[:, :1], np.linspace(0.042, 0.012, n))
        tone = brightness + 0.10 * (1 - c) * (1 - layer)
        s.cover(hairs * (0.8 + 0.2 * c), tone * np.float32([1.0, 0.86, 0.68]), spot.joint - 0.1)
        mask = np.maximum(mask, hairs)
    return mask


def infiltration(s, spot, rng, c):
    """IN: water runs in at a joint: a pale spring, glinting rivulets down a dark wet wall, or a
    white jet."""
    side = 1 if spot.phi >= 0 else -1
    phi, z = side * min(abs(spot.phi), 1.5), spot.joint
    a, b = s.local(z, phi)
    down = a * side
    sway = 0.25 * s.noise("cloud", rng.uniform(0, 99))
    wet = bell(b / (0.16 + 0.22 * np.clip(down, 0, 1.5)) + sway)
    wet = wet * ramp(down + 0.05, 0.15) * ramp(1.7 - down, 0.6) * s.dry
    s.paint(wet, (0.17, 0.14, 0.105), 0.5 + 0.35 * c)
    n = 12  # points of a rivulet
    t = np.linspace(0, 1, n)
    for _ in range(rng.integers(3, 6)):
        drift = np.cumsum(0.035 * rng.standard_normal(n)) + t * rng.uniform(-0.18, 0.18)
        points = s.wall(phi + side * t * rng.uniform(0.9, 1.5), z + drift)
        rivulet = s.stroke(points, np.linspace(0.035, 0.02, n)) * s.dry
        glint = np.clip(1 + 0.7 * s.noise("cloud", rng.uniform(0, 99), 2), 0, 2)
        s.shine += rivulet * glint * rng.uniform(0.25, 0.45) * (0.5 + 0.5 * c)
    spring = bell(np.hypot(a, b) / 0.24) * s.dry
    s.paint(spring, (0.9, 0.88, 0.82), 0.6 + 0.3 * c)
    mask = np.maximum(wet, spring)
    if rng.random() < 0.5:  # under pressure
        start = s.wall([phi], z)[0]
        aim = -start * (1, 1, 0) * rng.uniform(0.8, 1.1) + np.array([0, -0.15, -0.1])
        fall = np.square(t)[:, None] * np.float32([0, 0.8, 0])
        jet = np.zeros(s.size, np.float32)
        for _ in range(7):
            way = aim + 0.15 * rng.standard_normal(3) * (1, 1, 0.3)
            points = (start + t[:, None] * way + fall).astype(np.float32)
            jet = np.maximum(jet, s.stroke(points, 0.025 + 0.05 * t) * rng.uniform(0.5, 1.0))
        jet = cv2.GaussianBlur(jet, (0, 0), s.scale / 90)
        s.cover(jet * (0.6 + 0.35 * c), (0.95, 0.95, 0.92), z - 0.3, 1.2)
        mask = np.maximum(mask, jet)
    return mask


def settled_deposits(s, spot, rng, c):
    """AF: sand, gravel and sludge lie in the invert as a rough, uneven bank that rises out of the
    water."""
    level = min(s.water_y - 0.10, rng.uniform(0.55, 0.72)) - 0.08 * c
    z = np.minimum((level - s.eye[1]) / np.maximum(s.slope[1], 1e-3), 30)  # of the bank's surface
    x = s.eye[0] + s.slope[0] * z
    u, v = x * 70 + 99 * rng.random(), z * 42 + 99 * rng.random()
    bumps, grit = sample("cloud", u, v), sample("stones", u * 2.6, v * 2.6)
    inside = ramp(s.z - z + 0.12 * bumps, 0.06 * s.z) * (s.slope[1] > 0.02)
    long = 1 - np.abs(z - spot.z) / rng.uniform(0.7, 1.4) + 0.30 * bumps + 0.08 * grit
    wide = 1.0 - np.abs(x - rng.uniform(-0.25, 0.25)) / 0.75 + 0.25 * bumps
    bank = ramp(long, 0.25) * ramp(wide, 0.2) * inside
    tone = np.clip(0.72 + 0.22 * bumps + 0.36 * grit, 0.1, 1.8)
    edge = np.clip(cv2.GaussianBlur(bank, (0, 0), s.scale / 20) - bank, 0, 1)
    s.shade *= 1 - 0.7 * edge
    s.cover(bank * (0.65 + 0.35 * c), (0.43, 0.37, 0.285), z, 1, tone)
    return bank


def attached_deposits(s, spot, rng, c):
    """BE: lime or grease sticks to the wall as a pale knobbly crust, in a cluster or along the
    joint."""
    if spot.joint > 1.4 and rng.random() < 0.6:
        z, wide, long = spot.joint, rng.uniform(0.8, 1.3), 0.30
    else:
        z, wide, long = spot.z, rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.6)
    a, b = s.local(z, spot.phi)
    knobs = s.noise("stones", rng.uniform(0, 99), 1, 50.0)
    knobs = knobs + 0.4 * s.noise("grain", rng.uniform(0, 99))
    body = 1.1 - np.square(a / wide) - np.square(b / long) + 0.55 * knobs
    crust = ramp(body - 0.55, 0.4) * s.dry
    colour = CRUST if rng.random() < 0.7 else (0.36, 0.30, 0.22)
    shadow = shifted(crust, 0, s.scale / 24) * (1 - crust)
    s.shade *= 1 - 0.45 * shadow
    s.paint(crust, colour, 0.5 + 0.5 * c, np.clip(0.85 + 0.28 * knobs, 0.4, 1.4))
    s.relief += crust * (0.05 + 0.025 * knobs)
    s.shine *= 1 - crust
    return crust


def obstacle(s, spot, rng, c):
    """FO: something that does not belong here: a brick or a stone on the invert, or a bar or cable
    through the bore."""
    z = np.clip(spot.z, 1.15, 1.45)
    return (_bar if rng.random() < 0.4 else _block)(s, z, rng, c)


def _bar(s, z, rng, c):
    tilt = rng.choice([0.0, 0.5, -0.5, 1.3]) + 0.2 * rng.standard_normal()
    off = rng.uniform(-0.35, 0.35)
    across = np.array([math.cos(tilt), math.sin(tilt)])
    up = np.array([-math.sin(tilt), math.cos(tilt)])
    t = np.linspace(-1, 1, 12)[:, None]
    xy = off * up + math.sqrt(1 - off * off) * t * across
    points = np.concatenate([xy, z + 0.15 * t], 1).astype(np.float32)
    width = rng.uniform(0.14, 0.22)
    mask = s.stroke(points, np.full(12, width))
    shadow = shifted(mask, s.scale / 20, s.scale / 12)
    s.shade *= 1 - 0.5 * shadow * (1 - mask)
    tone = rng.choice([0.18, 0.85]) * (0.6 + 0.4 * c) + (1 - c) * 0.18
    s.cover(mask, tone * np.float32([0.95, 0.9, 0.82]), z)
    for k in np.linspace(-0.4, 0.4, 5):  # round: bright towards the lamp, dark at the edges
        strip = points.copy()
        strip[:, :2] += up.astype(np.float32) * k * width
        light = 0.45 - 2.6 * (k + 0.1) ** 2 - 0.2
        s.shade *= 1 + light * s.stroke(strip, np.full(12, 0.24 * width))
    return mask


def _block(s, z, rng, c):
    size = rng.uniform(0.52, 0.75), rng.uniform(0.34, 0.46), rng.uniform(0.35, 0.55)
    yaw, x = rng.uniform(-0.8, 0.8), rng.uniform(-0.3, 0.3)
    signs = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    corners = signs * (size[0] / 2, size[1] / 2, size[2] / 2)
    if rng.random() < 0.4:
        corners *= rng.uniform(0.65, 1.0, (8, 3))  # a stone: its corners are knocked off
    roll = rng.uniform(-0.25, 0.25)
    cos, sin = math.cos(yaw), math.sin(yaw)
    yaw = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    cos, sin = math.cos(roll), math.sin(roll)
    roll = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    floor = min(math.sqrt(1 - x * x) - 0.03, s.water_y + 0.10)
    world = (corners @ yaw.T @ roll.T + (x, floor - size[1] / 2, z)).astype(np.float32)
    pixel = np.rint(s.project(world)[0] * 16).astype(np.int32)  # 4 fractional bits
    ground, mask, tone = (np.zeros(s.size, np.uint8) for _ in range(3))
    hull = cv2.convexHull(pixel)
    shadow = hull + np.int32([0, round(s.scale * 1.4)])
    cv2.fillConvexPoly(ground, shadow, 255, cv2.LINE_AA, 4)
    cv2.fillConvexPoly(mask, hull, 255, cv2.LINE_AA, 4)
    faces = [(0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5)]
    distances = [-np.linalg.norm(world[list(face)].mean(0) - s.eye) for face in faces]
    for i in np.argsort(distances, kind="stable"):  # the farthest first
        quad, outline = world[list(faces[i])], pixel[list(faces[i])]
        n = np.cross(quad[1] - quad[0], quad[2] - quad[0])
        n = n * np.sign(n @ (quad.mean(0) - world.mean(0))) / (np.linalg.norm(n) + 1e-6)
        light = 0.22 + 0.72 * max(0, -n[2]) + 0.20 * max(0, -n[1])
        width = max(1, round(s.scale / 80))
        cv2.fillConvexPoly(tone, outline, int(255 * min(light, 1)), cv2.LINE_AA, 4)
        cv2.polylines(tone, [outline], True, int(110 * light), width, cv2.LINE_AA, 4)
    ground, mask, tone = (part / np.float32(255) for part in (ground, mask, tone))
    s.shade *= 1 - 0.6 * cv2.GaussianBlur(ground, (0, 0), s.scale / 24) * (1 - mask)
    rough = 1 + 0.12 * s.noise("grain", rng.uniform(0, 99), 3, 120.0)
    rough = rough + 0.12 * s.noise("cloud", rng.uniform(0, 99), 3)
    colours = [(0.60, 0.46, 0.36), (0.64, 0.59, 0.50), (0.40, 0.36, 0.29)]
    colour = np.float32(colours[rng.integers(3)])
    s.cover(mask, colour, z, 1, tone * rough * (0.9 + 0.35 * c))
    return mask
