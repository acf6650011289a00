"""One drawing for each of the 17 Sewer-ML classes.

`DRAW[class](s, spot, rng, c)` paints a defect into the scene s and returns its mask (h, w). `spot`
is a place on the wall with the depth of the frame's joint, c in 0..1 the contrast (1: an easy
example). FS, DE, OP and OK bend the pipe itself: `SHAPE[class](spot, rng, c)` gives the scene's
geometry first. The drawings' docstrings say what an engineer sees. Lengths are in pipe radii,
angles in radians; a drawing spans 15 to 60 pixels of 96.
"""

from lib.simulator import damage, junctions

SHAPE = {
    "DE": damage.shape_deformation,
    "FS": junctions.shape_joint,
    "OP": junctions.shape_transition,
    "OK": junctions.shape_change,
}
DRAW = {  # in painting order: the pipe, its wall, then what stands in front of it
    "OK": junctions.construction_change,
    "OP": junctions.transition,
    "DE": damage.deformation,
    "FS": junctions.displaced_joint,
    "OB": damage.surface_damage,
    "PF": damage.production_error,
    "GR": junctions.branch,
    "PH": junctions.chiselled,
    "PB": junctions.drilled,
    "OS": junctions.lateral_cut,
    "RB": damage.cracks,
    "BE": damage.attached_deposits,
    "IN": damage.infiltration,
    "AF": damage.settled_deposits,
    "FO": damage.obstacle,
    "RO": damage.roots,
    "IS": junctions.intruding_seal,
}
IN_FRONT = ("AF", "FO", "RO", "IS")  # these stand in the water or before it
