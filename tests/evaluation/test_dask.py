"""The same evaluation, with joblib's jobs sent to a dask cluster."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
from evaluation_cohort import Cohort
from shapes import block

from femur_nnunet.evaluation.evaluate import evaluate
from femur_nnunet.evaluation.options import EvaluationOptions, StatisticsOptions


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_dask_cluster_gives_the_same_tables_byte_for_byte(tmp_path):
    distributed = pytest.importorskip("distributed")
    mask = block((8, 10, 12), (1, 2, 2), (6, 7, 7))
    cohort = Cohort(tmp_path)
    for number, site in enumerate(("tulane", "tulane", "rochester", "rochester")):
        cohort.add(f"{site}_{number:08x}_v01_l", mask, np.roll(mask, number, 2))
    tables = {}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False,
                                  dashboard_address=None) as cluster, distributed.Client(cluster):
        for name, backend in (("here", "sequential"), ("cluster", "dask")):
            steps = cluster.scheduler.transition_counter
            with joblib.parallel_config(backend=backend):
                summary = evaluate(EvaluationOptions(
                    cohort.predictions, cohort.references, cohort.scans, tmp_path / name, jobs=2, quiet=True,
                    statistics=StatisticsOptions(resamples=20)))
            # The scheduler moves a task through its states only where there is one.
            assert (cluster.scheduler.transition_counter > steps) == (backend == "dask")
            tables[name] = {path.name: path.read_bytes() for path in summary.files.values()}
    assert tables["cluster"] == tables["here"]
