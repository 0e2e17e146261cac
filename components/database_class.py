"""RDS instance classes as far as this stack must judge them: which can exist, and how much memory one has. Pure.

The families grow every year, so this refuses what is known to be wrong and lets a new family pass.
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Concepts.DBInstanceClass.Types.html
"""

import re
from typing import Final

# Their last PostgreSQL was 12 or older.
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Concepts.DBInstanceClass.Support.html
RETIRED_FAMILIES: Final = frozenset({"t1", "t2", "m1", "m2", "m3", "m4", "r3", "r4", "x1", "x1e", "cr1", "cv11"})
BURSTABLE_GIB: Final = {"micro": 1, "small": 2, "medium": 4, "large": 8, "xlarge": 16, "2xlarge": 32}
# GiB of a "large", by the letter of the family; an "xlarge" has twice that, an "8xlarge" sixteen times.
LARGE_GIB: Final = {"c": 4, "m": 8, "r": 16, "x": 32, "z": 16}
STEPS: Final = (1, 2, 4, 6, 8, 10, 12, 16, 18, 24, 32, 48)  # of "xlarge"
# Graviton 2 and 3 end at 16xlarge.
SMALL_GRAVITON: Final = re.compile(r"[mr][67]gd?")


def validate(instance_class: str) -> str:
    """Return `instance_class` if RDS could run PostgreSQL 13 or later on it; raise ValueError with the reason."""
    memory_gib(instance_class)
    return instance_class


def memory_gib(instance_class: str) -> int:
    """Return the memory of `instance_class` in GiB, nominal; raise ValueError when no such class can exist."""
    match = re.fullmatch(r"db\.([a-z]+\d+[a-z]*)\.([a-z0-9]+)", instance_class)
    if not match:
        raise ValueError("it is not of the form db.<family>.<size>")
    family, size = match.groups()
    if family in RETIRED_FAMILIES:
        raise ValueError(f"family {family} runs no PostgreSQL that this stack offers")
    if family[0] == "t":
        if size not in BURSTABLE_GIB:
            raise ValueError(f"family {family} has the sizes {', '.join(BURSTABLE_GIB)}, not {size}")
        return BURSTABLE_GIB[size]
    steps = re.fullmatch(r"(\d*)xlarge", size)
    if size != "large" and not (steps and int(steps[1] or 1) in STEPS):
        raise ValueError(f"family {family} has sizes from large upwards, not {size}")
    count = int(steps[1] or 1) if steps else 0
    if SMALL_GRAVITON.fullmatch(family) and count > 16:
        raise ValueError(f"family {family} ends at 16xlarge")
    return LARGE_GIB.get(family[0], LARGE_GIB["m"]) * (2 * count or 1)


def max_connections(instance_class: str) -> int:
    """Return how many connections PostgreSQL on RDS takes by default, a little less than it really is.

    RDS divides what is left of the memory for the engine (about two thirds on the smallest classes) by 9,531,392 bytes.
    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Limits.html#RDS_Limits.MaxConnections
    """
    return min(5000, memory_gib(instance_class) * 2**30 * 2 // 3 // 9_531_392)
