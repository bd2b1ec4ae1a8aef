"""A pretended device: its tensors say that they lie elsewhere, and are computed on the CPU.

    with elsewhere.machine("xpu") as there:
        x = torch.arange(3.0, device=there)
        x * 2                    # on ``there``, with the CPU's own kernels, so with the CPU's bits
        x * torch.ones(3)        # raises: two devices in one operation
        numpy.asarray(x)         # raises

``Placed`` is such a tensor and keeps its values in ``inner``, a tensor of the CPU. Below autograd, ``torch.func`` and
autocast, every operation comes to ``_dispatch``, which sees where each argument lies, refuses what a device would, and
computes on the ``inner`` ones.

Two kinds of device: ``"xpu"``, any device that is not CUDA, for which the library takes the branches of the CPU; and
``"cuda"``, for which it takes those of CUDA. There streams and graphs are pretended too:

- ``Graph`` keeps the operations of its capture and repeats them on the same memory, so what a capture froze stays
  frozen. While it captures, whatever makes the host wait raises, as on a GPU.
- Of ``Stream`` only the order is pretended. Each has a clock for what it has waited for, and an operation raises
  ``Race`` if another stream's write, or use of what it writes, may not be over. ``log`` lists waits and replays.

Not pretended: concurrency, memory that is freed while a stream still uses it, rounding on a device, and threads that a
test starts itself.
"""

import contextlib
import ctypes
import functools
from pathlib import Path
from unittest import mock

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

