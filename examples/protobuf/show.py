"""Messages and gRPC stubs from .proto files, kept in step with them.

``pip install grpcio-tools``, run ``lastgood watch`` here, and edit protos/order.proto: ``python show.py`` shows what there is
by then. Break it: protoc's own words are told, and the last good files stay.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "generated"))  # generated stubs import each other from the top

import order_pb2
import order_pb2_grpc

order = order_pb2.Order(sku="apple", quantity=3)
print("fields:", ", ".join(field.name for field in order.DESCRIPTOR.fields))
print("bytes:", order.SerializeToString().hex())
print("service:", order_pb2_grpc.OrdersStub.__name__)
