"""One extract in a process of its own, into a folder: prints seconds, rows and peak memory in bytes as JSON."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import extract
from benchmarks.data import FolderS3
from benchmarks.memory import peak_memory
from evdata.dataset import DATASET
from evdata.raw_store import RawStore
from evdata.socrata import Socrata

url, folder, part_rows = sys.argv[1:]
client: Any = FolderS3(Path(folder))
start = time.perf_counter()
answer = extract.extract(
    Socrata(url, DATASET.dataset_id, budget=lambda: 600),
    RawStore("benchmark", client=client),
    DATASET,
    part_rows=int(part_rows),
    max_age_days=100_000,
    force=True,
)
seconds = time.perf_counter() - start
sys.stdout.write(json.dumps({"seconds": seconds, "rows": answer.rows, "memory": peak_memory()}) + "\n")
