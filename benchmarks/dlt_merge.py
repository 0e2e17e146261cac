"""One merge by dlt of a CSV file into PostgreSQL, the quickest way that dlt has: Arrow tables, loaded by COPY.

Runs in an environment of its own (benchmarks/requirements.txt). Prints the seconds that the run took, imports not
counted.
"""

import sys
import time

import dlt
from pyarrow import csv


@dlt.resource(name="by_dlt", primary_key="dol_vehicle_id", write_disposition="merge")
def vehicles(path: str):  # type: ignore[no-untyped-def]
    """Yield the file as one Arrow table. https://dlthub.com/docs/dlt-ecosystem/verified-sources/arrow-pandas"""
    yield csv.read_csv(path)


# dlt insists on a host and a password, also where a socket (in the URL's query) needs neither.
url, source = sys.argv[1].replace("@/", ":unused@localhost/"), sys.argv[2]
pipeline = dlt.pipeline("benchmark", destination=dlt.destinations.postgres(url), dataset_name="by_dlt")
start = time.perf_counter()
pipeline.run(vehicles(source), loader_file_format="csv")
sys.stdout.write(f"{time.perf_counter() - start}\n")
