"""Groups of channels that must be kept or removed together, from the config, without Keras."""

from surgery.structure.families import Families, families_of
from surgery.structure.labels import Cut, Edit, Labels
from surgery.structure.walking import Trace, traced

__all__ = ["Cut", "Edit", "Families", "Labels", "Trace", "families_of", "traced"]
