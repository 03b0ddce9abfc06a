import pytest
import torch

from edgeprune.errors import ModelError
from edgeprune.models.vision import torchvision_model


def test_torchvisions_own_names() -> None:
    from torchvision.models import resnet18

    assert list(torchvision_model("resnet18", num_classes=1000).state_dict()) == list(resnet18().state_dict())


def test_arguments_reach_the_model() -> None:
    assert torchvision_model("mobilenet_v2", num_classes=5, width_mult=0.25).classifier[1].out_features == 5


def test_googlenet_gives_a_tensor_in_training_too() -> None:
    model = torchvision_model("googlenet", num_classes=4, init_weights=False)
    assert isinstance(model.train()(torch.randn(2, 3, 64, 64)), torch.Tensor)


def test_unknown_name_is_answered_by_the_near_one() -> None:
    with pytest.raises(ModelError, match="unknown torchvision model 'resnet19' .did you mean 'resnet1"):
        torchvision_model("resnet19", num_classes=10)


@pytest.mark.parametrize("name", ["r3d_18", "raft_small"])
def test_networks_for_videos_and_flow_are_unknown(name: str) -> None:
    with pytest.raises(ModelError, match="unknown torchvision model"):
        torchvision_model(name, num_classes=10)


def test_arguments_that_do_not_fit() -> None:
    with pytest.raises(ModelError, match="resnet18 cannot be built with .*'depth'"):
        torchvision_model("resnet18", num_classes=10, depth=3)
    with pytest.raises(ModelError, match="images of 3 channels, not 1"):
        torchvision_model("resnet18", num_classes=10, in_channels=1)
