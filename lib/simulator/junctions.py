"""Drawings of where a pipe meets another, as lib.simulator.frames calls them: laterals (GR, PH,
PB, OS), joints (FS, IS) and changes of the pipe (OP, OK)."""

import math

import cv2
import numpy as np

from lib.simulator.pipe import CRUST, DARK, GREY, Spot, bell, ramp, shifted


def opening(s, spot, radius, stretch, ragged=0.0):
    """Of a hole in the wall, in its radii: distance from the rim (negative inside), local depth,
    softness of the edge."""
    a, b = s.local(spot.z, spot.phi)
    rim = np.hypot(a, b / stretch) / radius + ragged - 1
    return rim, b / radius, np.maximum(1.2 * s.pixel * np.maximum(s.z, 1) / radius, 0.04)


def bore(s, rim, depth, soft, c):
    """Fill a hole with what is seen of the side pipe: black towards the camera, its far wall
    lit."""
    hole = ramp(-rim, soft) * s.dry
    s.paint(hole, DARK, 0.60 + 0.40 * c)
    s.paint(hole * np.clip(0.1 + 1.0 * depth, 0, 1), GREY, 0.55 - 0.15 * c)
    s.relief *= 1 - hole
    s.shine *= 1 - hole
    return hole


def branch(s, spot, rng, c):
    """GR: a factory-made branch: a large smooth hole with a rounded, evenly lit rim; the side pipe
    shows within."""
    rim, depth, soft = opening(s, spot, rng.uniform(0.36, 0.46), rng.uniform(1.2, 1.45))
    edge = bell((rim - 0.16) / 0.24) * s.dry
    s.shade *= 1 + edge * (0.40 + 0.35 * c) * np.clip(0.5 + depth, -0.7, 1)
    return np.maximum(bore(s, rim, depth, soft * 1.5, c), edge)


def chiselled(s, spot, rng, c):
    """PH: a hole hacked into the wall: jagged outline, chipped rubble edge, the house pipe sitting
    askew within."""
    a, b = s.local(spot.z, spot.phi)
    angle = np.arctan2(b, a)
    waves = [
        w * np.cos(k * angle + rng.uniform(0, 6.28)) for k, w in ((2, 0.10), (3, 0.08), (7, 0.05))
    ]
    ragged = sum(waves) + 0.07 * s.noise("stones", rng.uniform(0, 99), 2)
    rim, depth, soft = opening(s, spot, rng.uniform(0.36, 0.44), 1.2, ragged)
    chips = ramp(0.34 - rim, 0.3) * s.dry
    grit = s.noise("stones", rng.uniform(0, 99), 2)
    s.paint(chips, GREY, 0.45 + 0.4 * c, np.clip(1.1 + 0.4 * grit, 0.3, 1.9))
    hole = bore(s, rim, depth, soft, c)
    pipe = Spot(spot.phi + rng.uniform(-0.08, 0.08), spot.z + 0.1, spot.joint)
    rim, _, soft = opening(s, pipe, 0.24, 1.1)
    s.paint(bell((rim - 0.05) / np.maximum(0.22, soft)) * hole, (0.50, 0.44, 0.36), 0.75)
    return np.maximum(hole, chips)


def drilled(s, spot, rng, c):
    """PB: a hole cut with a core drill: small, circular, crisp, with a black seal and a bright
    collar."""
    rim, depth, soft = opening(s, spot, rng.uniform(0.29, 0.36), 1.0)
    collar = bell((rim - 0.22) / np.maximum(0.26, soft)) * s.dry
    s.paint(collar, (0.80, 0.77, 0.70), 0.30 + 0.55 * c)
    s.shine += collar * np.clip(depth, 0, 1) * 0.12
    seal = bell((rim - 0.50) / np.maximum(0.13, soft)) * s.dry
    s.paint(seal, DARK, 0.35 + 0.5 * c)
    return np.maximum(np.maximum(bore(s, rim, depth, soft, c), collar), seal)


def lateral_cut(s, spot, rng, c):
    """OS: the lining cut open over a lateral: a lens-shaped hole, a bright frayed liner edge,
    cutter grooves."""
    a, b = s.local(spot.z, spot.phi)
    frayed = 0.07 * s.noise("grain", rng.uniform(0, 99), 2)
    frayed = frayed + 0.08 * np.cos(7 * np.arctan2(b, a) + rng.uniform(0, 6))
    radius = rng.uniform(0.36, 0.44)
    rim, depth, soft = opening(s, spot, radius, 1.25)
    shift = rng.uniform(0.30, 0.50) * radius * rng.choice([-1, 1])
    phi, z = spot.phi + shift, spot.z - 0.1
    cut, _, _ = opening(s, Spot(phi, z, spot.joint), radius, 1.25, frayed)
    hole = bore(
        s, np.maximum(rim, cut), depth, soft, c
    )  # the liner bridges the rest of the lateral
    edge = bell((cut - 0.03) / np.maximum(0.14, soft)) * s.dry
    s.paint(edge, (0.93, 0.91, 0.84), 0.35 + 0.6 * c)
    dimple = np.clip(ramp(-rim, soft) - ramp(-cut, soft), 0, 1) * s.dry  # and sinks in there
    s.shade *= 1 - 0.30 * dimple
    for _ in range(4):
        t = rng.uniform(0, 2 * math.pi)
        at = phi + 1.0 * radius * math.cos(t), z + 1.2 * radius * math.sin(t)
        groove = s.seam(rng, *at, t + 0.8, 0.35, 0.03, 0.1)
        s.paint(groove, (0.25, 0.22, 0.18), 0.5 + 0.3 * c)
    return np.maximum(np.maximum(hole, edge), dimple)


