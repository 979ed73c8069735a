"""Operations of `keras.ops` that work on each element."""

from __future__ import annotations

from typing import Any

from surgery.architecture.shapes.registry import OPERATIONS, Shape
from surgery.architecture.shapes.sizes import broadcast

UNARY = tuple(
    """
    Abs Absolute Angle Arccos Arccosh Arcsin Arcsinh Arctan Arctanh Array BitwiseInvert BitwiseNot
    Cast Cbrt Ceil Celu Cholesky CholeskyInverse Clip Conj Conjugate ConvertToTensor Copy Corrcoef
    Cos Cosh Deg2rad Elu EmptyLike Erf Erfc Erfinv Exp Exp2 Expm1 Fabs Flip Fliplr Flipud Floor
    FullLike Gelu HardShrink HardSigmoid HardSilu HardTanh I0 Imag Inv Isfinite Isinf Isnan
    Isneginf Isposinf Isreal LeakyRelu Log Log10 Log1p Log2 LogSigmoid LogSoftmax LogicalNot
    NanToNum Negative Normalize OnesLike Rad2deg Real Reciprocal Relu Relu6 Roll Round Rsqrt
    SaturateCast Selu Sigmoid Sign Signbit Silu Sin Sinc Sinh SoftShrink Softmax Softplus Softsign
    Sparsemax SparsePlus SparseSigmoid Sqrt Square Squareplus StopGradient Tan Tanh TanhShrink
    Threshold Tril Triu Trunc ZerosLike
    """.split()  # noqa: SIM905 - as a list it is a page
)
BINARY = tuple(
    """
    Add Arctan2 Divide DivideNoNan Equal FloorDivide Fmax Fmin Fmod Gcd Greater GreaterEqual
    Heaviside Hypot Isclose Lcm Ldexp Less LessEqual Logaddexp Logaddexp2 LogicalAnd LogicalOr
    LogicalXor Maximum Minimum Mod Multiply Nextafter NotEqual Power Subtract TrueDivide
    """.split()  # noqa: SIM905
)
_LIKE_THE_FIRST = (
    "BatchNorm", "BinaryCrossentropy", "BitwiseAnd", "BitwiseLeftShift", "BitwiseOr",
    "BitwiseRightShift", "BitwiseXor", "Digitize", "InTopK", "IsIn", "LayerNorm", "LeftShift",
    "Polar", "RMSNorm", "RightShift", "ScatterUpdate", "SliceUpdate",
)  # fmt: skip
_IMAGES = (
    "AffineTransform", "ElasticTransform", "GaussianBlur", "HSVToRGB", "PerspectiveTransform",
    "RGBToHSV",
)  # fmt: skip


@OPERATIONS.shape(*UNARY, *_LIKE_THE_FIRST, *_IMAGES, "DotProductAttention")
def _same(x: Shape) -> Shape:
    return x


@OPERATIONS.shape("SearchSorted", "Solve", "SolveTriangular")
def _like_the_second(_: Shape, values: Shape) -> Shape:
    return values


def operand(x: Any) -> Shape:
    """Return the shape of an operand; Keras takes all that is no tensor for a number."""
    return x if isinstance(x, tuple) else ()


@OPERATIONS.shape(*BINARY)
def _together(x1: Any, x2: Any) -> Shape:
    return broadcast(operand(x1), operand(x2))


@OPERATIONS.shape("Where")
def _where(condition: Any, x1: Any, x2: Any) -> Shape:
    return broadcast(broadcast(operand(condition), operand(x1)), operand(x2))


@OPERATIONS.shape("Select")
def _select(condlist: Any, choicelist: list[Shape]) -> Shape:
    return choicelist[0]
