"""The same conversion, with its rows sent to a dask cluster."""

from __future__ import annotations

import joblib
import pytest
from qct_sites import SiteFolder, dataset_bytes

from femur_nnunet.dataset_conversion.conversion_options import ConversionOptions
from femur_nnunet.dataset_conversion.convert import convert


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_dask_cluster_gives_the_same_dataset_byte_for_byte(tmp_path):
    distributed = pytest.importorskip("distributed")
    site = SiteFolder(tmp_path / "tulane", "tulane")
    site.add("T1")
    site.add("T2", kind=".mha")
    site.save()
    # Damaged, so that a failure too comes back from the cluster.
    (tmp_path / "tulane" / "images" / "T2_1.mha").write_bytes(b"no image")
    datasets, reports = {}, {}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False,
                                  dashboard_address=None) as cluster, distributed.Client(cluster):
        for name in ("here", "cluster"):
            steps = cluster.scheduler.transition_counter
            with joblib.parallel_config(backend="loky" if name == "here" else "dask"):
                summary = convert(ConversionOptions(
                    out=tmp_path / name, tulane=tmp_path / "tulane", key_seed=1, jobs=1 if name == "here" else 2,
                    quiet=True))
            # The scheduler moves a task through its states only where there is one.
            assert (cluster.scheduler.transition_counter > steps) == (name == "cluster")
            datasets[name] = dataset_bytes(summary.dataset_folder)
            reports[name] = [(line.case_id, line.status, line.reason) for line in summary.lines]
    assert datasets["cluster"] == datasets["here"]
    assert reports["cluster"] == reports["here"]
    assert {status for _, status, _ in reports["here"]} == {"converted", "failed"}
