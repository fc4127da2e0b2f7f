"""The landscapes of the demo's photos, as data.

Knows what there is to see; not how it is painted.
"""

from dataclasses import dataclass

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Ridge:
    """One chain of hills, from the horizon towards the viewer."""

    height: float
    """Where its crest lies on average: 0 is the top of the picture, 1 the bottom."""
    swing: float
    """How far the crest rises and falls around that."""
    shadow: Colour
    light: Colour
    roughness: float = 0.5
    """0 is a dune, 1 is broken rock."""
    pines: int = 0
    snow: float = 0.0
    """Share of the ridge, from the crest down, that lies under snow."""


@dataclass(frozen=True, slots=True)
class Sun:
    """A light in the sky; the moon is one too."""

    x: float
    y: float
    radius: float
    colour: Colour
    glow: float


@dataclass(frozen=True, slots=True)
class Scene:
    """What to paint, back to front."""

    name: str
    sky: tuple[Colour, ...]
    ridges: tuple[Ridge, ...]
    sun: Sun
    clouds: float = 0.0
    cloud_colour: Colour = (255, 255, 255)
    stars: int = 0
    water: float | None = None
    """Height of the waterline that mirrors everything above it."""


SCENES: tuple[Scene, ...] = (
    Scene(
        name="dawn lake",
        sky=((58, 74, 122), (136, 120, 160), (236, 160, 140), (255, 214, 160), (255, 232, 190)),
        sun=Sun(0.62, 0.42, 0.018, (255, 244, 214), 0.5),
        clouds=0.55,
        cloud_colour=(255, 190, 170),
        ridges=(
            Ridge(0.44, 0.07, (128, 112, 146), (170, 148, 168), 0.75),
            Ridge(0.50, 0.05, (84, 84, 116), (120, 108, 132), 0.6),
            Ridge(0.55, 0.03, (34, 44, 62), (58, 64, 78), 0.5, pines=240),
        ),
        water=0.60,
    ),
    Scene(
        name="summer hills",
        sky=((38, 98, 178), (84, 148, 214), (150, 196, 234), (206, 228, 240)),
        sun=Sun(0.2, 0.12, 0.02, (255, 252, 236), 0.45),
        clouds=0.9,
        ridges=(
            Ridge(0.46, 0.05, (112, 146, 168), (142, 170, 178), 0.5),
            Ridge(0.53, 0.05, (74, 116, 96), (118, 152, 104), 0.4),
            Ridge(0.62, 0.05, (58, 104, 52), (128, 164, 72), 0.3, pines=60),
            Ridge(0.75, 0.06, (66, 100, 34), (156, 178, 78), 0.25),
        ),
    ),
    Scene(
        name="dunes",
        sky=((84, 128, 176), (150, 176, 196), (226, 206, 176), (246, 220, 176)),
        sun=Sun(0.75, 0.3, 0.022, (255, 246, 216), 0.7),
        clouds=0.25,
        cloud_colour=(255, 236, 214),
        ridges=(
            Ridge(0.50, 0.03, (196, 150, 110), (222, 178, 132), 0.2),
            Ridge(0.57, 0.05, (168, 108, 66), (228, 168, 104), 0.1),
            Ridge(0.68, 0.08, (146, 84, 44), (236, 170, 96), 0.08),
            Ridge(0.85, 0.08, (120, 66, 34), (226, 154, 82), 0.06),
        ),
    ),
    Scene(
        name="alpine noon",
        sky=((22, 70, 146), (64, 124, 196), (140, 186, 226), (198, 220, 236)),
        sun=Sun(0.85, 0.08, 0.018, (255, 255, 250), 0.35),
        clouds=0.6,
        ridges=(
            Ridge(0.40, 0.14, (92, 108, 140), (150, 164, 186), 0.95, snow=0.75),
            Ridge(0.50, 0.09, (60, 72, 92), (112, 118, 124), 0.9, snow=0.25),
            Ridge(0.62, 0.05, (38, 66, 48), (78, 104, 62), 0.5, pines=260),
        ),
        water=0.72,
    ),
    Scene(
        name="fog",
        sky=((176, 186, 190), (198, 206, 208), (218, 222, 220), (230, 230, 224)),
        sun=Sun(0.45, 0.3, 0.03, (255, 252, 240), 0.35),
        clouds=0.3,
        cloud_colour=(236, 238, 238),
        ridges=(
            Ridge(0.42, 0.06, (182, 192, 194), (200, 208, 208), 0.6),
            Ridge(0.50, 0.06, (150, 164, 166), (184, 194, 192), 0.6, pines=120),
            Ridge(0.60, 0.06, (104, 122, 120), (158, 170, 164), 0.5, pines=120),
            Ridge(0.74, 0.05, (52, 70, 64), (116, 130, 118), 0.5, pines=90),
        ),
    ),
    Scene(
        name="evening sea",
        sky=((44, 40, 88), (122, 62, 110), (222, 96, 84), (252, 164, 84), (255, 214, 130)),
        sun=Sun(0.5, 0.56, 0.035, (255, 236, 176), 0.85),
        clouds=0.8,
        cloud_colour=(120, 60, 96),
        ridges=(Ridge(0.615, 0.02, (84, 48, 82), (120, 70, 90), 0.5),),
        water=0.63,
    ),
    Scene(
        name="dusk pines",
        sky=((24, 26, 62), (62, 50, 102), (142, 82, 120), (226, 132, 118)),
        sun=Sun(0.3, 0.22, 0.024, (246, 240, 226), 0.25),
        clouds=0.5,
        cloud_colour=(168, 100, 130),
        stars=160,
        ridges=(
            Ridge(0.48, 0.08, (76, 56, 98), (104, 72, 110), 0.8),
            Ridge(0.57, 0.05, (42, 36, 68), (64, 50, 80), 0.6),
            Ridge(0.68, 0.05, (16, 18, 34), (32, 30, 48), 0.5, pines=160),
            Ridge(0.88, 0.03, (6, 8, 16), (16, 16, 26), 0.5, pines=40),
        ),
    ),
    Scene(
        name="moonlight",
        sky=((6, 10, 28), (14, 24, 56), (30, 48, 86), (70, 92, 122)),
        sun=Sun(0.68, 0.18, 0.026, (232, 238, 250), 0.3),
        clouds=0.35,
        cloud_colour=(70, 88, 122),
        stars=900,
        ridges=(
            Ridge(0.46, 0.10, (24, 36, 62), (70, 88, 118), 0.95, snow=0.6),
            Ridge(0.56, 0.05, (12, 20, 38), (26, 38, 60), 0.6, pines=200),
        ),
        water=0.64,
    ),
)
