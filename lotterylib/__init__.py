"""lotterylib: iterative magnitude pruning and the geometry of the error landscape, for many replicates at once.

Read the modules in this order; each uses only those before it:
``data``, ``networks`` -> ``training``, ``pruning`` -> ``imp`` -> ``landscape``, ``curvature`` -> ``records`` ->
``experiments`` -> ``figures`` -> ``notebook``. ``checks``, ``store`` and ``progress`` are small tools below them all.
"""

__version__ = "0.1.0"
