"""Field numbers of TensorFlow's protocol buffers; each class is named after a message."""


class MapEntry:
    """An entry of any map."""

    KEY, VALUE = 1, 2


class TensorShape:
    """TensorShapeProto; each of its `dim` begins with a size."""

    DIM, UNKNOWN_RANK = 2, 3
    DIM_SIZE = 1


class TensorSlice:
    """TensorSliceProto; an extent without a length is a whole dimension."""

    EXTENT = 1
    START, LENGTH = 1, 2


class Tensor:
    """TensorProto."""

    DTYPE, SHAPE, VERSION, CONTENT, STRINGS = 1, 2, 3, 4, 8


class BundleHeader:
    """BundleHeaderProto."""

    NUM_SHARDS, ENDIANNESS, VERSION = 1, 2, 3


class Version:
    """VersionDef."""

    PRODUCER, MIN_CONSUMER = 1, 2


class BundleEntry:
    """BundleEntryProto."""

    DTYPE, SHAPE, SHARD_ID, OFFSET, SIZE, CRC32C, SLICES = 1, 2, 3, 4, 5, 6, 7


class SavedSlices:
    """SavedTensorSlices: an entry of a checkpoint of TensorFlow's first version."""

    META, DATA = 1, 2


class SavedSliceMeta:
    """SavedSliceMeta, of which a SavedTensorSliceMeta has a list."""

    LIST = 1
    NAME, SHAPE, DTYPE = 1, 2, 3


class SavedSlice:
    """SavedSlice."""

    NAME, SLICE, DATA = 1, 2, 3


class ObjectGraph:
    """TrackableObjectGraph, SavedObjectGraph and Keras 2's SavedMetadata, which begin alike."""

    NODES, CONCRETE_FUNCTIONS = 1, 2


class TrackableObject:
    """TrackableObject."""

    CHILDREN, ATTRIBUTES, SLOT_VARIABLES, HAS_CHECKPOINT_VALUES = 1, 2, 3, 5


class ObjectReference:
    """ObjectReference."""

    NODE_ID, LOCAL_NAME = 1, 2


class SerializedTensor:
    """SerializedTensor."""

    NAME, FULL_NAME, CHECKPOINT_KEY = 1, 2, 3


class SlotVariableReference:
    """SlotVariableReference."""

    SLOT_NODE_ID = 3


class SavedObject:
    """SavedObject."""

    CHILDREN, USER_OBJECT, ASSET, FUNCTION, CONSTANT = 1, 4, 5, 6, 9


class SavedUserObject:
    """SavedUserObject."""

    METADATA = 3


class SavedAsset:
    """SavedAsset."""

    ASSET_FILE_DEF_INDEX = 1


class SavedConstant:
    """SavedConstant."""

    OPERATION = 1


class SavedFunction:
    """SavedFunction."""

    CONCRETE_FUNCTIONS = 1


class SavedConcreteFunction:
    """SavedConcreteFunction."""

    BOUND_INPUTS = 2


class KerasObject:
    """SavedObject of Keras 2's keras_metadata.pb."""

    NODE_ID, NODE_PATH, METADATA = 2, 3, 5


class SavedModel:
    """SavedModel: a MetaGraphDef for each set of tags."""

    META_GRAPHS = 2


class Fingerprint:
    """FingerprintDef."""

    CHECKPOINT_HASH = 5


class GraphDef:
    """GraphDef."""

    NODE = 1


class NodeDef:
    """NodeDef; its attributes are a map to AttrValues."""

    NAME, OP, INPUT, ATTR = 1, 2, 3, 5


class AttrValue:
    """AttrValue."""

    TENSOR = 8


class MetaGraph:
    """MetaGraphDef."""

    META_INFO, GRAPH, COLLECTIONS, SIGNATURES, ASSET_FILES, OBJECT_GRAPH = 1, 2, 4, 5, 6, 7


class MetaInfo:
    """MetaInfoDef."""

    TAGS = 4


class Collection:
    """CollectionDef; a list of bytes has its values as field 1."""

    BYTES_LIST = 2
    VALUE = 1


class VariableDef:
    """VariableDef."""

    VARIABLE_NAME = 1


class Signature:
    """SignatureDef."""

    INPUTS, OUTPUTS, METHOD_NAME = 1, 2, 3


class TensorInfo:
    """TensorInfo."""

    DTYPE, SHAPE = 2, 3


class AssetFile:
    """AssetFileDef."""

    FILENAME = 2
