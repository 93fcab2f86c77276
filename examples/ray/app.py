"""An app here, and its model on the node of a Ray cluster that has a GPU.

Run ``python app.py``, and edit model.py. The cluster has two nodes, both on this machine; that the second has a GPU is made up.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trio
from ray.cluster_utils import Cluster

import lastgood
from lastgood.remote import RayBridge

CONFIG = Path(__file__).with_name("lastgood.toml")


@contextmanager
def two_nodes() -> Iterator[str]:
    """Run a cluster, and give its address. With a cluster of your own, you need its address alone."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80_000_000},
    )
    try:
        cluster.add_node(num_cpus=2, num_gpus=1, object_store_memory=80_000_000)
        yield cluster.address
    finally:
        cluster.shutdown()


async def main(address: str) -> None:
    """Ask the model twice a second."""
    create_bridge = partial(RayBridge.from_config, address=address, num_gpus=0.5)
    async with lastgood.watch(CONFIG, create_bridge=create_bridge) as session:
        from generated import model

        while True:
            answer = await model.predict("a good day")
            state = "STALE" if session.status.stale else "live"
            print(f"generation {session.generation} ({state}) on {await model.device()}: {answer}", flush=True)
            await trio.sleep(0.5)


if __name__ == "__main__":
    with two_nodes() as address:
        try:
            trio.run(main, address)
        except* KeyboardInterrupt:
            pass
