"""Writes report_events.bin, and prints the bytes of golden_start in test_report_logs.c, with TensorBoard's own messages and
record writer (pip install tensorboard; 2.21 was used)."""
import io
import os
import re

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

HERE = os.path.dirname(os.path.abspath(__file__))


def records(events):
    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in events:
        writer.write(event.SerializeToString(deterministic=True))
    return buffer.getvalue()


def value(step, tag):
    event = Event(wall_time=1.5, step=step)
    return event, event.summary.value.add(tag=tag)


start = Event(wall_time=1.5, file_version="brain.Event:2")

scalar, v = value(300, "loss")
v.simple_value = 1 / 301
print(", ".join("0x%02x" % b for b in records([start, scalar])))

text, v = value(-1, "config")
v.tensor.dtype = 7
v.tensor.tensor_shape.dim.add(size=1)
v.tensor.string_val.append("**a**\ufffd".encode())
v.metadata.plugin_data.plugin_name = "text"

with open(os.path.join(HERE, "..", "test_report_logs.c")) as source:
    pixel = re.search(r"pixel\[\] = \{(.*?)\};", source.read(), re.S).group(1)
image, v = value(2, "example")
v.image.height = v.image.width = v.image.colorspace = 1
v.image.encoded_image_string = bytes(int(x, 16) for x in re.findall(r"0x[0-9A-F]{2}", pixel))

with open(os.path.join(HERE, "report_events.bin"), "wb") as f:
    f.write(records([start, text, image]))
