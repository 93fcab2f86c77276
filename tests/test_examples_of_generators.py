"""The examples with real generators: protobuf stubs by grpcio-tools, pydantic models by datamodel-code-generator.

Nothing is installed here: ``pip install -e '.[examples]'`` has what they need.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from lastgood.errors import GenerationError
from lastgood.session.watch import WatchProgram
from real_project import DEADLINE, RealProject, Told
from running import run

EXAMPLES = Path(__file__).parents[1] / "examples"


def needs(module: str, package: str) -> pytest.MarkDecorator:
    """A mark for a test that a package is needed for."""
    found = importlib.util.find_spec(module)
    return pytest.mark.skipif(found is None, reason=f"{package} is not installed: pip install -e '.[examples]'")


PROTOC = needs("grpc_tools", "grpcio-tools")
MODELS = needs("datamodel_code_generator", "datamodel-code-generator")


@pytest.fixture
def project(tmp_path: Path, request: pytest.FixtureRequest) -> RealProject:
    """A copy of the example that the test names by a mark."""
    made = RealProject(tmp_path / "copy", {})
    shutil.copytree(EXAMPLES / request.param, made.root, dirs_exist_ok=True)
    return made


def lastgood(project: RealProject, *arguments: str) -> tuple[int, str, str]:
    ran = run([sys.executable, "-m", "lastgood", *arguments], project.root)
    return ran.status, ran.out, ran.err


@PROTOC
@pytest.mark.parametrize("project", ["protobuf"], indirect=True)
def test_protobuf_stubs_are_generated_and_can_be_used(project: RealProject) -> None:
    assert lastgood(project, "generate")[0] == 0
    assert sorted(project.tree()) == ["order_pb2.py", "order_pb2.pyi", "order_pb2_grpc.py"]
    ran = run([sys.executable, "show.py"], project.root)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == "fields: sku, quantity\nbytes: 0a056170706c651003\nservice: OrdersStub\n"
    assert lastgood(project, "generate", "--check")[0] == 0, "the same files make the same bytes"


@PROTOC
@pytest.mark.parametrize("project", ["protobuf"], indirect=True)
async def test_protobuf_stubs_follow_their_source_and_stay_when_it_breaks(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    source = (EXAMPLES / "protobuf/protos/order.proto").read_text()
    with trio.fail_after(DEADLINE):
        async with start() as session:
            await told.success()
            project.save("protos/order.proto", source.replace("uint32 quantity = 2;", "uint32 amount = 2;"))
            assert {path.name for path in (await told.success()).touched} == {"order_pb2.py", "order_pb2.pyi"}
            good = project.exact_tree()
            project.save("protos/order.proto", source.replace("uint32", "unit32"))
            error = (await told.failure()).error
            assert isinstance(error, GenerationError)
            assert "grpc_tools.protoc" in str(error)
            assert 'order.proto:7:3: "unit32" is not defined.' in str(error)
            assert project.exact_tree() == good
            assert session.status.stale


@MODELS
@pytest.mark.parametrize("project", ["models"], indirect=True)
def test_pydantic_models_are_generated_beside_wrappers_and_can_be_used(project: RealProject) -> None:
    ran = run([sys.executable, "app.py", '{"sku": "apple", "quantity": 3}'], project.root)
    assert (ran.status, ran.out) == (0, "3 of apple: 1.20\n"), ran.err
    assert sorted(project.tree()) == ["__init__.py", "models/order.py", "shop.py"]
    assert lastgood(project, "generate", "--check")[0] == 0, "the same schemas make the same bytes"
    good = project.exact_tree()
    project.save("schemas/order.json", "{")
    status, _, err = lastgood(project, "generate")
    assert status == 1
    assert "datamodel_code_generator" in err
    assert "schemas/order.json" in err
    assert project.exact_tree() == good
