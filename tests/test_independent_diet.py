"""EL2N and verdicts of chapter 6 computed again by numpy alone; lotterylib only trains what the scores are of.

The forward pass below is written out: convolutions as sums over positions of the kernel, BatchNorm by its formula. The
verdict is read off errors by loops, from a made-up record, and from the published one where there is one.
"""

from pathlib import Path

import diet_records as made
import numpy as np
import pytest
import torch

RECORDS = Path(__file__).resolve().parent.parent / "records" / "book"
HALF_A_POINT = 0.005 + 1e-9


def convolved(x, kernel, stride, padding):
    """``x`` (N, L, inputs) with a kernel (outputs, width, inputs): (N, L', outputs)."""
    x = np.pad(x, ((0, 0), (padding, padding), (0, 0)))
    width = kernel.shape[1]
    places = range(0, x.shape[1] - width + 1, stride)
    return np.stack([np.einsum("nwi,owi->no", x[:, p : p + width], kernel) for p in places], 1)


def normed(x, entries, name):
    mean, variance, scale, shift = (
        entries[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * scale + shift


def logits(entries, x):
    """Of the residual network with one block a stage; entries by name, of one replicate, channels last."""
    x = np.maximum(normed(convolved(x[:, :, None], entries["stem.0.weight"], 2, 2), entries, "stem.1"), 0)
    for block, stride in ((f"blocks.{n}", stride) for n, stride in enumerate((1, 2, 2))):
        inner = convolved(x, entries[f"{block}.conv1.weight"], stride, 1)
        inner = np.maximum(normed(inner, entries, f"{block}.norm1"), 0)
        inner = normed(convolved(inner, entries[f"{block}.conv2.weight"], 1, 1), entries, f"{block}.norm2")
        if f"{block}.shortcut.0.weight" in entries:
            x = normed(convolved(x, entries[f"{block}.shortcut.0.weight"], stride, 0), entries, f"{block}.shortcut.1")
        x = np.maximum(inner + x, 0)
    return x.mean(1) @ entries["linear.weight"].T + entries["linear.bias"]


def test_el2n_of_the_testbed_by_numpy(mnist1d):
    from lotterylib import networks, scores, training

    net = networks.build("resnet1d", mnist1d, width=6)
    recipe = training.Recipe(steps=12, batch_size=64, lr=0.1)
    state = training.train(net, net.init(2, seed=9), mnist1d, recipe)
    found = scores.el2n(net, state, mnist1d, batch_size=999)
    x, y = mnist1d.train_x.double().numpy(), mnist1d.train_y.numpy()
    x = (x - x.mean()) / x.std()
    each = []
    for r in range(2):
        z = logits({name: tensor[r].double().numpy() for name, tensor in state.items()}, x)
        z = np.exp(z - z.max(1, keepdims=True))
        guess = z / z.sum(1, keepdims=True)
        guess[np.arange(len(y)), y] -= 1
        each.append(np.sqrt((guess**2).sum(1)))
    assert found.each.numpy() == pytest.approx(np.stack(each), abs=1e-4)
    assert found.mean.numpy() == pytest.approx(np.mean(each, 0), abs=1e-4)
    assert found.std.numpy() == pytest.approx(np.abs(each[0] - each[1]) / 2**0.5, abs=1e-4)
    assert np.ptp(found.mean.numpy()) > 0.2, "the test's own premise: scores differ"


def random_part(record, k):
    """The verdict on random parts: at the last matching level of all examples, no random part half a point worse."""
    whole = record["all_error"][record["all_step"].tolist().index(k)]
    dense, level = record["all_error"][0][0].mean(), -1
    for error in whole:
        if error.mean() - dense > HALF_A_POINT:
            break
        level += 1
    good = []
    for i in range(len(record["share"])):
        if record["rewind_step"][i] == k and record["order"][i] == 1:
            good.append(record["error"][i][level].mean() - whole[level].mean() <= HALF_A_POINT)
    if level < 1 or not good:
        return "no case to judge by"
    return "holds" if all(good) else "holds partly" if any(good) else "does not hold"


@pytest.mark.parametrize("gaps", [(0.001, 0.002), (0.006, 0.002), (0.006, 0.008)])
def test_a_verdict_by_numpy_on_a_made_up_record(gaps):
    from lotterybook.diet import rules

    record = made.early(random_5_75=gaps[0], random_25_75=gaps[1])
    arrays = {name: tensor.numpy() for name, tensor in record.items()}
    assert random_part(arrays, 75) == rules.random_part_suffices(record, 75).verdict


@pytest.mark.skipif(not (RECORDS / "early_data.safetensors").exists(), reason="no record of the book yet")
def test_a_verdict_by_numpy_on_the_published_record():
    from safetensors.numpy import load_file

    from lotterybook.diet import findings

    assert random_part(load_file(RECORDS / "early_data.safetensors"), 75) == findings.row("book").verdict


@pytest.mark.skipif(not (RECORDS / "scores.safetensors").exists(), reason="no record of the book yet")
def test_false_labels_by_numpy_on_the_published_record():
    """How often a false label has the higher score, by counting pairs."""
    from safetensors.numpy import load_file

    found = load_file(RECORDS / "scores.safetensors")
    here = found["step"].tolist().index(int(found["score_step"]))
    wrong = np.zeros(found["mislabelled"].shape[1], bool)
    wrong[found["wrong"]] = True
    score = found["mislabelled"][here]
    wins = np.mean([(value > score[~wrong]).mean() for value in score[wrong]])
    assert wins == pytest.approx(found["auc"][here], abs=1e-3)


def test_numpy_s_forward_pass_is_that_of_plain_layers():
    """So that the first test stands on two legs."""
    import plain

    torch.manual_seed(0)
    made_of = plain.Residual(6, 1).double().eval()
    for module in made_of.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    entries = {name: tensor.numpy() for name, tensor in plain.laid(made_of.state_dict()).items()}
    x = torch.randn(5, 40, dtype=torch.float64)
    assert logits(entries, x.numpy()) == pytest.approx(made_of(x).detach().numpy(), abs=1e-9)
