"""Networks as functions of a state: a module, and the way its replicates are computed.

A network holds no weights of its own; it maps states to logits. Any ``nn.Module`` will do, through ``wrap``.
"""

import contextlib
import copy
import re
import threading
import weakref

import torch
from torch import nn
from torch.func import functional_call

from . import architectures, checks, states, store, trial
from .data import Dataset, find_device
from .states import replicates, select
from .threads import beside

_THREAD = threading.local()
_MATRICES = (  # kinds of layers, and their weights that multiply inputs: no bias, no normalisation's or embedding's
    ((nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd, architectures.Conv1d), "weight"),
    (nn.MultiheadAttention, "(in|q|k|v)_proj_weight"),
    ((nn.RNNBase, nn.RNNCellBase), "weight_.*"),
)


class Network:
    """A module together with the way its replicates are computed: stacked in one program, or each in its own.

    Arguments and errors as in ``wrap``. Attributes: these, ``module``, which is one made by ``make``; ``parameters``,
    the names of the entries that are trained; ``shapes``, those of all entries without the replicate axis; ``stacked``,
    false too where a trial shows that torch cannot stack the module. Raises ``ValueError`` as ``wrap`` does.
    """

    def __init__(self, make, device, prunable=None, stacked=None):
        if isinstance(make, nn.Module) or not callable(make):
            allowed = "a function without arguments that returns a fresh nn.Module: networks.wrap(lambda: MyModule())"
            raise ValueError(f"make is a {type(make).__name__}; it must be {allowed}")
        self.make, self.device, self.module = make, device, _made(make, 0)
        _refuse(self.module, _made(make, 0))
        self.module.to(device)
        self.shapes = {name: tuple(tensor.shape) for name, tensor in _entries(self.module).items()}
        self.parameters = tuple(name for name, p in self.module.named_parameters() if p.requires_grad)
        named = prunable_weights(self.module) if prunable is None else checks.kind("prunable", prunable, list, tuple)
        self.prunable = tuple(named)
        for name in self.prunable:
            checks.choice("prunable entry", name, self.parameters)
        if not self.prunable:
            raise ValueError("prunable is empty: the module has no convolution or linear weight; name its weights")
        convolves = any(isinstance(m, nn.modules.conv._ConvNd) for m in self.module.modules())
        self.stacked = not convolves if stacked is None else stacked
        checks.choice("stacked", stacked, (None, False, True))
        self._asked, self._tried, self.channels_last = stacked, {}, False

    def init(self, replicates=1, seed=0):
        """Draw a fresh state, replicate r from ``seed + r``. Raises ``ValueError`` for none, or a negative seed."""
        checks.whole("replicates", replicates, 1)
        checks.whole("seed", seed, 0, 2**63)
        return self._state([_made(self.make, seed + r) for r in range(replicates)])

    def _state(self, modules):
        each = [_entries(module) for module in modules]
        return {name: torch.stack([e[name].detach() for e in each]).to(self.device) for name in self.shapes}

    def state_dict(self, state, replicate=0):
        """One replicate as a module's plain ``state_dict``, copied. Raises ``ValueError`` if there is no such one."""
        checks.whole("replicate", replicate, 0, self.check(state) - 1)
        module = copy.deepcopy(self.module)  # which knows tied weights by each of their names
        for name, tensor in _entries(module).items():
            tensor.data = state[name][replicate].clone()
        return module.state_dict()

    def from_state_dicts(self, state_dicts):
        """The state of a list of plain state dicts. Raises ``ValueError`` for none, or other names or shapes."""
        checks.whole("number of state_dicts", len(checks.kind("state_dicts", state_dicts, list, tuple)), 1)
        modules = [copy.deepcopy(self.module) for _ in state_dicts]
        try:
            for module, state_dict in zip(modules, state_dicts, strict=True):
                module.load_state_dict(state_dict)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise ValueError(f"state_dicts do not fit the network: {error}") from error
        return self._state(modules)

    def check(self, state, mask=None, x=None, y=None) -> int:
        """Return the number of replicates R of a state of this network, checked with what goes with it.

        ``mask``: its mask. ``x`` ``(N, ...)`` and ``y`` ``(N,)``: ready-to-feed inputs and their labels. Raises
        ``ValueError`` that names argument and entry if one does not fit, and for what ``try_on`` refuses.
        """
        count = states.check("state", state, self.shapes)
        if mask is not None:
            states.check("mask", mask, {name: self.shapes[name] for name in self.prunable}, count, torch.bool)
        if x is not None:
            checks.labels("y", y, x, self.try_on(x))
        return count

    def try_on(self, x) -> int:
        """Return the number of classes, tried once for each kind of input ``x`` ``(N, ...)`` on two of its examples.

        Raises ``ValueError`` without an example, as ``trial.classes``, and for ``stacked=True`` that torch cannot do.
        """
        kind = tuple(checks.kind("x", x, torch.Tensor).shape[1:]), x.dtype
        if kind not in self._tried:
            if not len(x):
                raise ValueError(f"x has shape {tuple(x.shape)}; it must hold at least one example")
            two = self._two(x)
            self._tried[kind] = trial.classes(self.module, two)
            self.channels_last = trial.takes_channels_last(self.module, two)
            if self.stacked and not trial.stacks(self.module, two):
                if self._asked:
                    raise ValueError("stacked is True, but torch cannot stack this module; it must be left out")
                self.stacked = False
        return self._tried[kind]

    def stacks(self, x, precision="float32") -> bool:
        """Whether replicates are stacked on such inputs ``x`` with products in ``precision``."""
        self.try_on(x)
        if precision == "float32":
            return self.stacked
        wide = self._asked is None and x.is_cuda  # where convolutions of groups are faster: benchmarks/README.md
        return (self.stacked or wide) and trial.stacks(self.module, self._two(x), precision, self.prunable)

    def _two(self, x):
        return self.taken(x[torch.arange(2, device=x.device) % len(x)], next(self.module.parameters()).dtype)

    def identity(self, x, seed=0) -> dict:
        """What tells networks apart, JSON-able: entries and their shapes, how they are drawn, what ``forward`` makes.

        That is, of the state as drawn by ``seed``, logits on some inputs ``x`` in both modes, parameters, and buffers
        after that, by projections to six digits: last bits, which differ between machines, do not count.
        """
        state, x = self.init(1, seed), x[torch.arange(8, device=x.device) % len(x)]
        double = {name: t.double() if t.is_floating_point() else t.clone() for name, t in state.items()}
        told = {"shapes": self.shapes, "prunable": self.prunable, "trained": self.parameters}
        try:
            return told | {"effect": self._effect(double, x)}
        except RuntimeError:  # a module that computes in float32 only
            return told | {"effect": self._effect(state, x)}

    @torch.no_grad()
    def _effect(self, state, x):
        evaluation, training = (self.forward(select(state, 0), x, train) for train in (False, True))
        return store.sketch({"evaluation": evaluation, "training": training, **state})

    def forward(self, state, x, train):
        """Logits ``(N, C)`` of one replicate's state on ``x`` ``(N, ...)``; ``train`` changes its buffers in place."""
        own = vars(_THREAD).setdefault("modules", weakref.WeakKeyDictionary())  # a call swaps the module's tensors
        if self not in own:
            own[self] = copy.deepcopy(self.module)
        laid = self.channels_last and not x.is_cuda  # cuDNN's exact convolutions are six times slower in that layout
        return functional_call(own[self].train(train), state, (self.taken(x, state[self.parameters[0]].dtype, laid),))

    def taken(self, x, dtype, laid=False):
        """Inputs as the module takes them: of the weights' type, and images as plain torch has them, or as ``laid``."""
        x = x.to(dtype) if x.is_floating_point() else x
        return x if x.dim() < 4 or laid else x.contiguous()

    def map(self, function):
        """Map a function of one replicate's states (or masks), which returns a tensor, over the replicate axis."""
        return torch.vmap(function) if self.stacked else lambda *trees: _looped(function, trees)

    @torch.no_grad()
    def __call__(self, state, x):
        """Logits ``(R, N, C)`` on ``x`` ``(N, ...)``, in evaluation mode. Raises ``ValueError`` as ``check`` does."""
        self.check(state)
        checks.kind("x", x, torch.Tensor)

        def logits(one):
            return self.forward(one, x, train=False)

        with exact():
            try:  # a forward pass alone is bound by memory: on a CPU one replicate at a time stays in the cache
                return self.map(logits)(state) if x.is_cuda else _looped(logits, [state])
            except RuntimeError:
                self.try_on(x)  # which tells what inputs the module does not take
                raise