KINDS = ("xpu", "cuda")
LABEL = torch.device("maia", 0)  # what C++ takes the device for: a kind of which a build for CPUs expects nothing
_MAIA, _META = 8, 14  # numbers of c10::DeviceType
CROSSES = {"aten::_to_copy", "aten::copy_", "aten::_foreach_copy_"}  # from one device to another, as they like
INDEXES = {"aten::index", "aten::_unsafe_index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
TAKES_A_NUMBER = {"aten::fill_", "aten::masked_fill", "aten::masked_fill_", "aten::where", *INDEXES}  # in a CPU tensor
RESHAPES = {"aten::resize_", "aten::set_", "aten::squeeze_", "aten::unsqueeze_", "aten::transpose_", "aten::t_"}
WAITS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
MEMORY = 2**40  # bytes of the device


class Placed(torch.Tensor):
    """A tensor of the pretended device."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner, device, requires_grad=False):
        placed = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=LABEL, requires_grad=requires_grad,
        )  # fmt: skip
        placed.inner, placed.place = inner, device
        return placed

    device = property(lambda self: self.place)
    is_cuda = property(lambda self: self.place.type == "cuda")
    is_xpu = property(lambda self: self.place.type == "xpu")
    is_maia = property(lambda self: False)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _dispatch(func, args, kwargs or {})

    def numpy(self, dtype=None, copy=None, **_):
        raise TypeError(f"can't convert {self.device} tensor to numpy; use Tensor.cpu() to copy it to the host first")

    __array__ = __dlpack__ = numpy

    def tolist(self):
        return self.cpu().tolist()

    def __format__(self, spec):
        return format(self.item() if self.dim() == 0 else str(self), spec)

    def untyped_storage(self):
        return self.inner.untyped_storage()

    def data_ptr(self):
        return self.inner.data_ptr()

    def __deepcopy__(self, memo):
        copied = Placed(self.inner.clone(), self.device, self.requires_grad)
        copied.__dict__.update({name: value for name, value in self.__dict__.items() if name != "inner"})  # a Parameter
        return memo.setdefault(id(self), copied)

    def __repr__(self, **_):
        return f"Placed({self.inner}, {self.device})"


class _Mode(TorchDispatchMode):
    """Sends every operation to ``_dispatch``, also those that make a tensor from nothing."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _dispatch(func, args, kwargs or {})


class Race(RuntimeError):
    """Two streams use the same memory, and neither waits for the other."""


class Stream:
    """In place of ``torch.cuda.Stream``."""

    current = None
    log = []  # of all streams: (stream, "waits for" or "replays", other stream or graph)
    host, news = {}, 0  # by stream: how many of its operations were over when the host went on; how often it waited
    used = {}  # by storage: a weak reference that keeps its place, who wrote it last, and who read it since

    def __init__(self, device=None, **_):
        self.device, self.clock = device, {self: 0}
        self.heard, self.told = 0, True  # of the host's news; whether it knows all that this stream has waited for

    def learn(self, clock):
        self.told = False
        _advance(self.clock, clock)

    def wait_stream(self, other):
        Stream.log.append((self, "waits for", other))
        self.learn(other.clock)

    def synchronize(self):
        _wait("synchronize")
        _advance(Stream.host, {self: self.clock[self]} if self.told else self.clock)
        self.heard += self.heard == Stream.news  # what the host knows now, it knows from here
        self.told, Stream.news = True, Stream.news + 1

    def use(self, read, written):
        """Note an operation that reads and writes these storages; raise unless all that it must wait for is over."""
        if self.heard != Stream.news:
            self.learn(Stream.host)
            self.heard = Stream.news
        self.clock[self] += 1
        for storages, writes in ((read, False), (written, True)):
            for storage in storages:
                _, writer, readers = Stream.used.setdefault(storage._cdata, (StorageWeakRef(storage), {}, {}))
                for stream, time in (*writer.items(), *(readers.items() if writes else ())):
                    if self.clock.get(stream, -1) < time:
                        raise Race("memory is used while another stream may still write it, or written while it reads")
                if writes:
                    writer.clear()
                    readers.clear()
                (writer if writes else readers)[self] = self.clock[self]


def _advance(clock, other):
    for stream, time in other.items():
        clock[stream] = max(clock.get(stream, 0), time)


class Graph:
    """In place of ``torch.cuda.CUDAGraph``."""

    capturing = None

    def __init__(self, keep_graph=False):
        self.tape, self.made, self.before = [], set(), {}
        self.read, self.written = {}, {}  # storages by their place

    def keep(self, tensors):
        """Remember what is about to be written: a capture records an operation and does not do it."""
        for storage in _storages(tensors):
            if storage._cdata not in self.made:
                self.before.setdefault(storage._cdata, (storage, storage.clone()))

    def record(self, func, args, kwargs, read, written, new):
        self.made |= {storage._cdata for storage in _storages(new)}
        self.read |= {storage._cdata: storage for storage in read}
        self.written |= {storage._cdata: storage for storage in (*written, *_storages(new))}
        if new or written:
            self.tape.append((func, args, kwargs, new))

    def end(self):
        for storage, content in self.before.values():
            storage.copy_(content)
        self.before = {}

    def replay(self):
        Stream.log.append((Stream.current, "replays", self))
        Stream.current.use(self.read.values(), self.written.values())
        with _disable_current_modes(), torch.no_grad():
            for func, args, kwargs, made in self.tape:
                again = func(*args, **kwargs)
                for old, new in zip(made, _tensors(again) if made else (), strict=True):
                    old.copy_(new)


@contextlib.contextmanager
def _on(stream):
    before, Stream.current = Stream.current, stream
    try:
        yield
    finally:
        Stream.current = before


@contextlib.contextmanager
def _capture(graph, pool=None, stream=None, **_):
    assert Graph.capturing is None, "one capture inside another"
    with _on(stream):
        Graph.capturing = graph
        try:
            yield
        finally:
            Graph.capturing = None
            graph.end()


def _synchronize(device=None):
    _wait("synchronize")
    for stream in {stream for _, writer, readers in Stream.used.values() for stream in (*writer, *readers)}:
        stream.synchronize()
    Stream.log.append((None, "synchronizes", None))


@contextlib.contextmanager
def machine(kind="xpu"):
    """A machine with a device of this kind; gives the device."""
    device, lift = torch.device(kind, 0), torch._C._only_lift_cpu_tensors()
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    with contextlib.ExitStack() as stack:
        patch = functools.partial(mock.patch.object, create=True)
        stack.enter_context(patch(getattr(torch, kind), "_lazy_init", lambda: None))
        stack.enter_context(_guard())
        stack.enter_context(patch(torch, "autocast", _autocast(kind)))
        stack.enter_context(patch(torch.Tensor, "to", _to(device)))
        stack.enter_context(patch(torch.Tensor, "pin_memory", lambda tensor: tensor))
        if kind == "cuda":
            Stream.log, Stream.host, Stream.news, Stream.used, Stream.current = [], {}, 0, {}, Stream(device)
            stack.callback(setattr, Stream, "current", None)
            pretended = {
                "is_available": lambda: True, "device_count": lambda: 1, "current_device": lambda: 0,
                "get_device_name": lambda *_: "a pretended device", "is_bf16_supported": lambda *_, **__: True,
                "mem_get_info": lambda *_: (MEMORY, MEMORY), "memory_reserved": lambda *_: 0,
                "get_rng_state": lambda *_: torch.get_rng_state(),
                "device": lambda *_: contextlib.nullcontext(), "synchronize": _synchronize, "stream": _on,
                "current_stream": lambda *_: Stream.current, "Stream": Stream, "CUDAGraph": Graph, "graph": _capture,
            }  # fmt: skip
            for name, value in pretended.items():
                stack.enter_context(patch(torch.cuda, name, value))
        stack.callback(torch._C._set_only_lift_cpu_tensors, lift)
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(numbers, device=there): made on the CPU, then moved
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwrite)
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # Module.to cannot write to .data
        stack.enter_context(torch.autograd.set_multithreading_enabled(False))  # its threads are per device
        stack.enter_context(_Mode())
        yield device


