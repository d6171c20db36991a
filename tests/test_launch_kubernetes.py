"""Manifests for Kubernetes: against the published schemas of what reads them, and as the pods of two hosts run them."""

import json
import os
import re
from pathlib import Path

import msgspec
import pytest
import yaml

from collbench.collectives.errors import UsageError
from collbench.launch.launchers import open_launcher
from collbench.launch.pod_needs import PodNeeds
from collbench.launch.presets import PRESETS

KINDS = {"trainjob": "TrainJob", "jobset": "JobSet", "pytorchjob": "PyTorchJob", "mpijob": "MPIJob"}
MPI_CRD = "COLLBENCH_MPI_OPERATOR_CRD"       # a copy of deploy/v2beta1/mpi-operator.yaml of kubeflow/mpi-operator
QUEUED = PodNeeds(namespace="perf", queue="team-a", topology="cloud.provider.com/topology-rack", claim="scratch",
                  resource="nvidia.com/gpu", more_resources=(("rdma/ib", "1"),), compute_domain=True)


def job_for(launcher, preset="nvl72", **changes):
    job = PRESETS[preset]
    config = msgspec.structs.replace(job.config, transport="mpi" if launcher == "mpijob" else "torch")
    return msgspec.structs.replace(job, config=config, more_transports=(), container="registry.example/collbench:1",
                                   directives=(), **changes)


def objects_of(launcher, job):
    """The objects of the manifest by their kind, read back from the YAML."""
    return {one["kind"]: one for one in yaml.safe_load_all(open_launcher(launcher).script(job))}


def pod_templates(manifest):
    """Every template of a pod in a manifest."""
    if isinstance(manifest, dict):
        if "containers" in manifest.get("spec", {}):
            yield manifest
        for value in manifest.values():
            yield from pod_templates(value)
    elif isinstance(manifest, list):
        for value in manifest:
            yield from pod_templates(value)


def cases():
    return [(launcher, preset, needs) for launcher in KINDS for preset in ("nvl72", "hgx8", "cloudmatrix384", "cpu")
            for needs in (None, QUEUED)]


@pytest.mark.parametrize(("launcher", "preset", "needs"), cases())
def test_pods_are_valid(launcher, preset, needs):
    validate = pytest.importorskip("kubernetes_validate", reason="SKIPPED: pip install kubernetes-validate").validate
    job = job_for(launcher, preset, **({"pods": needs} if needs else {}))
    templates = [template for one in objects_of(launcher, job).values() for template in pod_templates(one)]
    assert templates
    for template in templates:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", **template.get("metadata", {})},
               "spec": template["spec"]}
        validate(pod, "1.34", strict=True)


@pytest.mark.parametrize("needs", [None, QUEUED])
@pytest.mark.parametrize("launcher", ["trainjob", "jobset"])
def test_objects_are_valid_for_the_trainer(launcher, needs):
    """What a model of the published API does not know, it drops; so what it gives back must be all that was said."""
    api = pytest.importorskip("kubeflow_trainer_api.models", reason="SKIPPED: pip install kubeflow-trainer-api")
    models = {"TrainJob": api.TrainerV1alpha1TrainJob, "TrainingRuntime": api.TrainerV1alpha1TrainingRuntime,
              "JobSet": api.JobsetV1alpha2JobSet}
    objects = objects_of(launcher, job_for(launcher, **({"pods": needs} if needs else {})))
    assert KINDS[launcher] in objects
    for kind, one in objects.items():
        if kind != "ComputeDomain":
            assert json.loads(models[kind].from_dict(one).to_json()) == one


@pytest.mark.parametrize("needs", [None, QUEUED])
def test_objects_are_valid_for_the_training_operator(needs):
    api = pytest.importorskip("kubeflow.training.models", reason="SKIPPED: pip install kubeflow-training")
    one = objects_of("pytorchjob", job_for("pytorchjob", **({"pods": needs} if needs else {})))["PyTorchJob"]
    known = {name: set(getattr(api, f"KubeflowOrgV1{name}").attribute_map.values())
             for name in ("PyTorchJob", "PyTorchJobSpec", "RunPolicy", "ReplicaSpec")}
    assert set(one) <= known["PyTorchJob"]
    assert set(one["spec"]) <= known["PyTorchJobSpec"]
    assert set(one["spec"]["runPolicy"]) <= known["RunPolicy"]
    assert all(set(spec) <= known["ReplicaSpec"] for spec in one["spec"]["pytorchReplicaSpecs"].values())


