"""The inside of a sewer pipe as a camera on a crawler sees it: rays, wall, water, light. Knows no
defect.

World units are pipe radii: x right, y down, z along the pipe; `phi` is the clock angle on the wall
(0 crown, pi / 2 three o'clock, pi invert). Image coordinates run from -1 to 1, so that a scene is
the same at any size. Colours are albedos, RGB in 0..1. Until the camera records them, images are
planar, (3, h, w), which NumPy broadcasts eight times as fast. Masks are (h, w) in 0..1.
"""

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from lib.simulator.textures import TILE, sample

Array = np.ndarray
FAR = 30.0  # radii; nothing is seen beyond
DARK = (0.05, 0.045, 0.04)  # a void
CRUST = (0.80, 0.75, 0.62)  # lime, mortar, a broken edge
GREY = np.float32([0.60, 0.54, 0.445])  # as muted a beige as Sewer-ML's mean, (.523, .453, .345)
# Tint, mottling, grain, gloss. Materials differ by surface and hardly by colour, so that colour
# does not tell one video from another.
MATERIALS = {
    "concrete": ((0.99, 1.00, 1.01), 0.17, 0.13, 0.15),
    "clay": ((1.03, 0.99, 0.965), 0.15, 0.07, 0.55),
    "plastic": ((0.985, 1.005, 1.02), 0.09, 0.04, 0.90),
}


def ramp(x: Array, width: Array | float = 1.0) -> Array:
    """An anti-aliased step: 0 below -width / 2, 1 above width / 2, linear between."""
    return np.clip(x / width + 0.5, 0, 1)


def bell(x: Array) -> Array:
    """A smooth bump: 1 at 0, and 0 beyond |x| = 1. It is cheaper than a Gaussian, and it ends."""
    return np.square(np.clip(1 - np.square(x), 0, None))


def shifted(mask: Array, right: float, down: float) -> Array:
    """A mask moved by so many pixels, 0 where nothing moves in; for shadows and lips."""
    return cv2.warpAffine(mask, np.float32([[1, 0, right], [0, 1, down]]), mask.shape[::-1])


class View(NamedTuple):
    """The camera: its rotation in radians, the world units per image unit at depth 1, and where it
    is in the pipe."""

    pan: float
    tilt: float
    roll: float
    zoom: float
    x: float
    y: float


@dataclass
class Spot:
    """A place on the wall: clock angle, depth, and the depth of the frame's first joint."""

    phi: float
    z: float
    joint: float


@functools.lru_cache(maxsize=8)
def grid(size: tuple[int, int]) -> tuple[Array, Array]:
    """Image coordinates of pixel centres; the short side spans -1..1."""
    h, w = size
    y, x = np.mgrid[:h, :w].astype(np.float32)
    return (2 * x + 1 - w) / min(h, w), (2 * y + 1 - h) / min(h, w)


