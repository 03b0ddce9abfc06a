import sys
from pathlib import Path

import pytest
from torch import nn

from edgeprune.errors import ModelError
from edgeprune.models import build

SOURCE = """
from torch import nn

READY = nn.Linear(1, 1)
NUMBER = 3

def plain():
    return nn.Linear(4, 2)

def full(num_classes, in_channels, width=1):
    return nn.Linear(in_channels * width, num_classes)

def anything(**args):
    return nn.Linear(args["in_channels"], args["num_classes"])

class Net(nn.Linear):
    def __init__(self, num_classes=10):
        super().__init__(3, num_classes)

class Shop:
    @staticmethod
    def make(num_classes):
        return nn.Linear(5, num_classes)

def number(num_classes):
    return 7

def fails():
    raise RuntimeError("no luck\\nsecond line")
"""


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that is not on the import path, with a user's package in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop_for_tests").mkdir()
    (tmp_path / "shop_for_tests" / "nets.py").write_text(SOURCE)
    (tmp_path / "shop_for_tests" / "needy.py").write_text("import a_package_nobody_has")
    (tmp_path / "shop_for_tests" / "torn.py").write_text("def (")
    before = list(sys.path)
    yield tmp_path
    assert sys.path == before
    for name in [name for name in sys.modules if name.startswith("shop_for_tests")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("factory", "args", "weight"),
    [
        ("plain", {}, (2, 4)),
        ("full", {}, (7, 3)),
        ("full", {"width": 2}, (7, 6)),
        ("anything", {}, (7, 3)),
        ("Net", {}, (7, 3)),
        ("Shop.make", {}, (7, 5)),
    ],
)
def test_a_factory_gets_what_it_accepts(factory: str, args: dict, weight: tuple[int, int]) -> None:
    model = build(f"shop_for_tests.nets:{factory}", num_classes=7, **args)
    assert isinstance(model, nn.Linear)
    assert tuple(model.weight.shape) == weight


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent_module:net", "no module 'absent_module' for absent_module:net: run from"),
        ("shop_for_tests.absent:net", "no module 'shop_for_tests.absent'"),
        ("shop_for_tests.needy:net", "needs a module that is not installed: a_package_nobody_has"),
        ("shop_for_tests.torn:net", "torn cannot be imported: SyntaxError"),
        ("shop_for_tests.nets:absent", "shop_for_tests.nets has no 'absent'"),
        ("shop_for_tests.nets:", "has no ''"),
        ("shop_for_tests.nets:NUMBER", "is a int: name a function or class"),
        ("shop_for_tests.nets:READY", "is a Linear: name a function or class"),
        ("shop_for_tests.nets:number", "returned a int: it must return a torch.nn.Module"),
        ("shop_for_tests.nets:fails", "fails failed: RuntimeError: no luck$"),
        ("../nets.py:net", "not of the form package.module:factory"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        build(name, num_classes=7)
    assert "\n" not in str(caught.value)
