"""One drawing for each of the 17 Sewer-ML classes: `DRAW[class](scene, spot, rng, c)` paints and
returns its mask.

`spot` holds the frame's joint depth and a place on the wall, `c` in 0..1 is contrast (1: an easy
example). FS, DE, OP and OK bend the pipe itself: `SHAPE[class](spot, rng, c)` gives the scene's
geometry first. Docstrings say what an engineer sees; lengths are in pipe radii, angles in radians,
and sizes such that a drawing spans 15 to 60 pixels of 96. Here are damage, deposits, roots, water
and obstacles; what sits where pipes meet is in lib.simulator.junctions.
"""

import math

import cv2
import numpy as np

from lib.simulator import junctions
from lib.simulator.pipe import CRUST, DARK, bell, ramp, shifted
from lib.simulator.textures import sample

SOIL = (0.30, 0.24, 0.17)


def cracks(s, spot, rng, c):
    """RB: dark branching lines with a pale edge, or a shard broken out with soil behind and cracks
    from it."""
    mask = np.zeros(s.size, np.float32)
    width = 0.032 + 0.024 * c
    if rng.random() < 0.35:  # break: a polygonal hole
        a, b = s.local(spot.z, spot.phi)
        angle = np.arctan2(b, a)
        k = rng.integers(4, 7)
        corners = 0.28 * np.cos(k * angle + rng.uniform(0, 6)) + 0.15 * np.cos(
            2 * angle + rng.uniform(0, 6)
        )
        r = rng.uniform(0.24, 0.36) * (1 + corners)
        e = np.hypot(a, b / 1.3) / r - 1
        hole = ramp(-e, 0.18) * s.dry
        s.paint(
            hole,
            SOIL,
            0.55 + 0.45 * c,
            np.clip(0.5 + 0.4 * s.noise("stones", rng.uniform(0, 99), 2), 0.1, 2),
        )
        s.paint(bell((e - 0.12) / 0.16) * s.dry * np.clip(0.6 + 2 * b, 0, 1), CRUST, 0.6 * c)
        mask = np.maximum(mask, hole)
        starts = [
            (spot.phi + 0.3 * math.cos(t), spot.z + 0.3 * math.sin(t), t, 0.7)
            for t in rng.uniform(0, 6.28, 3)
        ]
    else:
        t = rng.choice([0.0, math.pi / 2, 0.9, 2.2]) + 0.2 * rng.standard_normal()
        n = rng.uniform(1.2, 1.9)
        start = spot.phi - 0.5 * n * math.cos(t), spot.z - 0.4 * n * math.sin(t)
        starts = [(*start, t, n)]
        for _ in range(rng.integers(1, 4)):
            f = rng.uniform(0.2, 0.8) * n
            turn = rng.choice([-1, 1]) * rng.uniform(0.6, 1.4)
            starts.append((start[0] + f * math.cos(t), start[1] + f * math.sin(t), t + turn, 0.6))
    for phi, z, t, n in starts:
        line = s.seam(rng, phi, z, t, n, width)
        lip = shifted(line, 0, s.scale / 48)
        s.paint(np.clip(lip - line, 0, 1), CRUST, 0.35 * c)
        s.paint(line, DARK, 0.55 + 0.45 * c)
        mask = np.maximum(mask, line)
    return mask


def surface_damage(s, spot, rng, c):
    """OB: a ragged corroded patch where the skin is gone and coarse stones stand out of a dark
    matrix."""
    a, b = s.local(spot.z, spot.phi)
    wide, long = rng.uniform(0.55, 1.0), rng.uniform(0.5, 1.0)
    edge = (
        1
        - np.square(a / wide)
        - np.square(b / long)
        + 0.45 * s.noise("cloud", rng.uniform(0, 99), 2)
    )
    patch = ramp(edge - 0.15, 0.35) * s.dry
    stones = s.noise("stones", rng.uniform(0, 99), rng.choice([1, 2]), rng.uniform(45, 75))
    s.paint(patch, (0.56, 0.49, 0.38), 0.35 + 0.6 * c, np.clip(0.75 + 0.36 * stones, 0.15, 1.7))
    s.relief += patch * stones * 0.015 * (0.5 + c) - patch * 0.03
    s.shine *= 1 - patch
    return patch


