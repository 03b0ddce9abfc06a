import pytest

from edgeprune.comparison import CompareOptions, split_lists
from edgeprune.comparison.options import chosen_methods, listed
from edgeprune.errors import EdgePruneError, TrainError
from edgeprune.methods import METHODS


@pytest.mark.parametrize(
    ("text", "names"),
    [(None, ()), ("", ()), (" , ", ()), ("l1", ("l1",)), ("l1, fpgm,l1", ("l1", "fpgm", "l1"))],
)
def test_listed(text: str | None, names: tuple[str, ...]) -> None:
    assert listed(text) == names


def test_all_is_every_method_and_each_counts_once() -> None:
    assert chosen_methods(("all",)) == tuple(METHODS)
    assert chosen_methods(("learned", "all")) == tuple(METHODS)
    assert chosen_methods(("learned", "learned")) == ("learned",)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"methods": ("lerned",)}, TrainError, "unknown method 'lerned' .did you mean 'learned'"),
        ({"methods": ()}, TrainError, "no methods: say `methods=all`, or some of .*learned"),
        ({"seeds": 0}, TrainError, "`seeds` must be at least 1, not 0"),
        ({"seconds": 0.0}, TrainError, "`seconds` must be above 0"),
        ({"moments": ("middle",)}, TrainError, "unknown moment 'middle'.*: end, epoch:N, plateau, start"),
        ({"moments": ("epoch:0",)}, TrainError, "unknown moment 'epoch:0'"),
        ({"moments": ("end", "epoch:x")}, TrainError, "unknown moment 'epoch:x'"),
        ({"moments": ("end",), "training": {"weights": "w.pt"}}, TrainError, "leave `weights` out"),
        ({"moments": ("end",), "training": {"weights_key": "ema"}}, TrainError, "leave `weights_key` out"),
        ({"moments": ("end",), "training": {"baseline_epochs": 3}}, TrainError, "leave `baseline_epochs`"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line(change: dict, kind: type[EdgePruneError], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        CompareOptions(**{"source": "resnet8", "methods": ("learned",), **change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("moment", ["start", "epoch:4", "epoch:120", "plateau", "end"])
def test_every_kind_of_moment(moment: str) -> None:
    assert CompareOptions(source="resnet8", methods=("learned",), moments=(moment, moment)).moments == (
        moment,
    )


@pytest.mark.skipif("l1" not in METHODS, reason="the study's method is not there yet")
def test_the_study_of_moments_has_a_method_of_its_own() -> None:
    assert CompareOptions(source="resnet8", moments=("end",)).methods == ("l1",)


def test_options_as_they_are_typed() -> None:
    result = split_lists({"source": "resnet8", "methods": "learned", "seeds": 2, "epochs": 4})
    options = CompareOptions.of(result)
    assert options == CompareOptions(source="resnet8", methods=("learned",), seeds=2, training={"epochs": 4})
    with pytest.raises(TrainError, match="nothing to prune"):
        CompareOptions.of(split_lists({"methods": "learned"}))