def _entries(module):
    return dict([*module.named_parameters(), *module.named_buffers()])


def _made(make, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            module = make()
        except TypeError as error:
            raise ValueError(f"make raises {error!r}; it must be a function without arguments") from error
    if not isinstance(module, nn.Module):
        raise ValueError(f"make returns a {type(module).__name__}; it must return an nn.Module")
    return module


def _refuse(module, again):
    """Raise ``ValueError`` unless the two, made of one seed, are alike and share nothing."""
    if any(nn.parameter.is_lazy(tensor) for tensor in _entries(module).values()):
        raise ValueError("make returns a module with lazy layers; they have no shape yet: name their inputs' sizes")
    first, second = ({weight.data_ptr() for weight in m.parameters() if weight.numel()} for m in (module, again))
    if first & second:
        raise ValueError("make returns the same weights at every call; it must make a module anew each time")
    if any(not torch.equal(a, b) for a, b in zip(module.parameters(), again.parameters(), strict=True)):
        raise ValueError("make draws weights that torch's seed does not govern; they must be drawn by torch")


def _looped(function, trees):
    rows = [[select(tree, r) for tree in trees] for r in range(replicates(trees[0]))]
    return torch.stack(beside(function, rows, next(iter(trees[0].values())).device))


def build(name, dataset, **options) -> Network:
    """Build a network of this library for a dataset, by its name in ``architectures.NAMES``, with its ``options``.

    ``cnn1d``, and without BatchNorm ``cnn1d_plain``: ``width=24``, channels. ``resnet1d``: that, and ``blocks=1`` a
    stage. ``mlp``: ``hidden=(100, 100)``, units of each layer. ``resnet8`` to ``resnet110``: ``width=16``, channels of
    the first stage. Raises ``ValueError`` for an unknown name or option, or inputs that the network does not take.
    """
    shape, classes = tuple(checks.kind("dataset", dataset, Dataset).test_x.shape[1:]), dataset.num_classes
    return Network(lambda: architectures.module(name, shape, classes, **options), dataset.device)


def wrap(make, device="auto", prunable=None, stacked=None) -> Network:
    """Wrap any module: ``make`` takes no argument and returns a freshly initialised ``nn.Module``.

    Parameters that do not require gradients stay as they are. On CUDA ``forward`` is captured in a graph: it must not
    read a tensor's value (``.item()``, a boolean mask) nor make one from Python numbers.

    ``prunable`` names the weights that may be pruned; the default is every weight of a convolution, linear, attention
    or recurrent layer, never a bias, a normalisation's or an embedding's. ``stacked``: whether replicates are computed
    in one program, which is faster for small matrices, or each in its own, the default for what torch cannot stack and
    for its convolutions, but on CUDA in half precision; the results are the same. Raises ``ValueError`` for a ``make``
    that does not do what it must, lazy layers, no prunable weight, or a ``prunable`` that is not a parameter.
    """
    return Network(make, find_device(device), prunable, stacked)


@contextlib.contextmanager
def exact(recurrent=True):
    """Context for CUDA: float32 convolutions are not rounded to TF32, and a repeated run gives the same bits.

    Without ``recurrent`` cuDNN is off, which cannot differentiate recurrent layers twice.
    """
    cudnn = torch.backends.cudnn
    owner, name, whole = cudnn, "allow_tf32", False
    if hasattr(getattr(cudnn, "conv", None), "fp32_precision"):  # torch 2.9 on, which refuses a mixture of the two
        owner, name, whole = cudnn.conv, "fp32_precision", "ieee"
    kept = getattr(owner, name), cudnn.benchmark, cudnn.deterministic, cudnn.enabled
    setattr(owner, name, whole)
    cudnn.benchmark, cudnn.deterministic, cudnn.enabled = False, True, cudnn.enabled and recurrent
    try:
        yield
    finally:
        setattr(owner, name, kept[0])
        cudnn.benchmark, cudnn.deterministic, cudnn.enabled = kept[1:]


def prunable_weights(module):
    """Names of the weights that multiply inputs, each once. Raises ``ValueError`` for one computed from others."""
    known, names = {parameter: name for name, parameter in module.named_parameters()}, {}
    for path, layer in module.named_modules():
        own = dict(layer.named_parameters(recurse=False))
        for pattern in (pattern for kinds, pattern in _MATRICES if isinstance(layer, kinds)):
            if pattern == "weight" and "weight" not in own:
                found = f"layer {path!r} computes its weight from other tensors (weight_norm, spectral_norm, pruning)"
                raise ValueError(f"{found}; take that off, or name what may be pruned in prunable")
            names |= {known[w]: None for name, w in own.items() if w.requires_grad and re.fullmatch(pattern, name)}
    return tuple(names)