class Scene:
    """A frame in the making: the geometry of every pixel's ray, then the albedo, relief, light and
    shine that drawings change, then `expose`.

    step: (z, length, (x, y), radius): from depth z on, over a length, the pipe narrows to a radius
    about a new axis. squash: (clock angle, sideways, top, bottom): the pipe is two half ellipses,
    with these semi-axes across the clock angle, towards it and away from it.
    """

    def __init__(self, size: tuple[int, int], view: View, water: float, step=None, squash=None):
        self.size, self.water_y = size, 1 - 2 * water
        self.scale = min(size) / 2  # pixels per image unit
        self.zoom = view.zoom
        axes = (view.tilt, 0, 0), (0, view.pan, 0), (0, 0, view.roll)
        tilt, pan, roll = (cv2.Rodrigues(np.float32(axis))[0] for axis in axes)
        self.rotation = tilt @ pan @ roll  # camera to world
        x, y = grid(size)
        ray = [self.zoom * (r[0] * x + r[1] * y) + r[2] for r in self.rotation]
        self.slope = ray[0] / ray[2], ray[1] / ray[2]  # x and y gained per unit of z
        self.eye = np.float32([view.x, view.y, 0])
        zeros, ones = (functools.partial(new, size, np.float32) for new in (np.zeros, np.ones))
        self.relief = zeros()  # height above the wall, towards the axis
        self.shade, self.boost = ones(), ones()  # factors of the light: by shadows, by facing it
        self.shine = zeros()  # reflections of the lamp
        self.face = zeros()  # the step's face
        self.beyond = zeros()  # what is seen of the pipe behind the step
        self.jump = zeros()  # depth hidden by the near pipe's rim
        self.z = self._depth()
        if squash:
            self._squash(*squash)
        over_face = self._step(*step) if step else 0.0
        x, y = self.at(self.z)
        self.phi = np.arctan2(x, -y)
        self.along = self.z + over_face  # texture runs on over the face
        self.pixel = self.zoom / self.scale * self.z  # a pixel's size across the line of sight
        drop = (self.water_y - view.y) / np.maximum(self.slope[1], 1e-3)
        surface = ramp(self.z - drop, 0.04 * self.z) * (self.slope[1] > 0)
        self.water = surface if water else zeros()
        self.drop = np.minimum(drop, FAR)  # depth at which a ray meets the water
        self.dry = 1 - self.water

    def _squash(self, angle: float, sideways: float, top: float, bottom: float) -> None:
        """Make the pipe two half ellipses, which meet where neither is inside the other."""
        upper = self._depth(axes=(sideways, top), angle=angle)
        lower = self._depth(axes=(sideways, bottom), angle=angle)
        x, y = self.at(upper)
        is_upper = x * math.sin(angle) - y * math.cos(angle) > 0
        self.z = np.where(is_upper, upper, lower)

    def _step(self, z: float, length: float, centre: tuple[float, float], radius: float) -> Array:
        """Narrow the pipe; returns the extra length of wall over the step's face."""
        end = z + length
        x, y = self.at(end)
        r = np.hypot(x - centre[0], y - centre[1])
        past = self.z > z
        self.face = past * ramp(r - radius, 1.5 * self.zoom * end / self.scale)
        far = np.maximum(self._depth(centre, radius), end)
        self.beyond = past * (1 - self.face)
        self.jump = self.beyond * np.maximum(far - self.z, 0)
        inwards = np.clip((1 - np.hypot(*self.at(z))) / max(1 - radius, 0.05), 0, 1)
        self.z = np.where(past, np.where(r > radius, z + length * inwards, far), self.z)
        return past * (r > radius) * (1 - r) * 0.8

    def at(self, z: Array | float) -> tuple[Array, Array]:
        """World x, y where each ray crosses depth z."""
        return self.eye[0] + self.slope[0] * z, self.eye[1] + self.slope[1] * z

    def _depth(self, centre=(0.0, 0.0), radius=1.0, axes=(1.0, 1.0), angle=0.0) -> Array:
        """Depth at which each ray meets a cylinder along z. Its cross section is a circle, or the
        ellipse of these semi-axes across and towards a clock angle."""
        sx, sy = self.slope
        ox, oy = self.eye[0] - centre[0], self.eye[1] - centre[1]
        if axes != (1.0, 1.0):  # the scaled frame in which the ellipse is a circle
            cos, sin = math.cos(angle), math.sin(angle)
            sx, sy = (sx * cos + sy * sin) / axes[0], (sy * cos - sx * sin) / axes[1]
            ox, oy = (ox * cos + oy * sin) / axes[0], (oy * cos - ox * sin) / axes[1]
        a = np.maximum(sx * sx + sy * sy, 1e-3)
        b = ox * sx + oy * sy
        root = np.sqrt(np.maximum(b * b - a * (ox * ox + oy * oy - radius * radius), 0))
        return np.minimum((root - b) / a, FAR)

    def project(self, points: Array) -> tuple[Array, Array]:
        """World points (n, 3) to pixels (n, 2) and depths (n,)."""
        v = (points - self.eye) @ self.rotation
        depth = np.maximum(v[:, 2], 0.15)
        h, w = self.size
        middle = np.float32([w - 1, h - 1]) / 2
        return v[:, :2] / (self.zoom * depth[:, None]) * self.scale + middle, depth

    def local(self, z: float, phi: float) -> tuple[Array, Array]:
        """Wall coordinates about a point, in radii: along the arc, in depth."""
        a = self.phi - np.float32(phi)
        turns = np.rint(a * np.float32(0.5 / math.pi))
        return a - np.float32(2 * math.pi) * turns, self.z - np.float32(z)

    def noise(self, kind: str, shift: float, around: int = 1, along: float = 60.0) -> Array:
        """A noise tile wrapped on the wall, `around` times; `along` texels per radius of depth."""
        u = self.phi * (around * TILE / (2 * math.pi)) + shift
        return sample(kind, u, self.along * along + 7 * shift)

    def paint(self, mask, colour, alpha=1.0, tone=1.0):
        """Blend a colour (albedo) into the wall; `tone` (h, w) is its brightness."""
        goal = np.float32(colour).reshape(3, 1, 1) * tone
        self.albedo += (mask * np.float32(alpha)) * (goal - self.albedo)

    def cover(self, mask, colour, depth, light=1.0, tone=1.0):
        """Blend in something in front of the wall, at its own depth: it hides relief, gloss, shade
        and water."""
        self.paint(mask, colour, 1.0, tone)
        keep = 1 - mask
        self.z = self.z * keep + depth * mask
        self.relief *= keep
        self.shade = self.shade * keep + light * mask
        self.shine *= keep
        self.boost = self.boost * keep + 1.2 * mask

    def stroke(self, points: Array, widths: Array) -> Array:
        """Mask of ribbons through world points (..., n, 3) with widths (n,). Where a ribbon is
        thinner than a pixel, it is drawn fainter."""
        n = points.shape[-2]
        p, depth = self.project(points.reshape(-1, 3))
        p = p.reshape(-1, n, 2)
        half = widths / (self.zoom * depth.reshape(-1, n)) * self.scale / 2
        t = np.empty_like(p)
        t[:, 1:-1], t[:, 0], t[:, -1] = p[:, 2:] - p[:, :-2], p[:, 1] - p[:, 0], p[:, -1] - p[:, -2]
        t *= (np.maximum(half, 0.3) / (np.hypot(t[..., 0], t[..., 1]) + 1e-6))[..., None]
        side = np.stack([-t[..., 1], t[..., 0]], -1)
        left, right = (np.clip(16 * edge, -32000, 32000) for edge in (p + side, p - side))
        quads = np.stack([left[:, :-1], left[:, 1:], right[:, 1:], right[:, :-1]], 2)
        canvas = np.zeros(self.size, np.uint8)
        for quad in np.rint(quads.reshape(-1, 4, 2)).astype(np.int32):  # 4 fractional bits
            cv2.fillConvexPoly(canvas, quad, 255, cv2.LINE_AA, 4)
        return canvas * np.float32(min(1.0, 0.35 + half.mean()) / 255)

    def wall(self, phi, z, radius=1.0) -> Array:
        """World points (n, 3) on the wall."""
        phi, z = np.broadcast_arrays(np.float32(phi), np.float32(z))
        return np.stack([radius * np.sin(phi), -radius * np.cos(phi), z], -1).astype(np.float32)

    def seam(self, rng, phi, z, heading, length, width, wobble=0.17) -> Array:
        """Mask of a tapering, wandering line on the wall, of `heading` 0 round the pipe and pi / 2
        along it."""
        n = 14
        turn = np.zeros(n)
        for i in range(1, n):  # each turn resembles the last
            turn[i] = 0.5 * turn[i - 1] + wobble * rng.standard_normal()
        turn = heading + np.cumsum(turn)
        z = np.maximum(z + np.cumsum(np.sin(turn)) * length / n, 0.55)
        points = self.wall(phi + np.cumsum(np.cos(turn)) * length / n, z)
        return self.stroke(points, width * np.sqrt(np.linspace(1, 0.12, n))) * self.dry

    def surface(self, material: str, shift: float, amount: float = 1.0) -> Array:
        """Albedo of a wall material (3, h, w)."""
        tint, mottle, grain, _ = MATERIALS[material]
        fade = np.clip(1.4 / self.z, 0, 1)  # grain finer than a pixel averages out
        stains = amount * mottle * self.noise("cloud", shift)
        tone = 1 + stains + grain * fade * self.noise("grain", shift, 2, 90.0)
        return np.clip(tone, 0.3, 1.8) * (GREY * np.float32(tint)).reshape(3, 1, 1)

    def rings(self, first: float, spacing: float, width: float, depth: float, lip: float) -> None:
        """Three pipe joints, the first at a depth: dark gaps with a lighter lip, fainter with
        distance."""
        at = first + spacing * np.clip(np.rint((self.z - first) * np.float32(1 / spacing)), 0, 2)
        least = 0.8 * self.zoom / self.scale * at * at  # a pixel
        gap = (self.z - at) * 0.6 / np.maximum(width, least)
        self.albedo *= 1 - 1.5 / (0.5 + at) * (depth * bell(gap) - lip * bell(gap + 1.1))

    def pour(self, colour: Array, shift: float, ripple: float, foam: float) -> None:
        """Water in the invert: murky, rippled, with the wall's light in it and perhaps rafts of
        foam."""
        x = self.eye[0] + self.slope[0] * self.drop
        waves = sample("cloud", x * 110 + shift, self.drop * 30 + shift)  # drawn out along the flow
        cloud = sample("cloud", x * 60 + shift, self.drop * 45 - shift)
        calm = np.clip(2 / (1 + self.drop), 0, 1)
        self.cover(self.water, colour, self.drop)
        self.shade *= 1 + self.water * calm * np.clip(ripple * waves, -0.7, 0.9)
        self.shine += self.water * calm * np.clip(waves - 1.4 + ripple, 0, 1) * 0.4
        raft = self.water * ramp(cloud - 1.5, 0.5) * foam
        self.paint(raft, (0.72, 0.68, 0.58), 0.8)

    def expose(self, lamp: float, exposure: float, fall: float, gloss: float) -> Array:
        """Linear RGB (3, h, w) in the light of the camera's lamp: it falls off with depth, shows
        relief, is brighter towards the clock angle `lamp`, and shines."""
        x, y = grid(self.size)
        light = self.boost * self.shade
        if self.relief.any():
            gy, gx = np.gradient(self.relief, 1 / self.scale)
            axis = np.float32([0, 0, 1]) @ self.rotation  # towards the pipe's vanishing point
            rx, ry = (v - a / (axis[2] * self.zoom) for v, a in zip((x, y), axis[:2], strict=True))
            outwards = (gx * rx + gy * ry) / np.maximum(np.hypot(rx, ry), 0.05)
            slope = outwards + 0.5 * (gx * math.sin(lamp) - gy * math.cos(lamp))
            light *= np.clip(1 - 0.55 * slope, 0.3, 1.9)
        far = self.z * np.float32(1 / fall)
        lobe = 1 + 0.14 * np.cos(2 * (self.phi - np.float32(lamp)))
        light *= exposure * lobe / (1 + far * np.sqrt(far))
        vignette = 1 - 0.10 * (x * x + y * y)
        return (self.albedo * light + self.shine * (0.35 + gloss)) * vignette
