"""The network: a small convolutional classifier whose layers have the names that the service shows."""

import torch
from torch import Tensor, nn

MEAN = (0.5, 0.5, 0.5)
"""What is taken from red, green and blue in [0, 1] before the network sees them."""
STD = (0.25, 0.25, 0.25)
"""What they are divided by afterwards."""


class ConvNorm(nn.Module):
    """A convolution, batch normalization and a rectifier that leaves its input as it is."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Keeps height and width: (batch, inputs, height, width) to (batch, outputs, height, width)."""
        activation: Tensor = self.relu(self.bn(self.conv(features)))
        return activation


class Reduced(nn.Module):
    """A wide convolution behind a narrow 1x1 one, which makes it cheap."""

    def __init__(self, inputs: int, narrow: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(inputs, narrow, 1, bias=False)
        self.reduce_bn = nn.BatchNorm2d(narrow)
        self.reduce_relu = nn.ReLU()
        self.conv = nn.Conv2d(narrow, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Keeps height and width: (batch, inputs, height, width) to (batch, outputs, height, width)."""
        narrow = self.reduce_relu(self.reduce_bn(self.reduce(features)))
        activation: Tensor = self.relu(self.bn(self.conv(narrow)))
        return activation


class Mixed(nn.Module):
    """Three looks of different width at the same features, side by side: 1x1, 3x3 and 5x5.

    References:
        Szegedy et al., "Going deeper with convolutions", https://arxiv.org/abs/1409.4842, 2014. Ours has no pooling
        branch.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch1x1 = ConvNorm(inputs, 32, 1)
        self.branch3x3 = Reduced(inputs, 24, 40, 3)
        self.branch5x5 = Reduced(inputs, 16, 24, 5)

    def forward(self, features: Tensor) -> Tensor:
        """Keeps height and width: (batch, inputs, height, width) to (batch, 96, height, width)."""
        return torch.cat([self.branch1x1(features), self.branch3x3(features), self.branch5x5(features)], dim=1)


class Average(nn.Module):
    """The mean over the whole picture, as a layer of its own so that it has a name."""

    def forward(self, features: Tensor) -> Tensor:
        """From (batch, channel, height, width) to (batch, channel)."""
        return features.mean(dim=(2, 3))


class ShapesNetwork(nn.Module):
    """Five stages of convolutions, the mean over the whole picture, and one linear layer.

    Between stages features are averaged, not skipped or maximized: a picture that is made by following this network's
    gradients then shows less of the sampling grid. The mean at the end lets in pictures of any size from 32 pixels.

    Args:
        classes: how many logits there are.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 11, stride=2, padding=5, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.AvgPool2d(2)
        self.conv2 = nn.Conv2d(32, 48, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(48)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.AvgPool2d(2)
        self.mixed3 = Mixed(48)
        self.conv3 = nn.Conv2d(96, 64, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(64)
        self.relu3 = nn.ReLU()
        self.conv4 = nn.Conv2d(64, 80, 3, padding=1, bias=False)
        self.bn4 = nn.BatchNorm2d(80)
        self.relu4 = nn.ReLU()
        self.pool4 = nn.AvgPool2d(2)
        self.conv5 = nn.Conv2d(80, 96, 3, padding=1, bias=False)
        self.bn5 = nn.BatchNorm2d(96)
        self.relu5 = nn.ReLU()
        self.average = Average()
        self.fc = nn.Linear(96, classes)
        with torch.no_grad():
            # Batch normalization hides the scale; a faint start is soon outgrown by what the data teaches.
            self.conv1.weight.mul_(0.25)

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits of pictures.

        Args:
            pictures: float32, (batch, 3, height, width), RGB from which `MEAN` was taken and which `STD` divided.

        Returns:
            Float32 of shape (batch, class), no softmax.
        """
        features = self.pool1(self.relu1(self.bn1(self.conv1(pictures))))  # (batch, 32, height / 4, width / 4)
        features = self.pool2(self.relu2(self.bn2(self.conv2(features))))  # (batch, 48, height / 8, width / 8)
        features = self.relu3(self.bn3(self.conv3(self.mixed3(features))))
        features = self.pool4(self.relu4(self.bn4(self.conv4(features))))  # (batch, 80, height / 16, width / 16)
        features = self.relu5(self.bn5(self.conv5(features)))
        logits: Tensor = self.fc(self.average(features))
        return logits


def preprocess(pictures: Tensor) -> Tensor:
    """What the network is given for pictures, as the manifest says it: (picture - MEAN) / STD.

    Args:
        pictures: float32 RGB in [0, 1], shape (batch, 3, height, width).
    """
    mean = torch.tensor(MEAN)[:, None, None]
    std = torch.tensor(STD)[:, None, None]
    return (pictures - mean) / std
