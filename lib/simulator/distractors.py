"""Harmless distractors, drawn in every frame, so that a detector cannot go by "something is
there"."""

import numpy as np

from lib.simulator.pipe import Scene, bell, ramp


def scatter(s: Scene, rng: np.random.Generator, joint: float) -> None:
    """Draw one to four stains, drips, scratches, soft shadows, blots, highlights or films."""
    uniform = rng.uniform
    for _ in range(rng.integers(1, 5)):
        phi, z = uniform(-2.2, 2.2), uniform(1.0, 2.4)
        a, b = s.local(z, phi)
        kind = rng.integers(7)
        if kind == 0:  # stain, dark or pale
            oval = np.square(a / uniform(0.3, 0.8)) + np.square(b / uniform(0.3, 0.8))
            edge = 1 - oval + 0.5 * s.noise("cloud", uniform(0, 99), 2)
            colour = ((0.30, 0.25, 0.18), (0.74, 0.69, 0.58), (0.42, 0.33, 0.22))[rng.integers(3)]
            s.paint(ramp(edge - 0.2, uniform(0.3, 0.9)), colour, uniform(0.25, 0.7))
        elif kind == 1:  # dried drips below the joint
            side = 1 if phi >= 0 else -1
            lane = bell((s.z - joint - 0.1) / 0.22 + 0.3 * s.noise("cloud", uniform(0, 99)))
            colour = ((0.34, 0.29, 0.21), (0.76, 0.72, 0.63))[rng.integers(2)]
            below = lane * ramp(a * side, 0.4) * ramp(1.2 - np.abs(a), 0.5)
            s.paint(below, colour, uniform(0.25, 0.6))
        elif kind == 2:  # scratch or mould line: straight, of even width, along the pipe
            n = 8
            around = phi + np.linspace(0, uniform(-0.05, 0.05), n)
            points = s.wall(around, np.linspace(0.7, uniform(1.6, 4), n))
            colour = ((0.2, 0.17, 0.13), (0.8, 0.76, 0.66))[rng.integers(2)]
            s.paint(s.stroke(points, np.full(n, 0.025)), colour, uniform(0.2, 0.6))
        elif kind == 3:  # shadow
            strength = uniform(0.25, 0.65)
            s.shade *= 1 - strength * bell(np.hypot(a, b / 1.3) / uniform(0.35, 0.7))
        elif kind == 4:  # blot of tar or soot: as dark as a hole, but flat
            e = np.hypot(a, b / 1.2) / uniform(0.12, 0.32)
            e = e + 0.15 * s.noise("cloud", uniform(0, 99), 2)
            s.paint(ramp(1 - e, uniform(0.3, 0.7)), (0.15, 0.125, 0.10), uniform(0.35, 0.9))
        elif kind == 5:  # wet highlight
            e = np.hypot(a / uniform(0.05, 0.25), b / uniform(0.2, 0.5))
            strength = uniform(0.15, 0.5)
            s.shine += strength * bell(e + 0.2 * s.noise("stones", uniform(0, 99), 2))
        else:  # dark film above the water
            low = np.abs(s.phi) - uniform(1.7, 2.3) + 0.1 * s.noise("cloud", uniform(0, 99))
            s.paint(ramp(low, 0.3), (0.33, 0.28, 0.20), uniform(0.3, 0.7))
