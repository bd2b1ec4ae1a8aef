"""A wrong argument is one ``ValueError`` that names it, what came and what is allowed, never an error from within."""

import dataclasses

import numpy as np
import pytest
import torch

from lotterybook.limits import measures, wells  # noqa: F401 (the table's calls need it)
from lotterylib import (  # noqa: F401
    curvature,
    data,
    imp,
    landscape,
    limits,
    networks,
    perturbation,
    pruning,
    states,
    training,
)
from lotterylib.imp import Config
from lotterylib.training import Recipe

# A call, and three parts of its message: the argument, what came, what is allowed. Names are those of ``scope``.
TABLE = """
data.load('mnist1', 'cpu')                             | dataset | 'mnist1' | did you mean 'mnist1d'?
data.load(None, 'cpu')                                 | dataset | None | allowed are 'mnist1d'
data.load(5, 'cpu')                                    | dataset | 5 | allowed are 'mnist1d'
data.load(['mnist1d'], 'cpu')                          | dataset | ['mnist1d'] | did you mean 'mnist1d'?
data.load('mnist1d', 'gpu')                            | device | 'gpu' | allowed
data.load('mnist1d', 'cpu', augment='no')              | augment | 'no' | allowed are False, True
data.load(empty_npz, 'cpu')                            | .npz | damaged | .npz of arrays
data.mnist1d('42')                                     | seed | '42' | whole number
data.mnist1d(-1)                                       | seed | -1 | >= 0
data.find_device('cpuu')                               | device | 'cpuu' | did you mean 'cpu'?
data.find_device(None)                                 | device | 'None' | allowed
data.find_device(0)                                    | device | '0' | allowed
arrays(name=5)                                         | name | 5 | string
arrays(name=None)                                      | name | None | string
arrays(device='gpu')                                   | device | 'gpu' | allowed
arrays(augment='yes')                                  | augment | 'yes' | allowed are False, True
arrays(augment=None)                                   | augment | None | allowed are False, True
arrays(augment=[])                                     | augment | [] | allowed are False, True
arrays(augment=True)                                   | augment | True | only images (uint8)
arrays(train_x=None)                                   | train_x | type object | must hold numbers
arrays(train_x='abc')                                  | train_x | type <U3 | must hold numbers
arrays(train_x=[[1.0], [1.0, 2.0]])                    | train_x | no array | inhomogeneous
arrays(train_x={})                                     | train_x | type object | must hold numbers
arrays(train_x=X.astype(complex))                      | train_x | complex128 | must hold numbers
arrays(train_x=X[:, 0])                                | train_x | (6,) | (N, ...)
arrays(train_x=X[:, :0])                               | train_x | (6, 0) | at least one number
arrays(train_x=X * np.nan)                             | train_x | NaN | must be finite
arrays(train_x=X[:, :3])                               | train_x | (3,) | must be alike
arrays(train_x=X.astype(int)[..., None])               | train_x | torch.int64 | (N, L)
arrays(train_x=X.astype(np.uint8))                     | train_x | torch.uint8 | (N, H, W[, C])
arrays(train_x=X[:0], train_y=Y[:0])                   | train_y | (0,) | one or more inputs
arrays(train_y=None)                                   | train_y | type object | must hold numbers
arrays(train_y=Y[:, None])                             | train_y | (6, 1) | (6,) whole numbers
arrays(train_y=Y[:5])                                  | train_y | (5,) | (6,) whole numbers
arrays(train_y=Y + 0.5)                                | train_y | torch.float64 | (6,) whole numbers
arrays(train_y=Y - 1)                                  | train_y | from -1 | 0 and
arrays(test_y=Y + 7)                                   | test_y | to 9 | 0 and 2

networks.build('lenet', ds)                            | network | 'lenet' | did you mean 'lenet_300_100'?
networks.build(None, ds)                               | network | None | allowed
networks.build(['mlp'], ds)                            | network | ['mlp'] | did you mean 'mlp'?
networks.build('mlp', 'mnist1d')                       | dataset | 'mnist1d' | a Dataset
networks.build('mlp', None)                            | dataset | None | a Dataset
networks.build('resnet20', ds)                         | ResNet | (12,) | (channels, height, width)
networks.build('mlp', ds, width=8)                     | option of network 'mlp' | 'width' | 'hidden'
networks.build('cnn1d', ds, width=0)                   | width | 0 | >= 1
networks.build('cnn1d', ds, width='8')                 | width | '8' | whole number
networks.build('resnet1d', ds, blocks=0)               | blocks | 0 | >= 1
networks.build('resnet8', pictures, width=2.0)         | width | 2.0 | whole number
networks.build('mlp', ds, hidden=8)                    | hidden | 8 | a list
networks.build('mlp', ds, hidden=(8.0,))               | hidden | 8.0 | whole number
networks.wrap(net.module, 'cpu')                       | make | Sequential | function without arguments
networks.wrap(None, 'cpu')                             | make | NoneType | function without arguments
networks.wrap('mlp', 'cpu')                            | make | str | function without arguments
networks.wrap(lambda: 5, 'cpu')                        | make | int | nn.Module
networks.wrap(torch.nn.Linear, 'cpu')                  | make | in_features | without arguments
networks.wrap(lambda: net.module, 'cpu')               | make | same weights | anew
networks.wrap(linear, 'gpu')                           | device | 'gpu' | allowed
networks.wrap(linear, 'cpu', prunable=('wight',))      | prunable | 'wight' | did you mean 'weight'?
networks.wrap(linear, 'cpu', prunable='weight')        | prunable | 'weight' | list
networks.wrap(linear, 'cpu', prunable=5)               | prunable | 5 | list
networks.wrap(linear, 'cpu', prunable=())              | prunable | empty | name its weights
networks.wrap(linear, 'cpu', stacked='yes')            | stacked | 'yes' | allowed
networks.wrap(linear, 'cpu')(linear_state, x)          | inputs x | (2, 12) | the network does not take
net.init('2')                                          | replicates | '2' | whole number
net.init(2.0)                                          | replicates | 2.0 | whole number
net.init(0)                                            | replicates | 0 | >= 1
net.init(None)                                         | replicates | None | whole number
net.init([2])                                          | replicates | [2] | whole number
net.init(2, seed=1.5)                                  | seed | 1.5 | whole number
net.init(2, seed=-1)                                   | seed | -1 | >= 0
net.init(2, seed=2**64)                                | seed | 18446744073709551616 | <=
net.init(2, seed='0')                                  | seed | '0' | whole number
net(None, x)                                           | state | NoneType | dict of tensors
net([state], x)                                        | state | list | dict of tensors
net({}, x)                                             | state | empty | dict of tensors
net(without(state), x)                                 | state | '1.weight' | must hold
net({**state, '1.wight': y}, x)                        | state | '1.wight' | did you mean '1.weight'?
net({**state, '1.weight': 5}, x)                       | state entry '1.weight' | int | a tensor
net({**state, '1.weight': state['1.weight'].mT}, x)    | state entry '1.weight' | (2, 12, 4) | (R, 4, 12)
net({**state, '3.bias': state['3.bias'][:1]}, x)       | state entry '3.bias' | (1, 3) | equally many
net(states.select(state, 0), x)                        | state entry '1.weight' | (4, 12) | state_dict
net(states.select(state, []), x)                       | state entry '1.weight' | (0, 4, 12) | at least one replicate
net(state, None)                                       | x | None | a Tensor
net(state, x.numpy())                                  | x | ndarray | a Tensor
net(state, x[:, :5])                                   | inputs x | (2, 5) | the network does not take
net(state, x.to(torch.complex64))                      | inputs x | complex64 | the network does not take
net.state_dict(state, 2)                               | replicate | 2 | <= 1
net.state_dict(state, '0')                             | replicate | '0' | whole number
net.from_state_dicts([])                               | number of state_dicts | 0 | >= 1
net.from_state_dicts(None)                             | state_dicts | None | a list
net.from_state_dicts([{}])                             | state_dicts | Missing | fit the network

Recipe(steps='10')                                     | steps | '10' | whole number
Recipe(steps=10.0)                                     | steps | 10.0 | whole number
Recipe(steps=0)                                        | steps | 0 | >= 1
Recipe(steps=True)                                     | steps | True | whole number
Recipe(10, batch_size=None)                            | batch_size | None | whole number
Recipe(10, batch_size=[8])                             | batch_size | [8] | whole number
Recipe(10, lr='0.1')                                   | lr | '0.1' | number
Recipe(10, lr=0)                                       | lr | 0 | > 0
Recipe(10, lr=float('nan'))                            | lr | nan | > 0
Recipe(10, lr=None)                                    | lr | None | number
Recipe(10, schedule='cosin')                           | schedule | 'cosin' | did you mean 'cosine'?
Recipe(10, schedule=None)                              | schedule | None | allowed
Recipe(10, momentum=1)                                 | momentum | 1 | < 1
Recipe(10, momentum='0.9')                             | momentum | '0.9' | number
Recipe(10, weight_decay=-1e-4)                         | weight_decay | -0.0001 | >= 0
Recipe(10, weight_decay=[0])                           | weight_decay | [0] | number
Recipe(10, warmup=11)                                  | warmup | 11 | <= 10
Recipe(10, warmup=0.5)                                 | warmup | 0.5 | whole number
Recipe(10, drops=5)                                    | drops | 5 | list
Recipe(10, drops=None)                                 | drops | None | list
Recipe(10, drops='5', schedule='step')                 | drops | '5' | a list
Recipe(10, drops=(5.0,), schedule='step')              | drops | 5.0 | whole number
Recipe(10, drops=(5,))                                 | drops | (5,) | 'step'
Recipe(10, drop=0)                                     | drop | 0 | > 0
Recipe(10, drop=1.5)                                   | drop | 1.5 | <= 1
Recipe(10, nesterov='no')                              | nesterov | 'no' | allowed are False, True
Recipe(10, nesterov=True, momentum=0)                  | nesterov | True | momentum above 0
Recipe(10, precision='bf16')                           | precision | 'bf16' | did you mean 'bfloat16'?
Recipe(10, precision=torch.bfloat16)                   | precision | torch.bfloat16 | did you mean 'bfloat16'?

train('mlp')                                           | net | 'mlp' | a Network
train(ds='mnist1d')                                    | ds | 'mnist1d' | a Dataset
train(ds=None)                                         | ds | None | a Dataset
train(ds=pictures)                                     | x | (2, 3, 8, 8) | the network
train(recipe=None)                                     | recipe | None | a Recipe
train(recipe={'steps': 5})                             | recipe | {'steps': 5} | a Recipe
train(recipe=Recipe(5, batch_size=500))                | batch_size | 500 | <= 240
train(state=None)                                      | state | NoneType | dict of tensors
train(state=without(state))                            | state | '1.weight' | must hold
train(mask=5)                                          | mask | int | dict of tensors
train(mask={})                                         | mask | empty | dict of tensors
train(mask=without(mask))                              | mask | '1.weight' | must hold
train(mask={**mask, '1.bias': y})                      | mask | '1.bias' | did you mean
train(mask=states.select(mask, [0]))                   | mask entry '1.weight' | (1, 4, 12) | (2, 4, 12)
train(mask=floats(mask))                               | mask entry '1.weight' | torch.float32 | torch.bool
train(start='0')                                       | start | '0' | whole number
train(start=6)                                         | start | 6 | <= 5
train(start=0.5)                                       | start | 0.5 | whole number
train(start=None)                                      | start | None | whole number
train(start=[0])                                       | start | 1 entries | one number or 2
train(start=[0, 1, 2])                                 | start | 3 entries | one number or 2
train(stop=9)                                          | stop | 9 | <= 5
train(stop='5')                                        | stop | '5' | whole number
train(stop=2.5)                                        | stop | 2.5 | whole number
train(order_seed='1')                                  | order_seed | '1' | whole number
train(order_seed=None)                                 | order_seed | None | whole number
train(order_seed=1.5)                                  | order_seed | 1.5 | whole number
train(order_seed=-1)                                   | order_seed | -1 | >= 0
train(order_seed=[1])                                  | order_seed | 1 entries | one number or 2
train(order_seed=[1, 'a'])                             | order_seed | 'a' | whole number
train(checkpoint=5)                                    | checkpoint | 5 | PathLike
train(checkpoint=a_file)                               | checkpoint | a_file | folder that must be writable
training.evaluate(None, state, x, y)                   | net | None | a Network
training.evaluate(net, None, x, y)                     | state | NoneType | dict of tensors
training.evaluate(net, state, None, y)                 | x | None | a Tensor
training.evaluate(net, state, x.tolist(), y)           | x | list | a Tensor
training.evaluate(net, state, x, None)                 | y | NoneType | whole numbers
training.evaluate(net, state, x, y.numpy())            | y | ndarray | whole numbers
training.evaluate(net, state, x, y.tolist())           | y | list | whole numbers
training.evaluate(net, state, x, y[:5])                | y | (5,) | (300,)
training.evaluate(net, state, x, y[:, None])           | y | (300, 1) | (300,)
training.evaluate(net, state, x, y.float())            | y | torch.float32 | whole numbers
training.evaluate(net, state, x, y - 1)                | y | from -1 | between 0 and 2
training.evaluate(net, state, x, y + 1)                | y | to 3 | between 0 and 2
training.evaluate(net, state, x[:0], y[:0])            | y | (0,) | one or more inputs
training.evaluate(net, state, x[:, :5], y)             | x | (2, 5) | the network
training.evaluate(net, state, x[0], y)                 | inputs x | (2,) | the network does not take

pruning.magnitude(None, mask, 0.2)                     | state | NoneType | dict of tensors
pruning.magnitude(state, None, 0.2)                    | mask | NoneType | dict of tensors
pruning.magnitude(state, {}, 0.2)                      | mask | empty | dict of tensors
pruning.magnitude(state, {'weight': y}, 0.2)           | mask entry | 'weight' | did you mean
pruning.magnitude(state, floats(mask), 0.2)            | mask entry '1.weight' | torch.float32 | torch.bool
pruning.magnitude(state, states.select(mask, [0]), .2) | mask entry '1.weight' | (1, 4, 12) | (2, 4, 12)
pruning.magnitude(state, mask, '0.2')                  | fraction | '0.2' | number
pruning.magnitude(state, mask, 1)                      | fraction | 1 | < 1
pruning.magnitude(state, mask, 20)                     | fraction | 20 | < 1
pruning.magnitude(state, mask, None)                   | fraction | None | number
pruning.magnitude(state, mask, [0.2, 0.2])             | fraction | [0.2, 0.2] | number
pruning.magnitude(state, mask, 0.99)                   | fraction | 0.99 | keep one or more
pruning.random(state, mask, 0.2, seed='0')             | seed | '0' | whole number
pruning.random(state, mask, 0.2, seed=1.5)             | seed | 1.5 | whole number
pruning.random(state, mask, -0.2)                      | fraction | -0.2 | > 0
pruning.layerwise(state, mask, {'1.wight': 0.2})       | fraction entry | '1.wight' | did you mean '1.weight'?
pruning.layerwise(state, mask, {'1.weight': 0.2})      | fraction | '3.weight' | one number or hold
pruning.layerwise(state, mask, '0.2')                  | fraction | '0.2' | number
pruning.shuffle(None)                                  | mask | NoneType | dict of tensors
pruning.shuffle(floats(mask))                          | mask entry '1.weight' | torch.float32 | torch.bool
pruning.shuffle({'a': 5})                              | mask entry 'a' | int | a tensor
pruning.shuffle(mask, seed=-1)                         | seed | -1 | >= 0
pruning.full(net, None)                                | state | NoneType | dict of tensors
pruning.full(None, state)                              | net | None | a Network
pruning.apply(state, without(state))                   | mask entry '1.bias' | torch.float32 | torch.bool
pruning.apply(None, mask)                              | state | NoneType | dict of tensors
pruning.remaining(None)                                | mask | NoneType | dict of tensors
pruning.density({})                                    | mask | empty | dict of tensors
pruning.pruned(mask, None)                             | after | NoneType | dict of tensors
pruning.pruned(mask, without(mask))                    | '1.weight' | only in the first | states differ
pruning.pruned(mask, mask)                             | before and after | the same | something must be pruned

Config(None)                                           | recipe | None | a Recipe
Config({'steps': 5})                                   | recipe | {'steps': 5} | a Recipe
Config(recipe, rewind_step='0')                        | rewind_step | '0' | whole number
Config(recipe, rewind_step=5)                          | rewind_step | 5 | <= 4
Config(recipe, rewind_step=0.5)                        | rewind_step | 0.5 | whole number
Config(recipe, rewind_step=None)                       | rewind_step | None | whole number
Config(recipe, rewind_step=())                         | rewind_step | () | at least one step
Config(recipe, rewind_step=(1, 1))                     | rewind_step | (1, 1) | only once
Config(recipe, levels='1')                             | levels | '1' | whole number
Config(recipe, levels=-1)                              | levels | -1 | >= 0
Config(recipe, levels=1.0)                             | levels | 1.0 | whole number
Config(recipe, fraction='0.2')                         | fraction | '0.2' | number
Config(recipe, fraction=1.0)                           | fraction | 1.0 | < 1
Config(recipe, fraction=None)                          | fraction | None | number
Config(recipe, fraction={'1.weight': 2})               | fraction | 2 | < 1
Config(recipe, fraction=pruning.magnitude)             | fraction | function | number
Config(recipe, replicates=0)                           | replicates | 0 | >= 1
Config(recipe, replicates='4')                         | replicates | '4' | whole number
Config(recipe, seed=-1)                                | seed | -1 | >= 0
Config(recipe, seed=None)                              | seed | None | whole number
Config(recipe, rewinding='weight')                     | rewinding | 'weight' | did you mean 'weights'?
Config(recipe, pruning='one-shot')                     | pruning | 'one-shot' | did you mean 'one_shot'?
imp.run(None, ds, config)                              | net | None | a Network
imp.run(net, 'mnist1d', config)                        | ds | 'mnist1d' | a Dataset
imp.run(net, ds, recipe)                               | config | Recipe | a Config
imp.run(net, ds, None)                                 | config | None | a Config
imp.run(net, ds, config, checkpoint=5)                 | checkpoint | 5 | PathLike
imp.run(net, ds, config, checkpoint=a_file)            | checkpoint | a_file | folder that must be writable
imp.run(net, ds, by_layer)                             | fraction entry | '1.wight' | did you mean '1.weight'?
run.at(3)                                              | rewind_step | 3 | allowed are 0
run.at('0')                                            | rewind_step | '0' | allowed are 0
run.first(5)                                           | replicates | 5 | <= 1
run.first('1')                                         | replicates | '1' | whole number

landscape.error(None, state, x, y)                     | net | None | a Network
landscape.error(net, without(state), x, y)             | state | '1.weight' | must hold
landscape.error(net, state, x, y.float())              | y | torch.float32 | whole numbers
landscape.interpolate(state, None, 0.5)                | second | NoneType | dict of tensors
landscape.interpolate(state, without(state), 0.5)      | '1.weight' | only in the first | states differ
landscape.interpolate(state, state, '0.5')             | gamma | '0.5' | number
landscape.error_barrier(net, state, one, x, y)         | '1.weight' | (1, 4, 12) | must be equal
landscape.error_barrier(net, state, None, x, y)        | second | NoneType | dict of tensors
landscape.error_barrier(net, state, state, x, y, 1)    | points | 1 | >= 2
landscape.error_barrier(net, state, state, x, y, '9')  | points | '9' | whole number
landscape.error_barrier(net, state, state, x, y, 9.0)  | points | 9.0 | whole number
landscape.error_barrier(net, state, state, x, y, 2, 'lin') | definition | 'lin' | did you mean 'line'?
landscape.error_barrier(net, state, state, x, y[:5], 2) | y | (5,) | (300,)
landscape.barrier(5, state, state, 2)                  | function | 5 | a Callable
landscape.barrier(lambda s: 1.0, state, state, 2)      | function's result | float | a Tensor
landscape.all_pairs(len, [])                           | number of states | 0 | >= 1
landscape.all_pairs(len, None)                         | states | None | a list
landscape.all_pairs(len, state)                        | states | dict | a list
landscape.all_pairs(5, [state, state])                 | function | 5 | a Callable
landscape.all_pairs(len, [state, None])                | second state | NoneType | dict of tensors
landscape.path(net, [state], x, y)                     | number of states | 1 | >= 2
landscape.path(net, 5, x, y)                           | states | 5 | a list
landscape.path(net, [state, one], x, y)                | '1.weight' | (1, 4, 12) | must be equal
landscape.path(net, [state, state], x, y, None)        | points | None | whole number
landscape.plane(net, state, other, third, ds, 1)       | steps | 1 | >= 2
landscape.plane(net, state, other, third, ds, 2.0)     | steps | 2.0 | whole number
landscape.plane(net, state, other, third, ds, 2, -1)   | margin | -1 | >= 0
landscape.plane(net, state, other, third, ds, 2, '0')  | margin | '0' | number
landscape.plane(net, state, other, third, None, 2)     | ds | None | a Dataset
landscape.plane(net, state, other, one, ds, 2)         | '1.weight' | (1, 4, 12) | must be equal
landscape.plane(net, state, state, third, ds, 2)       | first | the same | not on a line
landscape.recalibrate(net, None, ds)                   | state | NoneType | dict of tensors
landscape.recalibrate(net, state, 'mnist1d')           | ds | 'mnist1d' | a Dataset
landscape.recalibrate(net, state, ds, batch_size=0)    | batch_size | 0 | >= 1
landscape.recalibrate(net, state, ds, batch_size=2.5)  | batch_size | 2.5 | whole number
landscape.distance(net, state, one)                    | '1.weight' | (1, 4, 12) | must be equal
landscape.distance(net, None, state)                   | state | NoneType | dict of tensors

curvature.weights(state, None)                         | mask | NoneType | dict of tensors
curvature.weights(None, mask)                          | state | NoneType | dict of tensors
curvature.hvp(None, state, x, y, v)                    | net | None | a Network
curvature.hvp(net, state, x, y, None)                  | vectors | None | a Tensor
curvature.hvp(net, state, x, y, v.numpy())             | vectors | ndarray | a Tensor
curvature.hvp(net, state, x, y, v[0])                  | vectors | (1, 60) | (2, 1 or more, 60)
curvature.hvp(net, state, x, y, v[:1])                 | vectors | (1, 1, 60) | (2, 1 or more, 60)
curvature.hvp(net, state, x, y, v.long())              | vectors | torch.int64 | floats
curvature.hvp(net, state, x, y[:5], v)                 | y | (5,) | (300,)
curvature.hvp(net, state, x, y, v, floats(mask))       | mask entry '1.weight' | torch.float32 | torch.bool
curvature.hessian(net, without(state), x, y)           | state | '1.weight' | must hold
curvature.hessian(net, state, None, y)                 | x | None | a Tensor
curvature.hessian(net, state, x, y, uneven)            | the replicates | [60, 59] | equally many
curvature.spectrum(net, state, x, y, probes=0)         | probes | 0 | >= 1
curvature.spectrum(net, state, x, y, probes='8')       | probes | '8' | whole number
curvature.spectrum(net, state, x, y, iterations=0)     | iterations | 0 | >= 1
curvature.spectrum(net, state, x, y, iterations=9.0)   | iterations | 9.0 | whole number
curvature.spectrum(net, state, x, y, seed=None)        | seed | None | whole number
curvature.spectrum(net, state, x, y, mask=[])          | mask | list | dict of tensors
measures.top(net, state, x, y, mask, count=61)         | count | 61 | <= 60
measures.top(net, state, x, y, mask, count=1.0)        | count | 1.0 | whole number
measures.top(net, state, x, y, mask, iterations='40')  | iterations | '40' | whole number
measures.top(net, state, x, y, mask, seed=-1)          | seed | -1 | >= 0
spectrum.nodes(1)                                      | r | 1 | <= 0
spectrum.nodes(0.0)                                    | r | 0.0 | whole number

limits.gordon_fraction('abc', w, 0.1)                  | eigenvalues | 'abc' | numbers
limits.gordon_fraction(None, w, 0.1)                   | eigenvalues | None | numbers
limits.gordon_fraction([[1.0]], [1.0], 0.1)            | eigenvalues | (1, 1) | (K,)
limits.gordon_fraction([1.0], w, 0.1)                  | 1 eigenvalues | 3 weights | one eigenvalue for each weight
limits.gordon_fraction([float('nan')] * 3, w, 0.1)     | eigenvalues | not finite | diverged
limits.gordon_fraction([-1.0] * 3, w, 0.1)             | eigenvalue | positive | minimum
limits.gordon_fraction([1.0] * 3, 'abc', 0.1)          | weights | 'abc' | numbers
limits.gordon_fraction([1.0] * 3, None, 0.1)           | weights | None | numbers
limits.gordon_fraction([1.0] * 3, w, '0.1')            | epsilon | '0.1' | number
limits.gordon_fraction([1.0] * 3, w, 0)                | epsilon | 0 | > 0
limits.gordon_fraction([1.0] * 3, w, None)             | epsilon | None | number
limits.gordon_fraction([1.0] * 3, w, 0.1, 'abc')       | quadrature | 'abc' | numbers
limits.gordon_fraction([1.0] * 3, w, 0.1, [1.0])       | quadrature | (1,) | must be equal
limits.gordon_fraction([1.0] * 3, w, 0.1, [1.0] * 3)   | quadrature | 3 | sum to 1
limits.gordon_fraction([1.0] * 3, w, 0.1, order='rand') | order | 'rand' | did you mean 'random'?
limits.angular_dimension([1.0], -1, 0.1)               | distance | -1 | >= 0
limits.angular_dimension([1.0], '1', 0.1)              | distance | '1' | number
limits.angular_dimension([1.0], None, 0.1)             | distance | None | number
limits.angular_dimension([1.0], 1, float('inf'))       | epsilon | inf | < inf
wells.meeting(None, 1.0, 0.1)                          | eigenvalues | None | numbers
wells.meeting([1.0], 1.0, 0.1, count=1.5)              | count | 1.5 | whole number
wells.meeting([1.0, -1.0], 1.0, 0.1)                   | eigenvalues | not positive | must end
wells.prune(state, mask, 0.2, 'large')                 | order | 'large' | allowed
wells.subspace_losses(torch.eye(2), torch.ones(3))     | hessian | (2, 2) | (3, 3)
wells.subspace_losses(None, torch.ones(3))             | hessian | None | a Tensor
wells.crossing([1, 0], [0.0, 1.0], 0.5)                | x | [1.0, 0.0] | increasing

perturbation.random_direction(state, mask, '1', 0)     | norm | '1' | number
perturbation.random_direction(state, mask, -1, 0)      | norm | -1.0 | >= 0
perturbation.random_direction(state, mask, None, 0)    | norm | None | number
perturbation.random_direction(state, mask, [1, 2, 3])  | norm | (3,) | (2,)
perturbation.random_direction(state, mask, 1, '0')     | seed | '0' | whole number
perturbation.random_direction(state, mask, 1, 0.5)     | seed | 0.5 | whole number
perturbation.random_direction(None, mask, 1)           | state | NoneType | dict of tensors
perturbation.random_direction(state, without(state), 1) | mask entry '1.bias' | torch.float32 | torch.bool
perturbation.random_direction(state, nothing, 1)       | mask | no weight | axial subspace
perturbation.pruning_direction(state, mask, mask)      | before and after | the same | must be pruned
perturbation.pruning_direction(state, None, mask)      | before | NoneType | dict of tensors
perturbation.pruning_direction(state, mask, None)      | after | NoneType | dict of tensors
perturbation.perturb(state, state, '1')                | scale | '1' | number
perturbation.perturb(state, state, float('inf'))       | scale | inf | < inf
perturbation.perturb(state, state, [1, 2, 3])          | scale | (3,) | (2,)
perturbation.perturb(state, mask, 1)                   | '1.bias' | only in the first | states differ
perturbation.perturb(state, None, 1)                   | direction | NoneType | dict of tensors
"""
ROWS = [[part.strip() for part in line.rsplit(" | ", 3)] for line in TABLE.splitlines() if line]


