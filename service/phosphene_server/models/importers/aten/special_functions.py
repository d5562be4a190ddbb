"""Functions of mathematics that few networks have, of one tensor and of two."""

import operator

import torch

from phosphene_server.models.importers.aten.arithmetic import binary, unary
from phosphene_server.models.importers.aten.operators import Operator, direct

OPERATORS: dict[str, Operator] = {
    "digamma": unary("gamma_function", torch.digamma),
    "i0": unary("bessel_function", torch.i0),
    "special_i0e": unary("bessel_function", torch.special.i0e),
    "special_i1": unary("bessel_function", torch.special.i1),
    "special_i1e": unary("bessel_function", torch.special.i1e),
    "special_erfcx": unary("error_function", torch.special.erfcx),
    "special_ndtr": unary("error_function", torch.special.ndtr),
    "special_log_ndtr": unary("error_function", torch.special.log_ndtr),
    "special_ndtri": unary("error_function", torch.special.ndtri),
    "special_entr": unary("entropy", torch.special.entr),
    "special_xlog1py": direct("logarithm", torch.special.xlog1py, "self", "other"),
    "xlogy": direct("logarithm", torch.xlogy, "self", "other"),
    "copysign": direct("sign", torch.copysign, "self", "other"),
    "fmax": direct("maximum", torch.fmax, "self", "other"),
    "fmin": direct("minimum", torch.fmin, "self", "other"),
    "ldexp": direct("multiplication", torch.ldexp, "self", "other"),
    "logaddexp2": direct("log_sum_exp", torch.logaddexp2, "self", "other"),
    "deg2rad": unary("multiplication", torch.deg2rad),
    "rad2deg": unary("multiplication", torch.rad2deg),
    "signbit": unary("comparison", torch.signbit),
    "bitwise_left_shift": binary("logic", torch.bitwise_left_shift, operator.lshift),
    "bitwise_right_shift": binary("logic", torch.bitwise_right_shift, operator.rshift),
    "__lshift__": binary("logic", torch.bitwise_left_shift, operator.lshift),
    "__rshift__": binary("logic", torch.bitwise_right_shift, operator.rshift),
    "angle": unary("complex", torch.angle),
    "_conj": unary("complex", torch.conj),
    "conj": unary("complex", torch.conj),
    "resolve_conj": unary("complex", torch.resolve_conj),
    "resolve_neg": unary("complex", torch.resolve_neg),
    "fft_fftshift": direct("fourier_transform", torch.fft.fftshift, "self", "dim"),
    "fft_ifftshift": direct("fourier_transform", torch.fft.ifftshift, "self", "dim"),
}
