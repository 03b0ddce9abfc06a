"""Keep-plans on ONNX files: the cut file gives what the masked file gives, in ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgeprune.graph.classes import build_graph
from edgeprune.graph.plan import Plan
from edgeprune.onnx_graph.cutting import CutFile, cut_file
from edgeprune.onnx_graph.files import OnnxFile, read, write
from edgeprune.onnx_graph.masking import masked_file
from edgeprune.onnx_graph.network import OnnxNetwork, network_of
from onnx_graph import networks
from onnx_graph.networks import exported, outputs_of

KINDS = [
    networks.Residual, networks.Dense, networks.Inverted, networks.Grouped, networks.Shuffle, networks.Upsampled,
    networks.Padded, networks.Flat, networks.Several, networks.Recurrent, networks.Chunks,
    networks.OwnNorm, networks.Attention, networks.Table,
]  # fmt: skip


def _cut(network: OnnxNetwork, inputs: tuple[torch.Tensor, ...], seed: int) -> tuple[CutFile, OnnxFile]:
    """Cut by a random plan; return the cut file and the masked one."""
    graph = build_graph(network, inputs)
    keep = np.random.default_rng(seed).random(graph.classes) < (0.3, 0.6, 0.85)[seed % 3]
    keep[seed] = False
    cut = cut_file(network, graph, Plan.of(graph, keep))
    return cut, masked_file(network, graph, cut.plan)


def _compare(
    cut: OnnxFile, masked: OnnxFile, inputs: tuple[torch.Tensor, ...], tolerance: float = 1e-5
) -> None:
    onnx.checker.check_model(cut.model, full_check=True)
    for ours, theirs in zip(outputs_of(cut.model, inputs), outputs_of(masked.model, inputs), strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        assert np.abs(ours.astype(float) - theirs).max() <= tolerance * np.abs(theirs).max()


@pytest.mark.parametrize("kind", KINDS)
def test_random_plans_give_what_the_masked_file_gives(kind: type[nn.Module], tmp_path: Path) -> None:
    inputs = exported(kind, tmp_path / "net.onnx")
    file = read(tmp_path / "net.onnx")
    network = network_of(file, *inputs)
    before = sum(file.array(name).size for name in file.constants)
    for seed in range(3):
        cut, masked = _cut(network, inputs, seed)
        _compare(cut.file, masked, inputs)
        assert not cut.plan.keep.all()
        assert sum(cut.file.array(name).size for name in cut.file.constants) < before


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_has_the_units_that_its_network_has(kind: type[nn.Module], tmp_path: Path) -> None:
    inputs = exported(kind, tmp_path / "net.onnx")
    network = network_of(read(tmp_path / "net.onnx"), *inputs)
    assert build_graph(network, inputs).classes == build_graph(kind().eval(), inputs).classes


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_that_keeps_all_leaves_the_file_as_it_is(kind: type[nn.Module], tmp_path: Path) -> None:
    inputs = exported(kind, tmp_path / "net.onnx")
    file = read(tmp_path / "net.onnx")
    network = network_of(file, *inputs)
    graph = build_graph(network, inputs)
    cut = cut_file(network, graph, Plan.everything(graph))
    assert cut.file.model.SerializeToString() == file.model.SerializeToString()
    for ours, theirs in zip(outputs_of(cut.file.model, inputs), outputs_of(file.model, inputs), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("opset", [9, 11, 18])
def test_other_opsets_hold_their_numbers_elsewhere(opset: int, tmp_path: Path) -> None:
    # Opset 9 has no slice with steps, which the padded shortcut needs.
    for kind in (networks.Chunks, networks.Shuffle, *([networks.Padded] if opset > 9 else [])):
        inputs = exported(kind, tmp_path / "net.onnx", opset=opset)
        network = network_of(read(tmp_path / "net.onnx"), *inputs)
        cut, masked = _cut(network, inputs, 1)
        _compare(cut.file, masked, inputs)
        assert cut.file.opset == opset


def test_a_dynamic_batch_stays_dynamic(tmp_path: Path) -> None:
    for kind in (networks.Shuffle, networks.Padded):
        axes = {"in0": {0: "batch", 2: "height", 3: "width"}}
        inputs = exported(kind, tmp_path / "net.onnx", dynamic_axes=axes)
        network = network_of(read(tmp_path / "net.onnx"), *inputs)
        other = torch.randn(3, 3, 12, 10)
        graph = build_graph(network, inputs)
        keep = np.random.default_rng(1).random(graph.classes) < 0.6
        cut = cut_file(network, graph, Plan.of(graph, keep), second=(other,))
        _compare(cut.file, masked_file(network, graph, cut.plan), inputs)
        _compare(cut.file, masked_file(network, graph, cut.plan), (other,))
        assert cut.file.model.graph.input[0] == network.file.model.graph.input[0]
        assert cut.file.model.graph.output[0] == network.file.model.graph.output[0]


def test_half_precision_stays_half_precision(tmp_path: Path) -> None:
    inputs = exported(networks.Residual, tmp_path / "net.onnx", half=True)
    network = network_of(read(tmp_path / "net.onnx"), *(x.float() for x in inputs))
    cut, masked = _cut(network, tuple(x.float() for x in inputs), 1)
    _compare(cut.file, masked, inputs, tolerance=5e-3)
    kinds = {tensor.data_type for tensor in cut.file.model.graph.initializer}
    assert TensorProto.FLOAT16 in kinds
    assert TensorProto.FLOAT not in kinds


def test_external_data_stays_external(tmp_path: Path) -> None:
    inputs = exported(networks.Residual, tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    onnx.save(
        model, tmp_path / "big.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    file = read(tmp_path / "big.onnx")
    network = network_of(file, *inputs)
    cut, masked = _cut(network, inputs, 1)
    (tmp_path / "out").mkdir()
    path = write(cut.file, tmp_path / "out" / "small.onnx")
    assert sorted(p.name for p in path.parent.iterdir()) == ["small.onnx", "small.onnx.data"]
    assert path.stat().st_size < 10_000
    _compare(read(path), masked, inputs)
    for ours, theirs in zip(outputs_of(path, inputs), outputs_of(masked.model, inputs), strict=True):
        assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()


def test_names_metadata_and_nodes_that_are_not_touched_stay(tmp_path: Path) -> None:
    inputs = exported(networks.Several, tmp_path / "net.onnx")
    file = read(tmp_path / "net.onnx")
    file.model.metadata_props.add(key="author", value="someone")
    file.model.producer_name = "theirs"
    network = network_of(file, *inputs)
    cut, _ = _cut(network, inputs, 1)
    assert cut.file.model.metadata_props == file.model.metadata_props
    assert (cut.file.model.producer_name, cut.file.model.ir_version) == ("theirs", file.model.ir_version)
    before, after = file.model.graph.node, cut.file.model.graph.node
    assert [n.name for n in after] == [n.name for n in before]
    assert [n.op_type for n in after] == [n.op_type for n in before]
    assert [v.name for v in cut.file.model.graph.output] == [v.name for v in file.model.graph.output]


def _model(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], **options: object) -> OnnxFile:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 6, 6])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "c", "h", "w"])
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "net", [x], [y], tensors)
    return OnnxFile(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], **options), "net.onnx"
    )


def _weights(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def test_a_constant_that_two_layers_share_by_chance_does_not_tie_them() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w", "zeros"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "v", "zeros"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "u"], ["y"]),
    ]
    weights = _weights(w=(4, 3, 1, 1), v=(4, 4, 1, 1), u=(2, 4, 1, 1)) | {"zeros": np.zeros(4, np.float32)}
    x = torch.randn(2, 3, 6, 6)
    network = network_of(_model(nodes, weights), x)
    graph = build_graph(network, (x,))
    assert graph.classes == 8
    keep = np.ones(8, dtype=bool)
    keep[[0, 5, 6]] = False
    cut = cut_file(network, graph, Plan.of(graph, keep)).file
    biases = [cut.array(node.input[2]).shape for node in cut.model.graph.node if len(node.input) == 3]
    assert biases == [(3,), (2,)]
    _compare(cut, masked_file(network, graph, Plan.of(graph, keep)), (x,))


def test_an_operator_without_a_rule_protects_what_enters_and_leaves_it() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Conv", ["a", "v"], ["b"], name="before"),
        helper.make_node("CumSum", ["b", "axis"], ["c"], name="sums"),
        helper.make_node("Conv", ["c", "u"], ["y"]),
    ]
    weights = _weights(w=(4, 3, 1, 1), v=(5, 4, 1, 1), u=(2, 5, 1, 1)) | {"axis": np.array(1)}
    x = torch.randn(2, 3, 6, 6)
    network = network_of(_model(nodes, weights), x)
    graph = build_graph(network, (x,))
    assert graph.classes == 4
    assert "sums is kept whole because no rule for CumSum" in " ".join(graph.notes)
    keep = np.array([True, False, True, False])
    cut = cut_file(network, graph, Plan.of(graph, keep)).file
    assert cut.array("v").shape == (5, 2, 1, 1)
    _compare(cut, masked_file(network, graph, Plan.of(graph, keep)), (x,))


def test_control_flow_is_run_and_what_it_reads_from_outside_stays() -> None:
    branch = [helper.make_node("Add", ["b", "shift"], ["sum"])]
    other = [helper.make_node("Mul", ["b", "shift"], ["product"])]
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, None)  # noqa: E731
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Conv", ["a", "v"], ["b"]),
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Greater", ["largest", "limit"], ["is_large"]),
        helper.make_node(
            "If", ["is_large"], ["c"], name="choice",
            then_branch=helper.make_graph(branch, "then", [], [value("sum")]),
            else_branch=helper.make_graph(other, "else", [], [value("product")]),
        ),
        helper.make_node("Conv", ["c", "u"], ["y"]),
    ]  # fmt: skip
    weights = _weights(w=(6, 3, 1, 1), v=(5, 6, 1, 1), u=(2, 5, 1, 1), shift=(1, 5, 1, 1))
    weights["limit"] = np.array(0.0, np.float32)
    x = torch.randn(2, 3, 6, 6)
    network = network_of(_model(nodes, weights), x)
    graph = build_graph(network, (x,))
    assert graph.classes == 6
    assert "choice is kept whole because no rule for If" in " ".join(graph.notes)
    plan = Plan.of(graph, np.arange(6) % 2 == 0)
    cut = cut_file(network, graph, plan).file
    _compare(cut, masked_file(network, graph, plan), (x,))


def test_sizes_that_are_computed_are_corrected_where_they_hold_a_width() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Slice", ["sizes", "zero", "one"], ["batch"]),
        helper.make_node("Concat", ["batch", "width", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["a", "shape"], ["b"], name="laid"),
        helper.make_node("Reshape", ["b", "back"], ["c"]),
        helper.make_node("Conv", ["c", "u"], ["y"]),
    ]
    weights: dict[str, np.ndarray] = _weights(w=(6, 3, 1, 1), u=(2, 6, 1, 1))
    for name, numbers in {"zero": [0], "one": [1], "width": [6], "rest": [-1], "back": [0, 6, 6, -1]}.items():
        weights[name] = np.array(numbers)
    x = torch.randn(2, 3, 6, 6)
    network = network_of(_model(nodes, weights), x)
    graph = build_graph(network, (x,))
    plan = Plan.of(graph, np.array([True, False, True, True, False, True]))
    cut = cut_file(network, graph, plan, second=(torch.randn(4, 3, 6, 6),)).file
    assert [n.op_type for n in cut.model.graph.node][4:6] == ["Where", "Reshape"]
    for batch in (2, 5):
        _compare(cut, masked_file(network, graph, plan), (torch.randn(batch, 3, 6, 6)[:2],))
    assert cut.array(cut.model.graph.node[6].input[1]).tolist() == [0, 4, 6, -1]


def test_a_width_that_follows_from_the_inputs_size_stays() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "two"], ["height"], axis=0),
        helper.make_node("Concat", ["zero", "height", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["a", "shape"], ["b"]),
        helper.make_node("Softmax", ["b"], ["y"]),
    ]
    weights: dict[str, np.ndarray] = _weights(w=(6, 3, 1, 1))
    for name, numbers in {"two": [2], "zero": [0], "rest": [-1]}.items():
        weights[name] = np.array(numbers)
    x = torch.randn(2, 3, 6, 6)
    network = network_of(_model(nodes, weights), x)
    graph = build_graph(network, (x,))
    assert graph.classes == 0  # they are the network's output


def test_a_layer_keeps_at_least_one_channel(tmp_path: Path) -> None:
    inputs = exported(networks.Residual, tmp_path / "net.onnx")
    network = network_of(read(tmp_path / "net.onnx"), *inputs)
    graph = build_graph(network, inputs)
    cut = cut_file(network, graph, Plan.of(graph, np.zeros(graph.classes, dtype=bool)))
    assert sorted(cut.plan.keep[group.classes].sum() for group in graph.groups) == [1, 1]
    _compare(cut.file, masked_file(network, graph, cut.plan), inputs)


def test_a_bias_that_is_laid_in_the_graph_is_cut_with_its_size() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Reshape", ["bias", "shape"], ["laid"]),
        helper.make_node("Add", ["a", "laid"], ["b"]),
        helper.make_node("Conv", ["b", "u"], ["y"]),
    ]
    weights = _weights(w=(4, 3, 1, 1), bias=(4,), u=(2, 4, 1, 1)) | {"shape": np.array([1, 4, 1, 1])}
    x = torch.randn(2, 3, 6, 6)
    network = network_of(_model(nodes, weights), x)
    graph = build_graph(network, (x,))
    plan = Plan.of(graph, np.array([True, False, True, False]))
    cut = cut_file(network, graph, plan)
    assert cut.plan.keep.tolist() == [True, False, True, False]
    assert cut.file.array(cut.file.model.graph.node[1].input[1]).tolist() == [1, 2, 1, 1]
    _compare(cut.file, masked_file(network, graph, plan), (x,))


def test_sizes_that_are_multiplied_by_factors_stay_numbers() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Slice", ["sizes", "two", "four"], ["sides"]),
        helper.make_node("Cast", ["sides"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "factors"], ["larger"]),
        helper.make_node("Cast", ["larger"], ["new"], to=TensorProto.INT64),
        helper.make_node("Shape", ["a"], ["all"]),
        helper.make_node("Slice", ["all", "zero", "two"], ["first"]),
        helper.make_node("Concat", ["first", "new"], ["target"], axis=0),
        helper.make_node(
            "Resize", ["a", "", "", "target"], ["b"], mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        ),
        helper.make_node("Conv", ["b", "u"], ["y"]),
    ]  # fmt: skip
    weights = _weights(w=(4, 3, 1, 1), u=(2, 4, 1, 1)) | {"factors": np.array([2, 2], np.float32)}
    weights |= {"two": np.array([2]), "four": np.array([4]), "zero": np.array([0])}
    x = torch.randn(2, 3, 6, 6)
    network = network_of(_model(nodes, weights), x)
    graph = build_graph(network, (x,))
    assert graph.classes == 4
    plan = Plan.of(graph, np.array([True, False, True, False]))
    cut = cut_file(network, graph, plan, second=(torch.randn(3, 3, 8, 10),)).file
    assert [n.op_type for n in cut.model.graph.node] == [n.op_type for n in nodes]
    _compare(cut, masked_file(network, graph, plan), (x,))


def test_equal_weights_that_an_exporter_merged_are_cut_by_each_layer_as_it_needs(tmp_path: Path) -> None:
    """Three biases are one constant, which the second and third layer read through an Identity."""
    rng = np.random.default_rng(0)
    weights = {
        "w0": rng.normal(size=(6, 3, 1, 1)), "w1": rng.normal(size=(6, 6, 1, 1)), "w2": rng.normal(size=(6, 6, 1, 1)),
        "w3": rng.normal(size=(2, 6, 1, 1)), "bias": rng.normal(size=6),
    }  # fmt: skip
    nodes = [
        helper.make_node("Identity", ["bias"], ["same"], name="merged"),
        helper.make_node("Identity", ["same"], ["again"], name="merged again"),
        helper.make_node("Conv", ["x", "w0", "bias"], ["a"], name="a"),
        helper.make_node("Conv", ["a", "w1", "same"], ["b"], name="b"),
        helper.make_node("Conv", ["b", "w2", "again"], ["c"], name="c"),
        helper.make_node("Conv", ["c", "w3"], ["y"], name="d"),
    ]
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2, 4, 4])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "net.onnx")
    inputs = (torch.randn(2, 3, 4, 4),)
    file = read(tmp_path / "net.onnx")
    network = network_of(file, *inputs)
    channels = build_graph(network, inputs)
    assert [group.size for group in channels.groups] == [6, 6, 6]
    everything = cut_file(network, channels, Plan.everything(channels))
    assert everything.file.model.SerializeToString() == file.model.SerializeToString()
    for dropped in ([0, 1], [7, 8, 9], [12], [3, 8, 9, 13], [2, 3, 8, 9, 14, 15]):
        keep = np.ones(18, dtype=bool)
        keep[dropped] = False
        cut = cut_file(network, channels, Plan.of(channels, keep))
        masks = keep.reshape(3, 6)
        # In numpy: each layer's own channels of the bias.
        value = inputs[0].double().numpy()
        for number, name in enumerate(("w0", "w1", "w2")):
            value = np.einsum("oi,nihw->nohw", weights[name][:, :, 0, 0], value) + weights["bias"].reshape(
                1, -1, 1, 1
            )
            value = value * masks[number].reshape(1, -1, 1, 1)
        expected = np.einsum("oi,nihw->nohw", weights["w3"][:, :, 0, 0], value)
        (outputs,) = outputs_of(cut.file.model, inputs)
        assert np.abs(outputs - expected).max() < 1e-5 * np.abs(expected).max()
