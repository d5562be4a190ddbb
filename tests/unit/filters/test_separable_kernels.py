import numpy as np
import pytest
import torch

from phosphene_server.filters.kernels import NAMED_KERNELS
from phosphene_server.filters.separable import outer_factors


def factors(kernel):
    found = outer_factors(torch.as_tensor(np.asarray(kernel, np.float64))[None, None])
    return None if found is None else tuple(factor.numpy() for factor in found)


@pytest.mark.parametrize("name", NAMED_KERNELS)
def test_named_kernels_of_rank_one_have_exact_factors(name):
    kernel = NAMED_KERNELS[name]
    found = factors(kernel)
    assert (found is not None) == (kernel.size > 1 and np.linalg.matrix_rank(kernel) == 1)
    if found is not None:
        np.testing.assert_array_equal(np.outer(*found), kernel)


def test_factors_of_random_outer_products_are_found_within_rounding():
    numbers = np.random.default_rng(0)
    for _ in range(50):
        kernel = np.outer(numbers.normal(size=7), numbers.normal(size=5) * 10.0 ** numbers.integers(-9, 9))
        np.testing.assert_allclose(np.outer(*factors(kernel)), kernel, rtol=1e-15)


def test_factors_of_whole_numbers_are_whole_numbers():
    numbers = np.random.default_rng(0)
    for _ in range(50):
        kernel = np.outer(numbers.integers(1, 30, 4), numbers.integers(-30, 30, 6) | 1)
        column, row = factors(kernel / 8)
        assert (row == np.rint(row)).all()
        assert (column * 8 == np.rint(column * 8)).all()
        np.testing.assert_array_equal(np.outer(column * 8, row), kernel)


@pytest.mark.parametrize("change", [1e-3, 1e-9, 1e-13])
def test_kernel_that_is_nearly_an_outer_product_has_no_factors(change):
    kernel = np.outer([1.0, 2.0, 1.0], [0.3, 0.1, 0.7])
    kernel[1, 1] += change
    assert factors(kernel) is None


@pytest.mark.parametrize("kernel", [np.zeros((3, 3)), np.ones((1, 5)), np.ones((5, 1))])
def test_kernel_that_gains_nothing_has_no_factors(kernel):
    assert factors(kernel) is None


def test_several_kernels_have_no_factors():
    assert outer_factors(torch.ones(2, 1, 3, 3, dtype=torch.float64)) is None
    assert outer_factors(torch.ones(1, 3, 3, 3, dtype=torch.float64)) is None
