"""TFLite metadata, written into a model file for other readers: labels, normalisation, description.

The format is TensorFlow Lite's: a second flatbuffer in the model's own, and the label file in a zip
archive after it. The daemon prefers the card, which says the same and more.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any, Final

import flatbuffers
from mediapipe.tasks.metadata import metadata_schema_py_generated as scheme
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from edge.model.card import ModelCard

NAME: Final = "TFLITE_METADATA"
IDENTIFIER: Final = b"M001"
LABELS: Final = "labels.txt"
PARSER: Final = "1.0.0"
"""The oldest parser that knows every field written here."""


def embed(content: bytes, card: ModelCard) -> bytes:
    """Return the model with metadata made from ``card``.

    The embedded labels are those of the output's own values: for a sigmoid that is one, P(second
    label).
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    entry = schema.MetadataT()
    entry.name, entry.buffer = NAME, len(model.buffers)
    buffer = schema.BufferT()
    buffer.data = list(_pack(card))
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    whole = io.BytesIO(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    labels = card.labels[1:] if card.output.activation == "sigmoid" else card.labels
    with zipfile.ZipFile(whole, "a") as archive:
        # A fixed date: the same model gives the same bytes.
        archive.writestr(zipfile.ZipInfo(LABELS), "".join(f"{label}\n" for label in labels))
    return whole.getvalue()


def _pack(card: ModelCard) -> bytes:
    image = scheme.TensorMetadataT()
    image.name, image.description = "image", "RGB pixels"
    properties = scheme.ImagePropertiesT()
    properties.colorSpace = scheme.ColorSpaceType.RGB
    image.content = _content(scheme.ContentProperties.ImageProperties, properties)
    scaling = scheme.NormalizationOptionsT()
    how = card.preprocessing
    scaling.mean = [float(v) for v in _values(how.mean)]
    scaling.std = [float(v) for v in _values(how.std)]
    unit = scheme.ProcessUnitT()
    unit.optionsType, unit.options = scheme.ProcessUnitOptions.NormalizationOptions, scaling
    image.processUnits = [unit]

    score = scheme.TensorMetadataT()
    score.name, score.description = "score", f"one value a line of {LABELS}, 0 to 1"
    feature = scheme.FeaturePropertiesT()
    score.content = _content(scheme.ContentProperties.FeatureProperties, feature)
    file = scheme.AssociatedFileT()
    file.name, file.type = LABELS, scheme.AssociatedFileType.TENSOR_AXIS_LABELS
    score.associatedFiles = [file]

    graph = scheme.SubGraphMetadataT()
    graph.inputTensorMetadata, graph.outputTensorMetadata = [image], [score]
    model = scheme.ModelMetadataT()
    model.name, model.version = card.name, card.version
    model.description, model.license = card.description, card.license
    model.subgraphMetadata, model.minParserVersion = [graph], PARSER
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _content(kind: int, properties: Any) -> Any:
    content = scheme.ContentT()
    content.contentPropertiesType, content.contentProperties = kind, properties
    return content


def _values(number: float | tuple[float, ...]) -> tuple[float, ...]:
    return number if isinstance(number, tuple) else (number,)
