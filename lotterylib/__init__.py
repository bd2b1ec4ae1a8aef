"""lotterylib: iterative magnitude pruning and the geometry of the error landscape, for many replicates at once.

Read the modules in this order; each uses only those before it: ``checks``, ``store``, ``progress`` -> ``states`` ->
``data``, ``architectures``, ``networks`` -> ``pruning`` -> ``order``, ``memory``, ``sgd``, ``training`` -> ``imp`` ->
``landscape``, ``curvature``, ``limits``, ``perturbation``.
"""

__version__ = "0.2.0"
