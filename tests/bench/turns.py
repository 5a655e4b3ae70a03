"""What the programs that compare this library with others by turns have in common."""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

# With glibc's defaults PyTorch gives large blocks back to the system and pays for their pages in every step.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "17179869184", "MALLOC_TOP_PAD_": "1073741824"}


def set_allocator():
    """Starts the program once more with these settings, which glibc reads at the start."""
    if any(os.environ.get(key) != value for key, value in ALLOCATOR.items()):
        os.environ.update(ALLOCATOR)
        os.execv(sys.executable, [sys.executable] + sys.argv)


def best_seconds(run, seconds):
    """The best of the runs that begin within this time, after one that does not count."""
    run()
    best, start = None, time.perf_counter()
    while best is None or time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        run()
        took = time.perf_counter() - begin
        best = took if best is None else min(best, took)
    return best


def our_rows(bench, name, *options):
    """The rows of that name that diffc-bench measures."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        subprocess.run([bench, "--filter", name, *map(str, options), "--json", file.name], check=True,
                       stdout=subprocess.DEVNULL)
        return [row for row in json.load(file) if row["name"] == name]


def spread(ratios):
    """Of the rounds: for print and for the JSON."""
    median, least, most = statistics.median(ratios), min(ratios), max(ratios)
    return f"{median:.2f} ({least:.2f} to {most:.2f})", {"median_ratio": median, "least": least, "most": most}


def save(path, results):
    if path:
        with open(path, "w") as file:
            json.dump(results, file, indent=1)