@contextlib.contextmanager
def _guard():
    """Let C++ switch to the device, which does nothing, by the guard of meta tensors; a build for CPUs has none."""
    library = ctypes.CDLL(str(next((Path(torch.__file__).parent / "lib").glob("*c10.[sd]*"))))
    guards = (ctypes.c_void_p * 20).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    before, guards[_MAIA] = guards[_MAIA], guards[_META]
    try:
        yield
    finally:
        guards[_MAIA] = before


def _autocast(kind):
    """``torch.autocast``, for the label where it is asked for on the device."""
    real = torch.autocast

    class Autocast(real):
        def __init__(self, device_type, *args, **kwargs):
            super().__init__(LABEL.type if device_type == kind else device_type, *args, **kwargs)

    return Autocast


def _to(device):
    """``Tensor.to`` to whom the kind is enough; C++ would look for the current device of the kind."""
    real = torch.Tensor.to

    def named(value):
        alike = isinstance(value, str | torch.device) and str(value) == device.type
        return device if alike else value

    def to(self, *args, **kwargs):
        return real(self, *map(named, args), **{name: named(value) for name, value in kwargs.items()})

    return to


def move(tree, device):
    """The tensors of a dict, list, tuple or dataclass on a device."""
    if isinstance(tree, torch.Tensor):
        return tree.to(device)
    if hasattr(tree, "__dataclass_fields__"):
        moved = object.__new__(type(tree))
        moved.__dict__.update({name: move(value, device) for name, value in vars(tree).items()})
        return moved
    if isinstance(tree, dict):
        return {name: move(value, device) for name, value in tree.items()}
    if isinstance(tree, list | tuple) and not hasattr(tree, "_fields"):
        return type(tree)(move(value, device) for value in tree)
    return tree


