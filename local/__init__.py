"""The whole pipeline on one machine: the Pulumi program on moto, the shipped archives, a real PostgreSQL."""

import sys
from pathlib import Path

# The functions' own modules, `evdata` and the rest, as Lambda has them: at the root.
_HANDLERS = str(Path(__file__).resolve().parent.parent / "handlers")
if _HANDLERS not in sys.path:
    sys.path.append(_HANDLERS)