@pytest.mark.parametrize("needs", [None, QUEUED])
def test_objects_are_valid_for_the_mpi_operator(needs):
    if MPI_CRD not in os.environ:
        pytest.skip(f"SKIPPED: {MPI_CRD} names no file of the MPI operator's resource definition")
    jsonschema = pytest.importorskip("jsonschema")
    definition = next(one for one in yaml.safe_load_all(Path(os.environ[MPI_CRD]).read_text())
                      if one and one["kind"] == "CustomResourceDefinition")
    schema = closed(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    jsonschema.validate(objects_of("mpijob", job_for("mpijob", **({"pods": needs} if needs else {})))["MPIJob"], schema)


def closed(schema):
    """The schema with no properties but those that it names, and int-or-string as JSON schema has it."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    if isinstance(found.get("properties"), dict) and found.get("type") == "object" and "metadata" not in found:
        found.setdefault("additionalProperties", False)
    return found


@pytest.mark.parametrize("launcher", KINDS)
def test_a_rack_shares_a_domain_and_a_queue_places_it(launcher):
    objects = objects_of(launcher, job_for(launcher))
    assert next(iter(objects)) == "ComputeDomain"
    channel = objects["ComputeDomain"]["spec"]["channel"]["resourceClaimTemplate"]["name"]
    with_gpus = [template for template in pod_templates(objects)
                 if any("nvidia.com/gpu" in container.get("resources", {}).get("limits", {})
                        for container in template["spec"]["containers"])]
    assert with_gpus
    for template in with_gpus:
        assert template["spec"]["containers"][0]["resources"]["claims"] == [
            {"name": template["spec"]["resourceClaims"][0]["name"]}]
        assert template["spec"]["resourceClaims"][0]["resourceClaimTemplateName"] == channel
        (near,) = template["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert near["topologyKey"] == "nvidia.com/gpu.clique"
        assert near["labelSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    queued = objects_of(launcher, job_for(launcher, pods=QUEUED))
    assert queued[KINDS[launcher]]["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "team-a"}
    assert {one["metadata"]["namespace"] for one in queued.values()} == {"perf"}
    placed = [template for template in pod_templates(queued) if "annotations" in template["metadata"]]
    assert placed
    assert all("affinity" not in template["spec"] for template in placed)


def test_a_dry_run_prints_the_manifest_and_creates_nothing(collbench, tmp_path):
    done = collbench("launch", "--launcher", "jobset", "--dry-run", "--ops", "all_reduce", "--sizes", "1K,4K",
                     "--nodes", 2, "--ranks-per-node", 4, "--container", "image", "--device-resource", "amd.com/gpu",
                     "--pod-resource", "rdma/ib=1")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    (container,) = next(pod_templates(list(yaml.safe_load_all(done.stdout))))["spec"]["containers"]
    assert "--ops all_reduce --sizes 1K,4K" in " ".join(container["command"])
    assert container["resources"]["limits"] == {"amd.com/gpu": 4, "rdma/ib": "1"}


@pytest.mark.parametrize(("changes", "words"), [
    ({"container": None}, "--container IMAGE is needed"),
    ({"directives": ("--gpus=1",)}, "--directive is not for Kubernetes"),
    ({"more_transports": ("mpi",)}, "give --transport torch or mpi"),
    ({"name": "n" * 41}, "at most 40 characters")])
def test_what_pods_cannot_have_is_said(changes, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        open_launcher("jobset").script(msgspec.structs.replace(job_for("jobset"), **changes))


def test_a_malformed_need_is_said():
    for text in ("a b", "UPPER", "-x", "x" * 300):
        with pytest.raises(UsageError, match="--namespace"):
            PodNeeds(namespace=text)
    with pytest.raises(UsageError, match=r"nvidia\.com/gpu"):
        PodNeeds(resource="nvidia com/gpu")