def production_error(s, spot, rng, c):
    """PF: a lining that wrinkled when made: parallel smooth folds, light on one flank and dark on
    the other."""
    a, b = s.local(spot.z, spot.phi)
    around = rng.random() < 0.6  # folds round the pipe, or along it
    pitch = rng.uniform(0.20, 0.30)
    slant = rng.uniform(-0.25, 0.25)
    run, across, length = (
        (b + slant * a, a, rng.uniform(0.7, 1.3))
        if around
        else (a + slant * b, b, rng.uniform(0.8, 1.2))
    )
    reach = pitch * rng.uniform(1.6, 2.6)
    window = ramp(1 - np.abs(across) / length, 0.5) * ramp(1 - np.abs(run) / reach, 0.35) * s.dry
    wave = np.sin(2 * math.pi * run / pitch + 0.5 * s.noise("cloud", rng.uniform(0, 99)))
    s.shade *= 1 + window * wave * (0.32 + 0.32 * c)
    s.shine += window * np.clip(wave - 0.75, 0, 1) * 0.8 * c
    return window


def deformation(s, spot, rng, c):
    """DE: the bore is no longer round: squashed to an oval, or its crown buckled inwards with a
    bright face."""
    inward = s.relief  # what SHAPE["DE"] left there
    mask = ramp(np.abs(inward) - 0.08, 0.06) * (s.z < 4) * s.dry
    s.shade *= 1 - 0.9 * np.clip(-inward, 0, 0.4)
    return mask


def shape_deformation(spot, rng, c):
    if rng.random() < 0.5:
        return {
            "squash": (
                rng.uniform(0.15, 0.19) + 0.09 * c,
                rng.choice([0, 0, 0.4, -0.4]),
                0.0,
                spot.z,
            )
        }
    return {"squash": (0.05, 0.0, rng.uniform(0.34, 0.40) + 0.16 * c, spot.z)}


def roots(s, spot, rng, c):
    """RO: a tassel of fine brown hairs that grows in at the joint, branches, curls and hangs into
    the bore."""
    phi0 = spot.phi if abs(spot.phi) < 2.0 else 0.6 * spot.phi
    mask = np.zeros(s.size, np.float32)
    n = 10
    reach = rng.uniform(0.4, 0.6) * spot.joint
    spread = rng.uniform(0.22, 0.5)
    for layer in range(3):  # back to front: dark, brown, pale
        m = rng.integers(9, 14)
        start = s.wall(
            phi0 + spread * rng.uniform(-1, 1, m), spot.joint + 0.1 * rng.uniform(-1, 1, m)
        )[:, None]
        way = (
            -start * (0.8, 0.8, 0)
            + (0, 0.6, -0.15)
            + 0.45 * rng.standard_normal((m, 1, 3)) * (1, 1, 0.4)
        )
        curl = np.cumsum(rng.standard_normal((m, n, 3)) * (0.38, 0.38, 0.11), 1)
        step = (way + curl) * reach * rng.uniform(0.6, 1.1, (m, 1, 1)) / n
        hairs = s.stroke(start + np.cumsum(step, 1) - step[:, :1], np.linspace(0.042, 0.012, n))
        tone = (0.10, 0.24, 0.58)[layer] + 0.10 * (1 - c) * (1 - layer)
        s.cover(hairs * (0.8 + 0.2 * c), tone * np.float32([1.0, 0.86, 0.68]), spot.joint - 0.1)
        mask = np.maximum(mask, hairs)
    return mask