@pytest.fixture(scope="module")
def scope(ds, pictures, tmp_path_factory):
    """The names in the table's calls."""
    folder = tmp_path_factory.mktemp("messages")
    (folder / "empty.npz").write_bytes(b"")
    (folder / "a_file").write_bytes(b"")
    features, labels = np.arange(24, dtype=np.float32).reshape(6, 4), np.array([0, 1, 2, 0, 1, 2])
    arrays = {"name": "own", "train_x": features, "train_y": labels, "test_x": features, "test_y": labels}
    arrays["device"] = "cpu"
    net, recipe = networks.build("mlp", ds, hidden=(4,)), Recipe(5, batch_size=8)
    state, other, third = (net.init(2, seed=seed) for seed in (0, 7, 9))
    mask, config = pruning.full(net, state), Config(recipe, levels=0, replicates=1)
    uneven = {name: keep.clone() for name, keep in mask.items()}
    uneven["3.weight"][1, 0, 0] = False
    fitting = {"net": net, "state": state, "ds": ds, "recipe": recipe}
    linear = lambda: torch.nn.Linear(5, 3)  # noqa: E731
    x, y = ds.test_x, ds.test_y
    return globals() | {
        "ds": ds, "pictures": pictures, "net": net, "recipe": recipe, "config": config, "mask": mask, "uneven": uneven,
        "state": state, "other": other, "third": third, "one": states.select(other, [0]), "x": x, "y": y, "X": features,
        "Y": labels, "v": torch.ones(2, 1, 60), "w": [1.0, 2.0, 3.0], "empty_npz": folder / "empty.npz",
        "a_file": folder / "a_file", "linear": linear, "linear_state": networks.wrap(linear, "cpu").init(),
        "arrays": lambda **changes: data.from_arrays(**arrays | changes),
        "train": lambda net=net, **changes: training.train(**fitting | {"net": net} | changes),
        "without": lambda tree: {name: tensor for name, tensor in tree.items() if name != "1.weight"},
        "floats": lambda tree: {name: tensor.float() for name, tensor in tree.items()},
        "nothing": {name: torch.zeros_like(keep) for name, keep in mask.items()},
        "by_layer": dataclasses.replace(config, levels=1, fraction={"1.wight": 0.2, "3.weight": 0.2}),
        "run": imp.Run(config, states.select(state, [0]), ()),
        "spectrum": curvature.Spectrum(torch.zeros(1, 1, 2), torch.full((1, 1, 2), 0.5)),
    }  # fmt: skip


def test_the_calls_are_right_but_for_what_is_wrong_in_them(scope):
    """Else the table would pass for another reason."""
    for call in ("arrays()", "train()", "imp.run(net, ds, config)", "run.first(1)",
                 "networks.wrap(linear, 'cpu')(linear_state, x[:, :5])",
                 "curvature.hvp(net, state, x, y, v)", "limits.gordon_fraction([1.0] * 3, w, 0.1)",
                 "landscape.plane(net, state, other, third, ds, 2)",
                 "perturbation.random_direction(state, mask, 1)"):  # fmt: skip
        eval(call, scope)
    assert len(ROWS) > 250 and all(len(row) == 4 for row in ROWS)


@pytest.mark.parametrize(("call", "parts"), [pytest.param(call, parts, id=call) for call, *parts in ROWS])
def test_a_wrong_argument_is_told(scope, call, parts):
    with pytest.raises(Exception) as caught:
        eval(call, scope)
    assert caught.type is ValueError, f"{caught.type.__name__}: {caught.value}"
    assert all(part in str(caught.value) for part in parts), str(caught.value)
