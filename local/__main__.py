"""`python -m local`."""

import gc
import os

from local import surroundings
from local.cli import main

if __name__ == "__main__":
    surroundings.settle()
    # A short-lived process that imports a great deal: looking for garbage all the while takes a tenth of the time.
    gc.set_threshold(100_000, 50, 100)
    code = main()
    surroundings.flush()
    # All that was started is stopped by now; taking Pulumi's and moto's modules down one by one takes two seconds.
    os._exit(code)
