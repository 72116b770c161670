"""The API server alone: it is real, it is idempotent, and it goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from easel_cluster import apionly, processes
from easel_cluster.layout import State
from easel_cluster.s3 import S3Server

from easel_api.errors import BackendFault, EnvironmentFault


@pytest.mark.apiserver
def test_the_api_server_is_a_real_one(api_server: apionly.ApiServer) -> None:
    version = json.loads(api_server.kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]
    assert version.startswith("v1.36.")
    with pytest.raises(BackendFault, match="Unsupported value"):
        api_server.kubectl.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "odd", "namespace": "default"},
                "spec": {"type": "Odd"},
            }
        )


@pytest.mark.apiserver
def test_a_second_up_finds_what_runs_and_down_leaves_nothing(tmp_path: Path, api_server: apionly.ApiServer) -> None:
    state = State(tmp_path / "s")
    try:
        first = apionly.start_api_server(state)
        pids = {name: processes.running(state, name) for name in processes.names(state)}
        second = apionly.start_api_server(state)
        assert pids == {name: processes.running(state, name) for name in processes.names(state)}
        assert set(pids) == {"etcd", "kube-apiserver"}
        assert first.url == second.url
    finally:
        apionly.stop_all(state)
    assert not state.root.exists()
    assert [pid for pid in pids.values() if pid and processes.identify(pid)] == []


@pytest.mark.apiserver
def test_a_port_in_use_is_named(tmp_path: Path, api_server: apionly.ApiServer) -> None:
    state = State(tmp_path / "s")
    taken = api_server.plane.ports.api
    try:
        with pytest.raises(EnvironmentFault, match=f"port {taken}"):
            apionly.start_api_server(state, port=taken)
    finally:
        apionly.stop_all(state)


@pytest.mark.s3
def test_the_s3_server_keeps_objects(s3_server: S3Server) -> None:
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint,
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=s3_server.secret_key,
        region_name=s3_server.region,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket="launcher")
    client.put_object(Bucket="launcher", Key="a/b.txt", Body=b"kept", ContentType="text/plain", Metadata={"seed": "7"})
    head = client.head_object(Bucket="launcher", Key="a/b.txt")
    assert head["ContentType"] == "text/plain"
    assert head["Metadata"] == {"seed": "7"}
    assert client.get_object(Bucket="launcher", Key="a/b.txt")["Body"].read() == b"kept"