def _soft_edge(s, width, keep=1.0):
    """What lies just outside the step's face, fading over a width in image units."""
    return np.clip(cv2.GaussianBlur(s.face, (0, 0), s.scale * width) - keep * s.face, 0, 1)


def shade_behind(s):
    """The end of the next pipe throws a shadow into the pipe it belongs to."""
    s.shade *= 1 - 0.9 * (_soft_edge(s, 1 / 32) * s.beyond)


def displaced_joint(s, spot, rng, c):
    """FS: the next pipe sits off axis: its cut end shows as a bright crescent with a dark outline,
    opposite a black gap as wide."""
    face = cv2.GaussianBlur(s.face, (0, 0), s.scale / 64)  # its edges are a worn end's
    s.paint(face, CRUST, 0.4 + 0.3 * c)
    s.boost *= 1 + face * (0.20 + 0.35 * c)
    rim = np.clip(cv2.GaussianBlur(face, (0, 0), s.scale / 28) - face, 0, 1) * (1 - s.beyond)
    s.shade *= 1 - np.clip(3 * rim, 0, 0.8)  # the near pipe's end, which the joint parts
    past = s.z - spot.joint
    reach = 0.12 + 0.9 * s.jump  # as the overhang grows, so does its shadow
    gap = s.beyond * ramp(reach - (past - s.jump), 0.25) * np.clip(6 * s.jump - 0.2, 0, 1)
    s.paint(gap, DARK, 0.75 + 0.2 * c)
    shade_behind(s)
    return np.maximum(s.face, gap) * s.dry


def shape_joint(spot, rng, c):
    angle, shift = rng.uniform(0, 2 * math.pi), rng.uniform(0.19, 0.23) + 0.11 * c
    if rng.random() < 0.6:
        angle = rng.choice([0, math.pi]) + 0.5 * rng.standard_normal()  # mostly settled: up or down
    return {"step": (spot.joint, 0.0, (shift * math.sin(angle), -shift * math.cos(angle)), 1.0)}


def intruding_seal(s, spot, rng, c):
    """IS: the joint's rubber ring has come loose: a black glossy cord hanging across the bore from
    the joint."""
    n = 22
    span = rng.uniform(1.3, 2.3)
    t = np.linspace(0, 1, n)
    phi = rng.uniform(-0.7, 0.7) + span * (t - 0.5)
    sag = rng.uniform(0.28, 0.40) + 0.12 * c
    lean = rng.uniform(0.7, 1.5)
    radius = 0.98 - sag * np.sin(math.pi * t**lean) + 0.03 * np.sin(9 * t + rng.uniform(0, 6))
    points = s.wall(phi, spot.joint + 0.05 * np.sin(5 * t), radius)
    width = rng.uniform(0.10, 0.15)
    cord = s.stroke(points, np.full(n, width))
    shadow = shifted(cord, s.scale / 40, s.scale / 24)
    s.shade *= 1 - 0.35 * shadow * (1 - cord)
    dark = 0.05 + 0.12 * (1 - c)
    s.cover(cord, (dark, dark, dark * 0.95), spot.joint)
    points[:, 1] -= 0.25 * width  # a highlight along the cord
    s.paint(s.stroke(points, np.full(n, 0.15 * width)), (0.42, 0.41, 0.38), 0.55)
    return cord


def transition(s, spot, rng, c):
    """OP: the pipe narrows through a smooth conical fitting: a broad, even, bright ring and a
    smaller bore."""
    s.boost *= 1 + s.face * (0.12 + 0.38 * c)
    tone = 1 + 0.05 * s.noise("cloud", rng.uniform(0, 99))
    s.paint(s.face, (0.64, 0.585, 0.50), 0.5 + 0.4 * c, tone)
    edge = _soft_edge(s, 1 / 40, 0.9)
    s.shade *= 1 - 0.8 * edge * s.beyond - 0.4 * edge * (1 - s.beyond)
    return s.face * s.dry


def shape_transition(spot, rng, c):
    radius = rng.uniform(0.64, 0.70) + 0.06 * (1 - c)
    drop = rng.uniform(-0.2, 0.9) * (0.97 - radius)  # crowns or inverts level
    return {"step": (spot.joint, rng.uniform(0.35, 0.6), (0.0, drop), radius)}


def construction_change(s, spot, rng, c):
    """OK: the pipe goes on as another one: other material, tone and bore beyond a rough ring of
    mortar."""
    ring = bell((s.z - spot.joint) / (0.16 + 0.05 * s.noise("cloud", rng.uniform(0, 99))))
    mortar = np.maximum(s.face, ring * (1 - s.beyond)) * s.dry
    grit = s.noise("stones", rng.uniform(0, 99), 3, 180.0)
    if rng.random() < 0.4:  # the old sewer is of brick
        course = s.phi * (24 / (2 * math.pi))
        brick = s.along / 0.42 + 0.5 * (np.floor(course) % 2)
        beds = ramp(np.abs(course % 1 - 0.5) - 0.40, 0.12)
        ends = ramp(np.abs(brick % 1 - 0.5) - 0.43, 0.10)
        s.paint(np.maximum(beds, ends) * s.beyond * (s.z < 5), CRUST, 0.35 + 0.4 * c)
    s.paint(mortar, GREY, 0.6 + 0.4 * c, np.clip(1.12 + 0.3 * grit, 0.3, 1.8))
    shade_behind(s)
    return np.maximum(mortar, s.beyond * s.dry * (s.z < spot.joint + 1.2))


def shape_change(spot, rng, c):
    radius = rng.uniform(0.80, 0.86) + 0.05 * (1 - c)
    return {"step": (spot.joint, 0.0, (0.0, rng.uniform(-0.5, 1.0) * (1 - radius)), radius)}
