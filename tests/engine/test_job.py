"""Jobs and results survive the trip through JSON, and refuse what no run could do."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_removal_plugin.engine.job import DEVICES, KINDS, Job, Result
from cloud_removal_plugin.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
JOB = Job("restore", "in.tif", "out.tif")

numbers = st.floats(allow_nan=False, allow_infinity=False)
paths = st.text(min_size=1, max_size=20)


@settings(max_examples=50, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    path=paths,
    others=st.lists(paths, max_size=3),
    extent=st.none() | st.tuples(numbers, numbers, numbers, numbers),
    scale=st.none() | numbers,
    device=st.sampled_from(DEVICES),
    seed=st.integers(0, 2**31),
)
def test_job_round_trip(kind, path, others, extent, scale, device, seed):
    job = Job(
        kind, path, path + "x", tuple(others), other_masks=tuple("" for _ in others), extent=extent,
        reflectance_scale=scale, device=device, seed=seed, products=(path,),
    )  # fmt: skip
    text = job.to_json()
    assert "\n" not in text
    assert Job.from_json(text) == job


def test_job_lists_what_it_reads_and_writes():
    job = replace(JOB, other_dates=("a", "b"), other_masks=("", "m"), radar="r", cloud_mask="c", clouds="k")
    assert job.inputs == ("in.tif", "a", "b", "r", "c", "m")
    assert job.outputs == ("out.tif", "k")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "paint"}, "kind 'paint'"),
        ({"device": "tpu"}, "device 'tpu'"),
        ({"input": ""}, "input raster"),
        ({"output": ""}, "output raster"),
        ({"seed": -1}, "'seed' is -1"),
        ({"memory_mb": -5}, "'memory_mb' is -5"),
        ({"other_masks": ["m"]}, r"other masks \(1\) is not that of other dates \(0\)"),
        ({"colour": "red", "mood": 1}, "unknown keys: colour, mood"),
        ({"input": 5}, "'input' of the job cannot be 5"),
        ({"seed": True}, "'seed' of the job cannot be true"),
        ({"seed": 1.5}, "'seed' of the job cannot be 1.5"),
        ({"extent": [1, 2, 3]}, "'extent'"),
        ({"extent": [1, 2, 3, None]}, "'extent'"),
        ({"other_dates": "a.tif"}, "'other_dates'"),
        ({"threshold": "high"}, "'threshold'"),
        ({"threshold": 50}, "'threshold' is 50; it is a probability from 0 to 1"),
    ],
)
def test_job_refuses_with_a_sentence(change, sentence):
    raw = {**json.loads(JOB.to_json()), **change}
    with pytest.raises(InputError, match=sentence):
        Job.from_json(json.dumps(raw))


@pytest.mark.parametrize(("text", "sentence"), [("{", "not valid JSON"), ("[]", "JSON object"), ("{}", "lacks: kind")])
def test_job_refuses_other_texts(text, sentence):
    with pytest.raises(InputError, match=sentence):
        Job.from_json(text)


def test_defaults_need_not_be_told():
    assert Job.from_json('{"kind": "restore", "input": "in.tif", "output": "out.tif"}') == JOB


def test_result_round_trip_with_numpy_numbers_and_unknown_error():
    result = Result("o.tif", cloud_share=np.float32(0.25), expected_rmse=float("nan"), warnings=("Ü",))
    back = Result.from_json(result.to_json())
    assert back.cloud_share == 0.25
    assert back.expected_rmse is None
    assert back.warnings == ("Ü",)


def test_job_and_launch_import_the_standard_library_alone():
    code = (
        "import sys; before = set(sys.modules); sys.path.append(sys.argv[1]); "
        "import cloud_removal_plugin.engine.launch, cloud_removal_plugin.engine.job; "
        "new = {name.split('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(new - sys.stdlib_module_names - {'cloud_removal_plugin'}))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code, str(ROOT)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