def infiltration(s, spot, rng, c):
    """IN: water runs in at a joint: a pale spring, glinting rivulets down a dark wet wall, or a
    white jet."""
    side = 1 if spot.phi >= 0 else -1
    phi0 = side * min(abs(spot.phi), 1.5)
    z0 = spot.joint
    a, b = s.local(z0, phi0)
    down = a * side
    sway = 0.25 * s.noise("cloud", rng.uniform(0, 99))
    wet = (
        bell(b / (0.16 + 0.22 * np.clip(down, 0, 1.5)) + sway)
        * ramp(down + 0.05, 0.15)
        * ramp(1.7 - down, 0.6)
        * s.dry
    )
    s.paint(wet, (0.17, 0.14, 0.105), 0.5 + 0.35 * c)
    mask = wet
    n = 12
    t = np.linspace(0, 1, n)
    for _ in range(rng.integers(3, 6)):  # rivulets
        drift = np.cumsum(0.035 * rng.standard_normal(n)) + t * rng.uniform(-0.18, 0.18)
        p = s.wall(phi0 + side * t * rng.uniform(0.9, 1.5), z0 + drift)
        rill = s.stroke(p, np.linspace(0.035, 0.02, n)) * s.dry
        glint = np.clip(1 + 0.7 * s.noise("cloud", rng.uniform(0, 99), 2), 0, 2)
        s.shine += rill * glint * rng.uniform(0.25, 0.45) * (0.5 + 0.5 * c)
    spring = bell(np.hypot(a, b) / 0.24) * s.dry
    s.paint(spring, (0.9, 0.88, 0.82), 0.6 + 0.3 * c)
    if rng.random() < 0.5:  # under pressure
        p0 = s.wall([phi0], z0)[0]
        aim = -p0 * (1, 1, 0) * rng.uniform(0.8, 1.1) + np.array([0, -0.15, -0.1])
        jet = np.zeros(s.size, np.float32)
        for _ in range(7):
            path = (
                p0
                + t[:, None] * (aim + 0.15 * rng.standard_normal(3) * (1, 1, 0.3))
                + np.square(t)[:, None] * np.float32([0, 0.8, 0])
            )
            jet = np.maximum(
                jet, s.stroke(path.astype(np.float32), 0.025 + 0.05 * t) * rng.uniform(0.5, 1.0)
            )
        jet = cv2.GaussianBlur(jet, (0, 0), s.scale / 90)
        s.cover(jet * (0.6 + 0.35 * c), (0.95, 0.95, 0.92), z0 - 0.3, 1.2)
        mask = np.maximum(mask, jet)
    return np.maximum(mask, spring)


def settled_deposits(s, spot, rng, c):
    """AF: sand, gravel and sludge lie in the invert as a rough, uneven bank that rises out of the
    water."""
    level = min(s.water_y - 0.10, rng.uniform(0.55, 0.72)) - 0.08 * c
    rise = np.maximum(s.slope[1], 1e-3)
    z = np.minimum((level - s.eye[1]) / rise, 30)
    x = s.eye[0] + s.slope[0] * z
    u, v = x * 70 + 99 * rng.random(), z * 42 + 99 * rng.random()
    bumps, grit = sample("cloud", u, v), sample("stones", u * 2.6, v * 2.6)
    inside = ramp(s.z - z + 0.12 * bumps, 0.06 * s.z) * (s.slope[1] > 0.02)
    bank = ramp(1 - np.abs(z - spot.z) / rng.uniform(0.7, 1.4) + 0.30 * bumps + 0.08 * grit, 0.25)
    bank = (
        bank * ramp(1.0 - np.abs(x - rng.uniform(-0.25, 0.25)) / 0.75 + 0.25 * bumps, 0.2) * inside
    )
    tone = np.clip(0.72 + 0.22 * bumps + 0.36 * grit, 0.1, 1.8)
    edge = np.clip(cv2.GaussianBlur(bank, (0, 0), s.scale / 20) - bank, 0, 1)
    s.shade *= 1 - 0.7 * edge
    s.cover(bank * (0.65 + 0.35 * c), (0.43, 0.37, 0.285), z, 1, tone)
    return bank


