"""The real worker with a job that only pretends: what it does is named by ``Job.method``."""

from __future__ import annotations

import os
import signal
import sys
import time

sys.path.append(sys.argv[1])

from cloud_removal_plugin.engine.job import Result
from cloud_removal_plugin.engine.worker import main
from cloud_removal_plugin.errors import Cancelled, GridError
from cloud_removal_plugin.raster import parts


def run(job, report, cancelled, log):
    """Do what ``job.method`` says; an unfinished file lies beside the target meanwhile."""
    part = parts.part_path(job.output)
    with open(part, "w") as file:
        file.write("unfinished")
    report(0.25, "Pretending")
    log("info", f"pid {os.getpid()} in {os.getcwd()} with {os.environ.get('GDAL_DATA')}")
    if job.method == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if job.method == "crash":
        print("about to crash", file=sys.stderr, flush=True)
        os.abort()
    if job.method == "leave":
        os._exit(3)
    if job.method == "stuck":
        time.sleep(60)
    if job.method == "slow":
        while not cancelled():
            time.sleep(0.02)
        os.remove(part)
        raise Cancelled
    os.remove(part)
    if job.method == "grid":
        raise GridError("Layer 'a.tif' ist schräg.")
    if job.method == "bug":
        raise KeyError("nothing")
    if job.method == "memory":
        raise MemoryError
    print("a library prints")
    os.write(1, b"a C library prints\n")
    report(1.0, "Done")
    return Result(output=job.output, cloud_share=0.5, warnings=("Etwas ist über.",), method_used=job.method)


sys.exit(main(run, idle_s=float(sys.argv[2])))