def _dispatch(func, args, kwargs):
    """Compute one operation on the CPU, and place its results where they belong."""
    leaves = list(_leaves((*args, *kwargs.values())))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    placed, host = [t for t in tensors if isinstance(t, Placed)], [t for t in tensors if not isinstance(t, Placed)]
    asked = next((leaf for leaf in leaves if isinstance(leaf, torch.device)), None)
    device = placed[0].device if placed else asked
    there = (bool(placed) if asked is None else asked.type not in ("cpu", "meta")) and device is not None
    if not placed and not there:
        return func(*args, **kwargs)
    name = func._schema.name
    written = _tensors([args[i] if i < len(args) else kwargs.get(key) for i, key in _written(func)])
    if name in RESHAPES:
        raise NotImplementedError(f"elsewhere.py: {func} changes the shape of a tensor in place")
    if placed and host:
        _refuse_mixed(func, name, args, host, written, placed[0].device)
    if host and (not placed or name in CROSSES):
        _wait(f"{func} from one device to another")
    waits = bool(placed) and (not there or bool(WAITS & set(func.tags)))
    if waits and (name not in INDEXES or any(_is_mask(i) for i in _tensors(args[1]))):
        _wait(func)
    inners, graph = [_inner(leaf) for leaf in leaves], Graph.capturing
    view = any(result.alias_info for result in func._schema.returns)
    used = _storages(placed), _storages(t for t in written if isinstance(t, Placed))
    if graph:
        inners = [i.clone() if any(i is t for t in host) else i for i in inners]  # a constant of the graph
        graph.keep(t.inner for t in written if isinstance(t, Placed))
    elif Stream.current and (written or not view):
        Stream.current.use(*used)
    swap = {id(leaf): i for i, leaf in zip(inners, leaves, strict=True) if i is not leaf}
    args, kwargs = _map(lambda leaf: swap.get(id(leaf), leaf), (args, kwargs))
    results = func(*args, **kwargs)
    new = [] if view else _tensors(results)
    if graph:
        graph.record(func, args, kwargs, *used, new)
    elif Stream.current:
        Stream.current.use([], _storages(new) if there else [])
        if waits:
            Stream.current.synchronize()
    known = {id(i): leaf for i, leaf in zip(inners, leaves, strict=True) if isinstance(leaf, torch.Tensor)}

    def place(value):
        if not isinstance(value, torch.Tensor):
            return value
        return known.get(id(value)) if id(value) in known else Placed(value, device) if there else value

    return _map(place, results)


def _inner(leaf):
    if isinstance(leaf, torch.device):
        return torch.device("cpu")
    return leaf.inner if isinstance(leaf, Placed) else leaf


@functools.cache
def _written(func):
    """Places and names of the arguments that are written to; BatchNorm's schemas are silent about its statistics."""
    return [
        (i, argument.name)
        for i, argument in enumerate(func._schema.arguments)
        if (argument.alias_info and argument.alias_info.is_write) or argument.name in ("running_mean", "running_var")
    ]


def _refuse_mixed(func, name, args, host, written, device):
    """Raise where tensors of the device and of the CPU must not meet; a number in a tensor of the CPU often may."""
    listed = _tensors([argument for argument in args if isinstance(argument, list | tuple)])
    if name in CROSSES:
        return
    if name in INDEXES and isinstance(args[0], Placed):  # indices of the CPU are copied
        host = [t for t in host if not any(t is index for index in _tensors(args[1]))]
    a_number = torch.Tag.pointwise in func.tags or name in TAKES_A_NUMBER or name.startswith("aten::_foreach")
    for t in host:
        if t.dim() or not a_number or any(t is other for other in (*written, *listed)):
            raise RuntimeError(
                f"Expected all tensors to be on the same device: {func} got some on {device} and one on cpu, of shape "
                f"{tuple(t.shape)}"
            )


def _is_mask(index):
    return index.dtype in (torch.bool, torch.uint8)


def _leaves(tree):
    for value in tree:
        if isinstance(value, list | tuple):
            yield from _leaves(value)
        else:
            yield value


def _map(function, tree):
    if isinstance(tree, list | tuple):
        return type(tree)([_map(function, value) for value in tree])
    if isinstance(tree, dict):
        return {name: _map(function, value) for name, value in tree.items()}
    return function(tree)


def _tensors(tree):
    return [leaf for leaf in _leaves([tree]) if isinstance(leaf, torch.Tensor)]


def _storages(tensors):
    return [tensor.untyped_storage() for tensor in tensors]


def _wait(what):
    if Graph.capturing:
        raise RuntimeError(f"operation not permitted when stream is capturing: {what} makes the host wait")