def attached_deposits(s, spot, rng, c):
    """BE: lime or grease sticks to the wall as pale knobbly crust, in a cluster or along the
    joint."""
    ring = spot.joint > 1.4 and rng.random() < 0.6
    a, b = s.local(spot.joint if ring else spot.z, spot.phi)
    wide, long = (
        (rng.uniform(0.8, 1.3), 0.30) if ring else (rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.6))
    )
    knobs = s.noise("stones", rng.uniform(0, 99), 1, 50.0) + 0.4 * s.noise(
        "grain", rng.uniform(0, 99)
    )
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
    z0 = np.clip(spot.z, 1.15, 1.45)
    if rng.random() < 0.4:  # bar
        tilt = rng.choice([0.0, 0.5, -0.5, 1.3]) + 0.2 * rng.standard_normal()
        off = rng.uniform(-0.35, 0.35)
        across, up = (
            np.array([math.cos(tilt), math.sin(tilt)]),
            np.array([-math.sin(tilt), math.cos(tilt)]),
        )
        half = math.sqrt(1 - off * off)
        t = np.linspace(-1, 1, 12)[:, None]
        xy = off * up + half * t * across
        p = np.concatenate([xy, z0 + 0.15 * t], 1).astype(np.float32)
        width = rng.uniform(0.14, 0.22)
        mask = s.stroke(p, np.full(12, width))
        shadow = shifted(mask, s.scale / 20, s.scale / 12)
        s.shade *= 1 - 0.5 * shadow * (1 - mask)
        tone = rng.choice([0.18, 0.85]) * (0.6 + 0.4 * c) + (1 - c) * 0.18
        s.cover(mask, tone * np.float32([0.95, 0.9, 0.82]), z0)
        for k in np.linspace(-0.4, 0.4, 5):  # round: bright towards the lamp, dark at the edges
            q = p.copy()
            q[:, :2] += up.astype(np.float32) * k * width
            s.shade *= 1 + (0.45 - 2.6 * (k + 0.1) ** 2 - 0.2) * s.stroke(
                q, np.full(12, 0.24 * width)
            )
        return mask
    w, h, d = rng.uniform(0.52, 0.75), rng.uniform(0.34, 0.46), rng.uniform(0.35, 0.55)
    yaw, x0 = rng.uniform(-0.8, 0.8), rng.uniform(-0.3, 0.3)
    corner = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]) * (
        w / 2,
        h / 2,
        d / 2,
    )
    if rng.random() < 0.4:
        corner *= rng.uniform(0.65, 1.0, (8, 3))  # a stone: a block with its corners knocked about
    lie = rng.uniform(-0.25, 0.25)
    turn = np.array(
        [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    )
    roll = np.array(
        [[math.cos(lie), -math.sin(lie), 0], [math.sin(lie), math.cos(lie), 0], [0, 0, 1]]
    )
    floor = min(math.sqrt(1 - x0 * x0) - 0.03, s.water_y + 0.10)
    world = (corner @ turn.T @ roll.T + (x0, floor - h / 2, z0)).astype(np.float32)
    pixel, _ = s.project(world)
    faces = [(0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5)]
    mask, tone = np.zeros(s.size, np.uint8), np.zeros(s.size, np.uint8)
    hull = cv2.convexHull(np.rint(pixel * 16).astype(np.int32))
    ground = hull + np.int32([0, round(s.scale * 1.4)])
    dark = np.zeros(s.size, np.uint8)
    cv2.fillConvexPoly(dark, ground, 255, cv2.LINE_AA, 4)
    cv2.fillConvexPoly(mask, hull, 255, cv2.LINE_AA, 4)
    middle = world.mean(0)
    for f in sorted(faces, key=lambda f: -np.linalg.norm(world[list(f)].mean(0) - s.eye)):
        quad, seen = world[list(f)], np.rint(pixel[list(f)] * 16).astype(np.int32)
        n = np.cross(quad[1] - quad[0], quad[2] - quad[0])
        n = n * np.sign(n @ (quad.mean(0) - middle)) / (np.linalg.norm(n) + 1e-6)
        lit = 0.22 + 0.72 * max(0, -n[2]) + 0.20 * max(0, -n[1])
        cv2.fillConvexPoly(tone, seen, int(255 * min(lit, 1)), cv2.LINE_AA, 4)
        cv2.polylines(
            tone, [seen], True, int(110 * lit), max(1, round(s.scale / 80)), cv2.LINE_AA, 4
        )
    mask, tone = mask / np.float32(255), tone / np.float32(255)
    s.shade *= 1 - 0.6 * cv2.GaussianBlur(dark / np.float32(255), (0, 0), s.scale / 24) * (1 - mask)
    rough = (
        1
        + 0.12 * s.noise("grain", rng.uniform(0, 99), 3, 120.0)
        + 0.12 * s.noise("cloud", rng.uniform(0, 99), 3)
    )
    colour = np.float32(
        [(0.60, 0.46, 0.36), (0.64, 0.59, 0.50), (0.40, 0.36, 0.29)][rng.integers(3)]
    )
    s.cover(mask, colour, z0, 1, tone * rough * (0.9 + 0.35 * c))
    return mask


SHAPE = {
    "DE": shape_deformation,
    "FS": junctions.shape_joint,
    "OP": junctions.shape_transition,
    "OK": junctions.shape_change,
}
DRAW = {  # in painting order: the pipe, its wall, then what stands in front of it
    "OK": junctions.construction_change,
    "OP": junctions.transition,
    "DE": deformation,
    "FS": junctions.displaced_joint,
    "OB": surface_damage,
    "PF": production_error,
    "GR": junctions.branch,
    "PH": junctions.chiselled,
    "PB": junctions.drilled,
    "OS": junctions.lateral_cut,
    "RB": cracks,
    "BE": attached_deposits,
    "IN": infiltration,
    "AF": settled_deposits,
    "FO": obstacle,
    "RO": roots,
    "IS": junctions.intruding_seal,
}
IN_FRONT = ("AF", "FO", "RO", "IS")  # these stand in the water or before it
