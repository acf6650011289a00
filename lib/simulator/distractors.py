"""What lies about in any sewer and is no defect, so that a detector cannot go by "something is
there"."""

import numpy as np

from lib.simulator.pipe import Scene, bell, ramp


def scatter(s: Scene, rng, joint):
    """What is in frames with and without defects and is none: stains, drips, hair lines, soft
    shadows, highlights."""
    for _ in range(rng.integers(1, 5)):
        phi, z = rng.uniform(-2.2, 2.2), rng.uniform(1.0, 2.4)
        a, b = s.local(z, phi)
        kind = rng.integers(7)
        if kind == 0:  # stain, dark or pale
            oval = np.square(a / rng.uniform(0.3, 0.8)) + np.square(b / rng.uniform(0.3, 0.8))
            edge = 1 - oval + 0.5 * s.noise("cloud", rng.uniform(0, 99), 2)
            colour = ((0.30, 0.25, 0.18), (0.74, 0.69, 0.58), (0.42, 0.33, 0.22))[rng.integers(3)]
            s.paint(ramp(edge - 0.2, rng.uniform(0.3, 0.9)), colour, rng.uniform(0.25, 0.7))
        elif kind == 1:  # dried drips below the joint
            side = 1 if phi >= 0 else -1
            lane = bell((s.z - joint - 0.1) / 0.22 + 0.3 * s.noise("cloud", rng.uniform(0, 99)))
            colour = ((0.34, 0.29, 0.21), (0.76, 0.72, 0.63))[rng.integers(2)]
            s.paint(
                lane * ramp(a * side, 0.4) * ramp(1.2 - np.abs(a), 0.5),
                colour,
                rng.uniform(0.25, 0.6),
            )
        elif (
            kind == 2
        ):  # scratch of the crawler or a mould line: straight, of even width, along the pipe
            n = 8
            p = s.wall(
                phi + np.linspace(0, rng.uniform(-0.05, 0.05), n),
                np.linspace(0.7, rng.uniform(1.6, 4), n),
            )
            colour = ((0.2, 0.17, 0.13), (0.8, 0.76, 0.66))[rng.integers(2)]
            s.paint(s.stroke(p, np.full(n, 0.025)), colour, rng.uniform(0.2, 0.6))
        elif kind == 3:  # shadow
            s.shade *= 1 - rng.uniform(0.25, 0.65) * bell(
                np.hypot(a, b / 1.3) / rng.uniform(0.35, 0.7)
            )
        elif kind == 4:  # blot of tar or soot: as dark as a hole, but flat
            e = np.hypot(a, b / 1.2) / rng.uniform(0.12, 0.32) + 0.15 * s.noise(
                "cloud", rng.uniform(0, 99), 2
            )
            s.paint(ramp(1 - e, rng.uniform(0.3, 0.7)), (0.15, 0.125, 0.10), rng.uniform(0.35, 0.9))
        elif kind == 5:  # wet highlight
            e = np.hypot(a / rng.uniform(0.05, 0.25), b / rng.uniform(0.2, 0.5))
            s.shine += rng.uniform(0.15, 0.5) * bell(
                e + 0.2 * s.noise("stones", rng.uniform(0, 99), 2)
            )
        else:  # dark film above the water
            low = np.abs(s.phi) - rng.uniform(1.7, 2.3) + 0.1 * s.noise("cloud", rng.uniform(0, 99))
            s.paint(ramp(low, 0.3), (0.33, 0.28, 0.20), rng.uniform(0.3, 0.7))
