"""The drawn pictures, and the bundled network on pictures that it has never seen."""

import hashlib
from pathlib import Path

import onnxruntime
import pytest
import torch
import yaml

import phosphene_server
from training.shapes.network import ShapesNetwork, preprocess
from training.shapes.pictures import CLASSES, draw_batch, draw_class
from training.shapes.train import drawn, roughness

BUNDLED = Path(phosphene_server.__file__).parent / "models" / "bundled" / "shapes" / "1"
UNSEEN_SEED = 20_250_707
PER_CLASS = 20

needs_files = pytest.mark.skipif(not (BUNDLED / "manifest.yaml").exists(), reason="the network is not exported")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    # Drawing is many small operations; on a busy machine threads that wait for one another make it far slower.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def fresh_pictures():
    return drawn(generator(UNSEEN_SEED), PER_CLASS)


@pytest.fixture(scope="module")
def manifest():
    return yaml.safe_load((BUNDLED / "manifest.yaml").read_text())


def test_there_are_enough_classes_and_a_star():
    assert len(CLASSES) == len(set(CLASSES)) >= 16
    assert "star" in CLASSES
    assert all(name.isalpha() and name.islower() for name in CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_pictures_are_rgb_between_zero_and_one(name):
    pictures = draw_class(name, 3, generator())
    assert pictures.shape == (3, 3, 96, 96)
    assert pictures.dtype == torch.float32
    assert 0 <= pictures.min() < pictures.max() <= 1


@pytest.mark.parametrize("name", CLASSES)
def test_a_seed_draws_the_same_pictures_again_and_another_draws_others(name):
    assert torch.equal(draw_class(name, 2, generator(1)), draw_class(name, 2, generator(1)))
    assert not torch.allclose(draw_class(name, 2, generator(1)), draw_class(name, 2, generator(2)), atol=0.1)


def test_no_two_classes_draw_the_same_picture():
    drawings = torch.stack([draw_class(name, 1, generator()) for name in CLASSES]).flatten(1)
    distances = torch.cdist(drawings, drawings) + 1e9 * torch.eye(len(CLASSES))
    assert distances.min() > 1


def test_pictures_come_in_the_order_of_their_labels():
    labels = torch.tensor([5, 0, 5])
    pictures = draw_batch(labels, generator(3), size=48)
    stream = generator(3)
    first = draw_class(CLASSES[0], 1, stream, 48)
    fifth = draw_class(CLASSES[5], 2, stream, 48)
    assert torch.equal(pictures, torch.stack([fifth[0], first[0], fifth[1]]))


def test_an_unknown_class_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"expected one of .*star.*, got 'sofa'"):
        draw_class("sofa", 1, generator())


def test_gratings_vary_across_their_stripes():
    across = draw_class("vertical", 32, generator()).diff(dim=-1).abs().mean()
    along = draw_class("vertical", 32, generator()).diff(dim=-2).abs().mean()
    assert across > 1.3 * along


def test_roughness_rises_with_frequency_and_counts_colour_more():
    even = torch.ones(1, 3, 8, 8)
    checkered = even * (torch.arange(8) % 2 * 2 - 1)
    coloured = checkered * torch.tensor([1.0, -1.0, 0.0])[:, None, None]
    assert roughness(torch.zeros(1, 3, 8, 8)) == 0
    assert roughness(checkered) > 4 * roughness(even)
    assert roughness(coloured) > roughness(checkered)


def test_the_network_takes_any_size_and_returns_logits():
    network = ShapesNetwork(5).eval()
    assert network(torch.zeros(2, 3, 96, 96)).shape == (2, 5)
    assert network(torch.zeros(1, 3, 33, 140)).shape == (1, 5)


def test_preprocessing_maps_the_middle_grey_to_zero():
    assert torch.equal(preprocess(torch.full((1, 3, 2, 2), 0.5)), torch.zeros(1, 3, 2, 2))


@needs_files
@pytest.mark.parametrize("file", ["model.onnx", "model.pt", "model.pt2"])
def test_exported_files_are_the_ones_of_the_manifest_and_small(manifest, file):
    content = (BUNDLED / file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == manifest["sha256"][file]
    assert len(content) < 3_000_000


@needs_files
def test_the_manifest_says_what_training_did(manifest):
    pictures = draw_class("star", 1, generator())
    mean, std = (torch.tensor(manifest["input"][key])[:, None, None] for key in ("mean", "std"))
    assert torch.equal(preprocess(pictures), (pictures - mean) / std)
    assert (BUNDLED / manifest["labels"]).read_text().split() == list(CLASSES)


@needs_files
def test_the_onnx_file_names_fresh_pictures(fresh_pictures):
    pictures, labels = fresh_pictures
    session = onnxruntime.InferenceSession(str(BUNDLED / "model.onnx"), providers=["CPUExecutionProvider"])
    logits = torch.from_numpy(session.run(None, {"pictures": pictures.numpy()})[0])
    assert (logits.argmax(dim=1) == labels).float().mean() >= 0.98


@needs_files
def test_the_three_files_compute_the_same(fresh_pictures):
    pictures = fresh_pictures[0][:4, :, :80, :64].contiguous()
    session = onnxruntime.InferenceSession(str(BUNDLED / "model.onnx"), providers=["CPUExecutionProvider"])
    onnx = torch.from_numpy(session.run(None, {"pictures": pictures.numpy()})[0])
    with torch.no_grad():
        torchscript = torch.jit.load(str(BUNDLED / "model.pt"))(pictures)
        torch_export = torch.export.load(BUNDLED / "model.pt2").module()(pictures)
    torch.testing.assert_close(torchscript, torch_export, rtol=0, atol=1e-5)
    torch.testing.assert_close(onnx, torchscript, rtol=0, atol=1e-4)


@needs_files
@pytest.mark.parametrize("file", ["model.onnx", "model.pt", "model.pt2"])
def test_files_hold_no_path_of_the_machine_that_wrote_them(file):
    content = (BUNDLED / file).read_bytes()
    assert b"site-packages" not in content
    assert b".debug_pkl" not in content


@needs_files
def test_first_layer_filters_are_smooth_not_noise():
    # White noise has a roughness of 4 per unit of energy (2 along each axis); a smooth detector is far below.
    weight = torch.jit.load(str(BUNDLED / "model.pt")).conv1.weight.detach()
    per_filter = torch.stack([roughness(kernel[None].mean(1, keepdim=True)) for kernel in weight])
    energy = weight.mean(1).square().sum((1, 2))
    assert (per_filter / energy).median() < 2
